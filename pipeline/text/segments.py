"""Cut a long text where a reader would: at a paragraph, a line, a sentence, a word.

Pieces joined are the text. Where to cut is decided by white space and what stands before it, in one pass over the text,
so the time is linear whatever the text is.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

from pipeline.text.markup import Span

SPAN_WEIGHT = 8
"""Characters that a span counts for, however long it is: about what its marker costs."""


class Border(IntEnum):
    """Where a text may be cut, the best place first."""

    PARAGRAPH = 0
    LINE = 1
    SENTENCE = 2
    WORD = 3


_SPACE = re.compile(r"\s+")
_LINE_ENDS = "\n\r\u2028\u2029\x85"
_ENDS = frozenset(".!?…؟۔。")
_CLOSERS = frozenset("\"'”’»)]}*_")
_LOOK_BACK = 24
"""Characters that are read to judge a full stop."""
_NO_END = re.compile(
    r"(?:[^\W\d_]"  # an initial, or an Arabic title of one letter
    r"|(?:[^\W\d_]\.)+[^\W\d_]"  # e.g, i.e, U.S, p.m
    r"|mr|mrs|ms|mx|dr|prof|rev|gen|col|capt|lt|sgt|sen|gov|hon|st|mt|ft|jr|sr|messrs|mme|mlle"
    r"|vs|etc|cf|al|ca|approx|est|no|nos|nr|fig|figs|eq|eqs|ref|refs|ch|chap|sec|vol|ed|eds|pp|pg|para|art|app"
    r"|inc|ltd|co|corp|dept|univ|assn|bros|min|max|avg|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|wed|thu"
    r"|fri|sat|sun|ave|blvd|rd|ext|tel|هـ|ق\.م|إلخ"
    r")\.",
    re.IGNORECASE,
)
_DIGITS = frozenset("0123456789٠١٢٣٤٥٦٧٨٩")
_NUMBER_OF_A_LIST = re.compile(r"(?:\A|[\n\r])[ \t]*[\d٠-٩]{1,4}\.\Z")


def split(text: str, limit: int, spans: Sequence[Span] = (), always: Border | None = None) -> list[str]:
    """Return pieces of at most `limit` characters, a span counting `SPAN_WEIGHT`; joined, they are the text.

    A piece ends at the last paragraph within the limit, or else line, sentence or word. A word longer than the limit is
    cut where it must be; a span never is.

    Args:
        always: cut at each border of this kind and of better kinds, also where the limit would allow more.
    """
    scale = _Scale(text, spans)
    if scale.weight(len(text)) <= limit and always is None:
        return [text] if text else []
    borders = _borders(text, spans)
    weights = [[scale.weight(place) for place in places] for places in borders]
    ends = sorted(place for kind in Border if always is not None and kind <= always for place in borders[kind])
    cuts = [0]
    for end in [*ends, len(text)]:
        _cut(cuts, end, limit, scale, borders, weights)
        cuts.append(end)
    return [text[start:end] for start, end in pairwise(cuts) if start < end]


def _cut(
    cuts: list[int],
    end: int,
    limit: int,
    scale: _Scale,
    borders: Sequence[Sequence[int]],
    weights: Sequence[Sequence[int]],
) -> None:
    """Add cuts until what is left before `end` is within the limit."""
    while scale.weight(end) - scale.weight(cuts[-1]) > limit:
        most = scale.weight(cuts[-1]) + limit
        for places, reached in zip(borders, weights, strict=True):
            last = bisect_right(reached, most) - 1
            if last >= 0 and places[last] > cuts[-1]:
                cuts.append(places[last])
                break
        else:
            cuts.append(scale.place(cuts[-1], most))


def _borders(text: str, spans: Sequence[Span]) -> tuple[list[int], ...]:
    """Return where the text may be cut, by kind, each in order."""
    found: tuple[list[int], ...] = tuple([] for _ in Border)
    span = 0
    for space in _SPACE.finditer(text):
        start, end = space.span()
        while span < len(spans) and spans[span].end <= start:
            span += 1
        if span < len(spans) and spans[span].start < end:
            continue
        after_span = span > 0 and spans[span - 1].end == start
        found[_border(text, start, end, after_span=after_span)].append(end)
    return found


def _border(text: str, start: int, end: int, *, after_span: bool) -> Border:
    """Judge the white space `text[start:end]`."""
    ends = sum(text.count(sign, start, end) for sign in _LINE_ENDS) - text.count("\r\n", start, end)
    if ends:
        return Border.PARAGRAPH if ends > 1 or "\u2029" in text[start:end] else Border.LINE
    if after_span:
        return Border.WORD
    back = start
    while back > max(0, start - 4) and text[back - 1] in _CLOSERS:
        back -= 1
    if not back or text[back - 1] not in _ENDS:
        return Border.WORD
    if text[back - 1] == "." and (text[end : end + 1].islower() or _stops_nothing(text, back)):
        return Border.WORD
    return Border.SENTENCE


def _stops_nothing(text: str, end: int) -> bool:
    """Tell whether the full stop before `end` belongs to an abbreviation, an initial or the number of a list."""
    before = text[max(0, end - _LOOK_BACK) : end]
    word = before.split()[-1].lstrip("([{\"'“‘«")
    return bool(_NO_END.fullmatch(word) or (word[0] in _DIGITS and _NUMBER_OF_A_LIST.search(before)))


class _Scale:
    """How much of the limit a text uses up to a place, and the other way round."""

    def __init__(self, text: str, spans: Sequence[Span]) -> None:
        self._text = text
        self._spans = spans
        self._ends = [span.end for span in spans]
        self._saved = [0]
        for span in spans:
            self._saved.append(self._saved[-1] + span.end - span.start - SPAN_WEIGHT)
        self._begins = [span.start - saved for span, saved in zip(spans, self._saved, strict=False)]

    def weight(self, place: int) -> int:
        """Return the weight of the text before a place that lies in no span."""
        return place - self._saved[bisect_right(self._ends, place)]

    def place(self, after: int, weight: int) -> int:
        """Return the last place behind `after` up to which the text weighs no more than `weight`."""
        number = bisect_right(self._begins, weight) - 1
        floor = after
        if number >= 0:
            span = self._spans[number]
            if weight < self._begins[number] + SPAN_WEIGHT:
                return span.start if span.start > after else span.end
            floor = max(after, span.end)
        place = weight + self._saved[number + 1]
        best = place
        while best > max(floor, place - 32) and _joined(self._text, best):
            best -= 1
        return max(best if best > floor else place, after + 1)


def _joined(text: str, place: int) -> bool:
    """Tell whether the characters around a place are one to a reader."""
    before, after = text[place - 1 : place], text[place : place + 1]
    return bool(after) and (before == "\u200d" or after in "\u200d\ufe0f" or unicodedata.combining(after) > 0)
