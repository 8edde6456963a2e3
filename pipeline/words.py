"""Texts as machines compare them: folded, a column of strings at a time, compiled.

Two forms. `exact` folds what no reader takes for a difference (Arabic letter forms, marks, tatweel, digits, white
space); `words` keeps letters and numbers only, in lower case, with one space between. Both go character by character,
so a table says all: `pipeline.text.arabic` is asked once for each character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.compiled import compiled, inlined
from pipeline.text.arabic import fold_all

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]

Form = Literal["exact", "words"]

TABLED = 0x20000
"""Characters from here on are Chinese and private ones: they stay as they are."""

MOST_GROWTH = 16
"""Bytes that one byte can become: U+FDFA has three, and stands for four words."""


class Folded(NamedTuple):
    """Folded texts in UTF-8, one space between them; one that folds to nothing takes no place."""

    data: Bytes
    starts: Places
    ends: Places


class Table(NamedTuple):
    """What each character becomes."""

    becomes: Hashes
    """Up to four bytes, the first one lowest, and on top how many; or 255 on top, and a place in `longer`."""
    longer: Bytes
    """At each place the number of bytes, and the bytes; also a space, which may stand for none."""


def folded(values: pa.StringArray, form: Form) -> Folded:
    """Fold a column of texts."""
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    held = values.buffers()[2]
    data = np.frombuffer(held, np.uint8) if held is not None and held.size else np.zeros(1, np.uint8)
    # What is never written takes no memory, so the room for the worst text costs nothing.
    room = np.empty(MOST_GROWTH * int(offsets[-1] - offsets[0]) + len(values) + 8, np.uint8)
    used, starts, ends = _fold(data, offsets.astype(np.int64), *table(form), room)
    return Folded(room[:used], starts, ends)


def fold_text(text: str, form: Form) -> str:
    """Fold one text."""
    one = folded(pa.array([text], pa.string()), form)
    return bytes(one.data[one.starts[0] : one.ends[0]]).decode()


@lru_cache
def table(form: Form) -> Table:
    """Make the table of a form."""
    becomes = np.zeros(TABLED, dtype=np.uint64)
    longer = bytearray()
    codes = [code for code in range(TABLED) if not 0xD800 <= code < 0xE000]
    for code, text in zip(codes, map(str.encode, _becomes(list(map(chr, codes)), form)), strict=True):
        if len(text) <= 4 and b" " not in text:
            becomes[code] = len(text) << 56 | int.from_bytes(text, "little")
        else:
            becomes[code] = 255 << 56 | len(longer)
            longer += bytes([len(text)]) + text
    return Table(becomes, np.frombuffer(bytes(longer), np.uint8))


def _becomes(characters: list[str], form: Form) -> Iterator[str]:
    if form == "words":
        characters = [unicodedata.normalize("NFKC", one) for one in characters]
    # Between zeros, because folding strips the ends of a text, and nothing composes with a zero.
    for text in fold_all([f"0{one}0" for one in characters]):
        one = unicodedata.normalize("NFD", text[1:-1])
        yield one if form == "exact" else "".join(map(_word_character, unicodedata.normalize("NFKD", one)))


def _word_character(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Mn", "Me", "Cf"}:
        return ""
    return character if category[0] in "LNM" else " "


@compiled
def _fold(data: Bytes, offsets: Places, becomes: Hashes, longer: Bytes, out: Bytes) -> tuple[int, Places, Places]:
    texts = len(offsets) - 1
    starts = np.empty(texts, np.int64)
    ends = np.empty(texts, np.int64)
    at: Any = 0
    for text in range(texts):
        starts[text] = at
        space: Any = 0
        place, end = offsets[text], offsets[text + 1]
        while place < end:
            lead: Any = np.int64(data[place])
            if lead < 0x80:
                code, size = lead, 1
            elif 0xC2 <= lead < 0xE0 and place + 1 < end:
                code, size = (lead & 0x1F) << 6 | np.int64(data[place + 1]) & 0x3F, 2
            else:
                code, size = _character(data, place, end)
            value = becomes[code] if code < TABLED else _as_it_is(data, place)
            place += size
            count = np.int64(value >> np.uint64(56))
            if count == 255:
                begin = np.int64(value & np.uint64(0xFFFFFFFF))
                for one in range(begin + 1, begin + 1 + np.int64(longer[begin])):
                    if longer[one] == 32:
                        space = np.int64(at > starts[text])
                        continue
                    out[at] = 32
                    at += space
                    space = 0
                    out[at] = longer[one]
                    at += 1
                continue
            if count > 0:  # without branches as far as it goes: a space that is not due is written over
                out[at] = 32
                at += space
                space = 0
            out[at] = np.uint8(value)
            out[at + 1] = np.uint8(value >> np.uint64(8))
            if count > 2:
                out[at + 2] = np.uint8(value >> np.uint64(16))
                out[at + 3] = np.uint8(value >> np.uint64(24))
            at += count
        ends[text] = at
        if at > starts[text]:
            out[at] = 32
            at += 1
    return at, starts, ends


@inlined
def _as_it_is(data: Bytes, place: int) -> np.uint64:
    """Pack the four bytes of a character that no table knows."""
    value = np.uint64(4 << 56)
    for byte in range(4):
        value |= np.uint64(data[place + byte]) << np.uint64(8 * byte)
    return value


@inlined
def _character(data: Bytes, place: int, end: int) -> tuple[Any, int]:
    """Return the code of a character of three or four bytes, and its bytes; U+FFFD for a byte that begins none."""
    lead = np.int64(data[place])
    if 0xE0 <= lead < 0xF0 and place + 2 < end:
        return (lead & 0x0F) << 12 | (np.int64(data[place + 1]) & 0x3F) << 6 | np.int64(data[place + 2]) & 0x3F, 3
    if 0xF0 <= lead < 0xF5 and place + 3 < end:
        high = (lead & 0x07) << 18 | (np.int64(data[place + 1]) & 0x3F) << 12
        return high | (np.int64(data[place + 2]) & 0x3F) << 6 | np.int64(data[place + 3]) & 0x3F, 4
    return 0xFFFD, 1


_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


@inlined
def _left(value: np.uint64, bits: int) -> np.uint64:
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)


@inlined
def _read(data: Bytes, place: int, size: int) -> np.uint64:
    value = np.uint64(0)
    for byte in range(size):
        value |= np.uint64(data[place + byte]) << np.uint64(8 * byte)
    return value


@inlined
def _round(state: np.uint64, value: np.uint64) -> np.uint64:
    return _left(state + value * _P2, 31) * _P1


@compiled
def xxh64(data: Bytes, start: int, end: int) -> np.uint64:
    """Hash bytes as the library xxhash does (XXH64, seed 0), so that a hash is that of datatrove."""
    place = start
    if end - start >= 32:
        one, two, three, four = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while place + 32 <= end:
            one = _round(one, _read(data, place, 8))
            two = _round(two, _read(data, place + 8, 8))
            three = _round(three, _read(data, place + 16, 8))
            four = _round(four, _read(data, place + 24, 8))
            place += 32
        value = _left(one, 1) + _left(two, 7) + _left(three, 12) + _left(four, 18)
        for lane in (one, two, three, four):
            value = (value ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        value = _P5
    value += np.uint64(end - start)
    while place + 8 <= end:
        value = _left(value ^ _round(np.uint64(0), _read(data, place, 8)), 27) * _P1 + _P4
        place += 8
    if place + 4 <= end:
        value = _left(value ^ _read(data, place, 4) * _P1, 23) * _P2 + _P3
        place += 4
    while place < end:
        value = _left(value ^ np.uint64(data[place]) * _P5, 11) * _P1
        place += 1
    value = (value ^ value >> np.uint64(33)) * _P2
    value = (value ^ value >> np.uint64(29)) * _P3
    return value ^ value >> np.uint64(32)


@compiled
def hashes(data: Bytes, starts: Places, ends: Places) -> Hashes:
    """Hash each text."""
    found = np.empty(len(starts), np.uint64)
    for text in range(len(starts)):
        found[text] = xxh64(data, starts[text], ends[text])
    return found
