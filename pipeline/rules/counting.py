"""Everything about texts that has to be counted letter by letter, compiled: two passes over the code points of a batch.

`signs` looks at texts as they are and tells which of them need a closer look in Python; most need none. `counts` looks
at their prose and returns numbers, which the rules compare with their limits for the whole batch at a time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import IntEnum, auto
from functools import cache
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.text import arabic

Points = np.ndarray[Any, np.dtype[np.uint32]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]
Keys = np.ndarray[Any, np.dtype[np.uint64]]
Stamps = np.ndarray[Any, np.dtype[np.int32]]


class Sign(IntEnum):
    """What a text may have, as bits: without the sign it certainly has not."""

    MARKUP = 1
    """Something that `markup.spans` finds."""
    UNCLEAN = 2
    """Something that `arabic.clean` changes."""
    FOREIGN = 4
    """Letters that `arabic.arabic_letters` changes."""
    EASTERN = 8
    EUROPEAN = 16
    BROKEN = 32
    """Control characters, halves of characters, U+FFFD, or letters read in a wrong encoding."""
    LATIN = 64
    """Letters of ASCII."""


class Count(IntEnum):
    """What is counted in the prose of a text; the columns of `counts`."""

    LENGTH = 0
    """Characters, without marks, tatweel and outer white space."""
    CHARACTERS = auto()
    """All of them."""
    WORDS = auto()
    """Pieces between white space that have a letter or a digit."""
    LETTERS = auto()
    ARABIC = auto()
    LATIN = auto()
    FOREIGN = auto()
    """Arabic letters that Arabic does not have."""
    MARKS = auto()
    MARK_RUN = auto()
    """Marks on one letter, at most."""
    EASTERN = auto()
    EUROPEAN = auto()
    SAME_LETTER = auto()
    """Length of the longest run of one letter."""
    LATIN_WORDS = auto()
    """Length in words of the longest run of Latin words outside quotations."""
    SENTENCES = auto()
    QUESTIONS = auto()
    ENDS = auto()
    """1 where the text ends as a sentence, a list or a quotation does, or with something that is no prose."""
    ASKS = auto()
    """1 where it ends with a question mark."""
    ITEMS = auto()
    HEADINGS = auto()
    TABLE_ROWS = auto()
    TOKENS = auto()
    """Words and signs, the units of the n-grams."""
    LINES = auto()
    DUP_LINES = auto()
    DUP_LINE_CHARACTERS = auto()
    PARAGRAPHS = auto()
    DUP_PARAGRAPHS = auto()
    DUP_PARAGRAPH_CHARACTERS = auto()
    TOP_2 = auto()
    TOP_3 = auto()
    TOP_4 = auto()
    DUP_5 = auto()
    DUP_6 = auto()
    DUP_7 = auto()
    DUP_8 = auto()
    DUP_9 = auto()
    DUP_10 = auto()
    LOOP = auto()
    """Length of what is said several times in a row, or 0."""
    MASCULINE = auto()
    FEMININE = auto()
    PLURAL = auto()
    NEUTRAL = auto()


COLUMNS = len(Count)


class Is(IntEnum):
    """Classes of characters, as bits."""

    SPACE = 1
    LETTER = 2
    ARABIC = 4
    LATIN = 8
    FOREIGN = 16
    MARK = 32
    EASTERN = 64
    EUROPEAN = 128
    WORD = 256
    """Part of a word: letters, marks, digits, apostrophes."""
    TERMINAL = 512
    """Ends a sentence, or a line that leads to a list."""
    CLOSING = 1024
    """May stand behind the sign that ends a sentence."""
    BROKEN = 2048
    UNCLEAN = 4096
    COMBINING = 8192


_WORD_SIGNS = "'’_\u200c\u200d\u0640"
_TERMINAL = ".!?؟…:۔؛"
_CLOSING = ")]»\"”’'*_`}"
_EASTERN = "٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹"
_UNCLEAN = re.compile(f"[{arabic.INVISIBLE}\u0640\u200c\u200d\ufb50-\ufdff\ufe70-\ufefe]")


@cache
def classes() -> Points:
    """Return the classes of every character of the basic plane."""
    table = np.zeros(0x10000, np.uint32)
    composed = [unicodedata.decomposition(chr(point)).split(" ") for point in range(0x10000)]
    second = {int(parts[1], 16) for parts in composed if len(parts) == 2 and parts[0][:1] != "<"}
    for point in range(0x10000):
        sign = chr(point)
        category = unicodedata.category(sign)
        value = 0
        if category[0] == "L":
            value |= Is.LETTER | Is.WORD
            if point < 0x250 and sign not in "ªº":
                value |= Is.LATIN
            elif 0x600 <= point < 0x900 or 0xFB50 <= point < 0xFF00:
                value |= Is.ARABIC
        elif category[0] == "M":
            value |= Is.MARK | Is.WORD
        elif category == "Nd":
            value |= Is.WORD
        elif category in ("Cs", "Cn") or (category == "Cc" and sign not in "\t\n\r") or sign == "\ufffd":
            value |= Is.BROKEN
        if sign == "\u0640":
            value = Is.MARK | Is.WORD
        for group, kind in _GROUPS.items():
            if sign in group:
                value |= kind
        if sign.isspace():
            value |= Is.SPACE
        if unicodedata.combining(sign):
            value |= Is.COMBINING
        if point in second or 0x1160 <= point < 0x1200 or not unicodedata.is_normalized("NFC", sign):
            value |= Is.UNCLEAN
        if _UNCLEAN.match(sign):
            value |= Is.UNCLEAN
        table[point] = value
    return table


_GROUPS = {
    _WORD_SIGNS: Is.WORD,
    _TERMINAL: Is.TERMINAL,
    _CLOSING: Is.CLOSING,
    _EASTERN: Is.EASTERN,
    "0123456789": Is.EUROPEAN,
    arabic.FOREIGN: Is.FOREIGN,
}


def points_of(texts: Sequence[str]) -> tuple[Points, Numbers]:
    """Return the code points of texts one after the other, and where each starts and the last ends."""
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=bounds[1:])
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(joined, np.uint32), bounds


def signs(points: Points, bounds: Numbers) -> Numbers:
    """Return the `Sign` flags of each text."""
    return _signs(points, bounds, classes())


@compiled
def _signs(points: Points, bounds: Numbers, table: Points) -> Numbers:
    out = np.zeros(len(bounds) - 1, np.int64)
    for text in range(len(bounds) - 1):
        start, end = bounds[text], bounds[text + 1]
        found = 0
        mojibake = 0
        before = np.uint32(0)
        for place in range(start, end):
            point = points[place]
            kind = table[point] if point < 0x10000 else np.uint32(0)
            if kind & (Is.UNCLEAN | Is.COMBINING | Is.BROKEN | Is.EASTERN | Is.EUROPEAN):
                if kind & Is.UNCLEAN or (kind & Is.COMBINING and table[before] & Is.COMBINING):
                    found |= Sign.UNCLEAN
                if kind & Is.BROKEN:
                    found |= Sign.BROKEN
                if kind & Is.EASTERN:
                    found |= Sign.EASTERN
                if kind & Is.EUROPEAN:
                    found |= Sign.EUROPEAN
            if point < 0x80:
                if 0x61 <= (point | 0x20) <= 0x7A:
                    found |= Sign.LATIN
                following = points[place + 1] if place + 1 < end else np.uint32(0)
                if (
                    point == 0x60
                    or point == 0x7E
                    or point == 0x24
                    or point == 0x5C
                    or point == 0x3C
                    or point == 0x5B
                    or point == 0x7B
                    or point == 0x25
                    or point == 0x40
                ):
                    found |= Sign.MARKUP
                elif point == 0x3A:
                    if following == 0x2F or following == 0x5C:
                        found |= Sign.MARKUP
                elif point == 0x2F:
                    if 0x21 <= following < 0x80:
                        found |= Sign.MARKUP
                elif point == 0x2E:
                    if 0x63 <= following <= 0x6F:  # .com .edu .gov .info .io .net .org
                        found |= Sign.MARKUP
                elif point == 0x77 and following == 0x77:
                    found |= Sign.MARKUP
            elif point < 0x700:
                if (point == 0xD8 or point == 0xD9 or point == 0xC3 or point == 0xE2) and place + 1 < end:
                    following = points[place + 1]
                    if (
                        0x80 <= following < 0xC0
                        or 0x2010 <= following < 0x2040
                        or following == 0x20AC
                        or following == 0x2122
                        or following == 0x192
                        or following == 0x2C6
                        or following == 0x2DC
                        or (0x152 <= following < 0x17F and point != 0xC3)
                    ):
                        mojibake += 1
                elif (
                    point == 0x6A9
                    or point == 0x6AA
                    or point == 0x6CC
                    or point == 0x6D2
                    or point == 0x6CE
                    or point == 0x6D5
                    or (0x6BE <= point <= 0x6C3)
                ):
                    found |= Sign.FOREIGN
            elif point >= 0x10000:
                if 0x11000 <= point < 0x1F000 or 0x2F800 <= point < 0x2FA20:
                    found |= Sign.UNCLEAN
                if point >= 0xE0000 or point & 0xFFFE == 0xFFFE:
                    found |= Sign.BROKEN
                point = np.uint32(0)
            before = point
        if mojibake >= 2:
            found |= Sign.BROKEN
        out[text] = found
    return out


class Vocabulary:
    """Words that are counted by group: 1 masculine, 2 feminine, 3 plural, 4 neutral."""

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        keys: dict[int, int] = {}
        for group, some in enumerate(groups, 1):
            for word in some:
                points, _ = points_of([arabic.fold(word)])
                keys[int(_word_key(points, 0, len(points)))] = group
        self.keys = np.array(sorted(keys), np.uint64)
        self.groups = np.array([keys[int(key)] for key in self.keys], np.int64)


def counts(
    points: Points,
    bounds: Numbers,
    spans: Numbers,
    words: Vocabulary,
    loops: tuple[int, int, int] = (3, 3, 100),
    repetition_from: int = 0,
) -> tuple[Numbers, Points, Numbers]:
    """Count what `Count` names in the prose of each text: what lies outside its spans, each span read as one space.

    Args:
        points: code points of all texts.
        bounds: where each text starts in them, and the last ends.
        spans: a row for each span: its text, where it starts and ends there; in order.
        words: forms of address.
        loops: how often, from what length, and to what length something has to be repeated in a row to be a loop.
        repetition_from: the text from which on n-grams are counted; they are not needed for sources.

    Returns:
        The counts, a row a text; the code points of all prose; where each prose starts.
    """
    return _counts(points, bounds, spans, classes(), words.keys, words.groups, *loops, repetition_from)


def tokens(text: str) -> list[str]:
    """Return the words and signs of a text as the n-grams see them."""
    points, _ = points_of([text])
    starts = np.empty(len(points) + 1, np.int64)
    ends = np.empty(len(points) + 1, np.int64)
    count = _tokens(points, 0, len(points), classes(), starts, ends)
    return [text[start:end] for start, end in zip(starts[:count], ends[:count], strict=True)]


@compiled
def _kind(table: Points, point: Any) -> Any:  # noqa: ANN401
    if point < 0x10000:
        return table[point]
    if 0x20000 <= point < 0x323B0:  # more Han
        return np.uint32(Is.LETTER | Is.WORD)
    return np.uint32(0)


@compiled
def _tokens(points: Points, start: int, end: int, table: Points, starts: Numbers, ends: Numbers) -> int:
    count = 0
    place = start
    while place < end:
        kind = _kind(table, points[place])
        if kind & Is.SPACE:
            place += 1
            continue
        starts[count] = place
        if kind & Is.WORD:
            while place < end and _kind(table, points[place]) & Is.WORD:
                place += 1
        else:
            place += 1
        ends[count] = place
        count += 1
    return count


@compiled
def _mix(key: np.uint64) -> np.uint64:
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xFF51AFD7ED558CCD)
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xC4CEB9FE1A85EC53)
    return key ^ (key >> np.uint64(33))


_BASE = np.uint64(0x9E3779B97F4A7C15)


@compiled
def _word_key(points: Points, start: int, end: int) -> np.uint64:
    """Hash a word as `arabic.fold` folds it, as far as forms of address need it: without marks, alef as alef."""
    key = np.uint64(7)
    for place in range(start, end):
        point = points[place]
        if 0x64B <= point <= 0x65F or point == 0x640 or point == 0x670:
            continue
        if point == 0x623 or point == 0x625 or point == 0x622 or point == 0x671:
            point = np.uint32(0x627)
        elif point == 0x649:
            point = np.uint32(0x64A)
        elif point == 0x629:
            point = np.uint32(0x647)
        key = key * _BASE + np.uint64(point)
    return _mix(key)


@compiled
def _seen(keys: Keys, stamps: Stamps, slot: Numbers, mask: int, stamp: int, key: np.uint64, value: int) -> int:
    """Return what was noted for a key, or -1 and note the value."""
    place = np.int64(key & np.uint64(mask))
    while stamps[place] == stamp:
        if keys[place] == key:
            return int(slot[place])
        place = (place + 1) & mask
    stamps[place] = stamp
    keys[place] = key
    slot[place] = value
    return -1


@compiled
def _pieces(
    points: Points,
    start: int,
    end: int,
    breaks: int,
    keys: Keys,
    stamps: Stamps,
    slot: Numbers,
    mask: int,
    stamp: int,
) -> tuple[int, int, int]:
    """Count the pieces between runs of at least `breaks` newlines, those seen before, and the characters of these."""
    pieces, repeated, characters = 0, 0, 0
    begin = start
    place = start
    while place <= end:
        stop = place
        while stop < end and points[stop] == 10:
            stop += 1
        if place == end or stop - place >= breaks:
            key = np.uint64(place - begin)
            for one in range(begin, place):
                key = key * _BASE + np.uint64(points[one])
            pieces += 1
            if _seen(keys, stamps, slot, mask, stamp, _mix(key), 0) >= 0:
                repeated += 1
                characters += place - begin
            begin = stop
        if place == end:
            break
        place = max(stop, place + 1)
    return pieces, repeated, characters


@compiled
def _loop(
    points: Points,
    start: int,
    end: int,
    table: Points,
    stream: Points,
    last: Numbers,
    stamps: Stamps,
    stamp: int,
    repeats: int,
    shortest: int,
    longest: int,
) -> int:
    """Return the length of the first thing with a letter in it that is repeated in a row, white space aside, or 0."""
    size = 0
    for place in range(start, end):
        kind = _kind(table, points[place])
        if not kind & (Is.SPACE | Is.MARK):
            stream[size] = points[place]
            size += 1
    distance, run = 0, 0
    bits = len(last) - 1
    for place in range(2, size):
        if distance and stream[place] == stream[place - distance]:
            run += 1
        else:
            distance = 0
        key = np.uint64(stream[place - 2]) * _BASE + np.uint64(stream[place - 1])
        key = _mix(key * _BASE + np.uint64(stream[place]))
        slot = np.int64(key & np.uint64(bits))
        if distance == 0 and stamps[slot] == stamp:
            gap = place - last[slot]
            gap *= (shortest + gap - 1) // gap
            if gap <= longest and gap <= place:
                run = 0
                while run < gap * (repeats - 1) and place - run - gap >= 0:
                    if stream[place - run] != stream[place - run - gap]:
                        break
                    run += 1
                if run >= 3:
                    distance = gap
        stamps[slot] = stamp
        last[slot] = place
        if distance and run >= distance * (repeats - 1):
            for one in range(place - distance + 1, place + 1):
                if _kind(table, stream[one]) & Is.LETTER:
                    return distance
            run = 0
    return 0


@compiled
def _line(points: Points, start: int, end: int) -> int:
    """Return what a line is: 1 an item, 2 a heading, 3 a row of a table, or 0."""
    while start < end and (points[start] == 32 or points[start] == 9 or points[start] == 0xA0):
        start += 1
    if start == end:
        return 0
    first = points[start]
    following = points[start + 1] if start + 1 < end else np.uint32(10)
    if first == 0x7C:
        return 3
    if first == 0x23:
        place = start
        while place < end and points[place] == 0x23:
            place += 1
        return 2 if place - start <= 6 and (place == end or points[place] == 32) else 0
    if first == 0x2022 or first == 0x25CF or first == 0x25E6 or first == 0x2023:
        return 1
    if (first == 0x2D or first == 0x2A or first == 0x2B or first == 0x2013) and following == 32:
        return 1
    place = start
    while (
        place < end
        and place - start < 3
        and (0x30 <= points[place] <= 0x39 or 0x660 <= points[place] <= 0x669 or 0x6F0 <= points[place] <= 0x6F9)
    ):
        place += 1
    if place > start and place < end and (points[place] == 0x2E or points[place] == 0x29 or points[place] == 0x2D):
        return 1 if place + 1 == end or points[place + 1] == 32 else 0
    return 0


@compiled
def _counts(
    points: Points,
    bounds: Numbers,
    spans: Numbers,
    table: Points,
    word_keys: Keys,
    word_groups: Numbers,
    repeats: int,
    shortest: int,
    longest: int,
    repetition_from: int,
) -> tuple[Numbers, Points, Numbers]:
    texts = len(bounds) - 1
    out = np.zeros((texts, COLUMNS), np.int64)
    prose = np.empty(len(points) + 1, np.uint32)
    places = np.zeros(texts + 1, np.int64)
    biggest = 1
    for text in range(texts):
        biggest = max(biggest, bounds[text + 1] - bounds[text])
    size = 64
    while size < 2 * biggest + 4:
        size *= 2
    mask = size - 1
    keys = np.empty(size, np.uint64)
    stamps = np.zeros(size, np.int32)
    slot = np.empty(size, np.int64)
    stamp = 0
    starts = np.empty(biggest + 1, np.int64)
    ends = np.empty(biggest + 1, np.int64)
    number = np.empty(biggest + 1, np.int64)
    first_of = np.empty(biggest + 1, np.int64)
    seen_times = np.empty(biggest + 1, np.int64)
    hashes = np.empty(biggest + 1, np.uint64)
    prefix = np.empty(biggest + 1, np.uint64)
    power = np.empty(biggest + 1, np.uint64)
    power[0] = 1
    for one in range(1, biggest + 1):
        power[one] = power[one - 1] * _BASE
    stream = np.empty(biggest + 1, np.uint32)
    span = 0
    filled = 0
    for text in range(texts):
        row = out[text]
        ends_with_span = False
        origin = filled
        place = bounds[text]
        stop = bounds[text + 1]
        while place < stop:
            if span < len(spans) and spans[span, 0] == text and bounds[text] + spans[span, 1] == place:
                place = bounds[text] + spans[span, 2]
                span += 1
                prose[filled] = 32
                filled += 1
                ends_with_span = True
                continue
            point = points[place]
            if ends_with_span and not _kind(table, point) & (Is.SPACE | Is.CLOSING | Is.TERMINAL):
                ends_with_span = False
            prose[filled] = point
            filled += 1
            place += 1
        start, end = origin, filled
        places[text + 1] = filled
        row[Count.CHARACTERS] = end - start
        # letters, lines, sentences
        letters_run, letter_before = 0, np.uint32(0)
        latin_run, quoted, mark_run = 0, 0, 0
        in_word, word_latin, word_other, cut = False, False, False, False
        trimmed = end
        while trimmed > start and _kind(table, prose[trimmed - 1]) & Is.SPACE:
            trimmed -= 1
        head = start
        while head < trimmed and _kind(table, prose[head]) & Is.SPACE:
            head += 1
        length = 0
        ended = False
        line_start = start
        pipes = 0
        for place in range(start, end + 1):
            point = prose[place] if place < end else np.uint32(10)
            kind = _kind(table, point)
            if head <= place < trimmed and not kind & Is.MARK:
                length += 1
            if not kind & Is.MARK:
                mark_run = 0
            if kind & Is.LETTER:
                row[Count.LETTERS] += 1
                in_word = True
                if kind & Is.ARABIC:
                    row[Count.ARABIC] += 1
                    word_other = True
                    if kind & Is.FOREIGN:
                        row[Count.FOREIGN] += 1
                elif kind & Is.LATIN:
                    row[Count.LATIN] += 1
                    word_latin = True
                else:
                    word_other = True
                if point == letter_before:
                    letters_run += 1
                else:
                    letters_run = 1
                    letter_before = point
                row[Count.SAME_LETTER] = max(row[Count.SAME_LETTER], letters_run)
            elif kind & Is.MARK:
                if point != 0x640:
                    row[Count.MARKS] += 1
                    mark_run += 1
                    row[Count.MARK_RUN] = max(row[Count.MARK_RUN], mark_run)
            else:
                letter_before = np.uint32(0)
                if kind & Is.EASTERN:
                    row[Count.EASTERN] += 1
                    in_word = True
                elif kind & Is.EUROPEAN:
                    row[Count.EUROPEAN] += 1
                    in_word = True
                elif kind & Is.SPACE:
                    if in_word:
                        row[Count.WORDS] += 1
                    if word_latin and not word_other and not quoted:
                        latin_run += 1
                        row[Count.LATIN_WORDS] = max(row[Count.LATIN_WORDS], latin_run)
                    elif word_other or quoted:
                        latin_run = 0
                    if cut:
                        latin_run = 0
                    in_word, word_latin, word_other, cut = False, False, False, False
                    if ended:
                        row[Count.SENTENCES] += 1
                        ended = False
                    if point == 10:
                        kind_of_line = _line(prose, line_start, place)
                        if kind_of_line == 1:
                            row[Count.ITEMS] += 1
                        elif kind_of_line == 2:
                            row[Count.HEADINGS] += 1
                        elif kind_of_line == 3 or pipes >= 2:
                            row[Count.TABLE_ROWS] += 1
                        line_start = place + 1
                        pipes = 0
                        quoted = 0
                        latin_run = 0
                elif point == 0xAB or point == 0x201C:
                    quoted = 1
                elif point == 0xBB or point == 0x201D:
                    quoted = 2
                elif point == 0x22:
                    quoted = 1 if quoted == 0 else 2
                elif point == 0x7C:
                    pipes += 1
                    cut = True
                elif point == 0x2C or point == 0x60C or point == 0x3B or point == 0x61B:
                    cut = True
                if (
                    point == 0x2E
                    or point == 0x21
                    or point == 0x3F
                    or point == 0x61F
                    or point == 0x2026
                    or point == 0x6D4
                ):
                    ended = True
                    if point == 0x3F or point == 0x61F:
                        row[Count.QUESTIONS] += 1
                elif not kind & (Is.CLOSING | Is.SPACE):
                    ended = False
            if kind & Is.WORD:
                ended = False
            if kind & Is.SPACE and quoted == 2:
                quoted = 0
        row[Count.LENGTH] = length
        last = trimmed
        while (
            last > start
            and _kind(table, prose[last - 1]) & Is.CLOSING
            and not _kind(table, prose[last - 1]) & Is.TERMINAL
        ):
            last -= 1
        if last > start and _kind(table, prose[last - 1]) & Is.TERMINAL:
            row[Count.ENDS] = 1
            row[Count.ASKS] = 1 if prose[last - 1] == 0x3F or prose[last - 1] == 0x61F else 0
        if ends_with_span or last < trimmed or trimmed == start:
            row[Count.ENDS] = 1
        # words
        count = _tokens(prose, start, end, table, starts, ends)
        row[Count.TOKENS] = count
        stamp += 1
        row[Count.LOOP] = _loop(prose, start, end, table, stream, slot, stamps, stamp, repeats, shortest, longest)
        if text < repetition_from:
            continue
        for one in range(count):
            if len(word_keys) and _kind(table, prose[starts[one]]) & Is.ARABIC:
                key = _word_key(prose, starts[one], ends[one])
                at = np.searchsorted(word_keys, key)
                if at < len(word_keys) and word_keys[at] == key:
                    row[Count.MASCULINE - 1 + word_groups[at]] += 1
        stamp += 1
        lines, again, characters = _pieces(prose, start, end, 1, keys, stamps, slot, mask, stamp)
        row[Count.LINES], row[Count.DUP_LINES], row[Count.DUP_LINE_CHARACTERS] = lines, again, characters
        stamp += 1
        lines, again, characters = _pieces(prose, head, trimmed, 2, keys, stamps, slot, mask, stamp)
        row[Count.PARAGRAPHS], row[Count.DUP_PARAGRAPHS], row[Count.DUP_PARAGRAPH_CHARACTERS] = lines, again, characters
        # n-grams, as GopherRepetitionFilter of datatrove counts them
        total = 0
        prefix[0] = 0
        number[0] = 0
        for one in range(count):
            key = np.uint64(3)
            for place in range(starts[one], ends[one]):
                key = key * _BASE + np.uint64(prose[place])
                prefix[total + 1] = prefix[total] * _BASE + np.uint64(prose[place])
                total += 1
            hashes[one] = _mix(key)
            number[one + 1] = total
        for n in range(2, 5):
            if count < n:
                break
            stamp += 1
            distinct = 0
            most = 0
            for one in range(count - n + 1):
                key = np.uint64(n)
                for other in range(one, one + n):
                    key = _mix(key * _BASE + hashes[other])
                index = _seen(keys, stamps, slot, mask, stamp, key, distinct)
                if index < 0:
                    index = distinct
                    first_of[index] = one
                    seen_times[index] = 0
                    distinct += 1
                seen_times[index] += 1
                most = max(most, seen_times[index])
            for index in range(distinct):
                if seen_times[index] == most:
                    one = first_of[index]
                    row[Count.TOP_2 - 2 + n] = (number[one + n] - number[one] + n - 1) * most
                    break
        for n in range(5, 11):
            stamp += 1
            one = 0
            repeated = 0
            while one < count - n + 1:
                width = number[one + n] - number[one]
                key = prefix[number[one + n]] - prefix[number[one]] * power[width]
                key = _mix(key + np.uint64(width))
                if _seen(keys, stamps, slot, mask, stamp, key, 0) >= 0:
                    repeated += width
                    one += n
                else:
                    one += 1
            row[Count.DUP_5 - 5 + n] = repeated
    return out, prose[:filled], places
