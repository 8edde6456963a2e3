"""What of a text goes to the model, and what comes back around it untouched.

A text becomes parts: prose that is sent, and everything else, which is kept as it is. Lines without a word outside
code, formulas, tags and the like are not sent at all. Such spans within a sentence are sent as short markers, `[[1]]`,
and put back where the model left the markers. A model that lost, doubled or invented one has not translated the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.text import segments
from pipeline.text.markup import Kind, Span, spans
from pipeline.text.segments import Border

MARKER = re.compile(r"\[\[\s{0,2}([\d٠-٩]{1,5})\s{0,2}\]\]")
"""A marker as models return it: some put blanks in, some write Arabic digits."""
_LETTERS = re.compile(r"[^\W\d_]+")


class Part(NamedTuple):
    """A stretch of a text; the texts of its parts, joined, are the text."""

    text: str
    sent: bool
    """Whether a model is to translate it; such a part neither begins nor ends with white space."""
    spans: tuple[Span, ...] = ()
    """What a model must not change, by places in `text`."""


class Masked(NamedTuple):
    """Prose with markers in the place of its spans."""

    text: str
    kept: tuple[str, ...]
    """What the markers stand for, the first one for `[[1]]`."""


class Restored(NamedTuple):
    """A model's answer with its markers replaced."""

    text: str
    whole: bool
    """Whether every marker was there, once, and no other."""


def parts(text: str, limit: int, protected: frozenset[Kind], always: Border | None = None) -> list[Part]:
    """Return the parts of a text, those to be sent at most `limit` characters long, markers counted and not spans.

    Args:
        protected: kinds of spans that are kept.
        always: a part ends at each border of this kind.
    """
    found = _with_literal_markers(text, [span for span in spans(text) if span.kind in protected])
    result: list[Part] = []
    start = 0
    for first, last in _silent_lines(text, found):
        result += _prose(text, (start, first), found, limit, always)
        result.append(Part(text[first:last], sent=False))
        start = last
    result += _prose(text, (start, len(text)), found, limit, always)
    return result


def mask(part: Part) -> Masked:
    """Put markers in the place of a part's spans."""
    pieces = []
    place = 0
    for number, span in enumerate(part.spans, 1):
        pieces += [part.text[place : span.start], f"[[{number}]]"]
        place = span.end
    kept = tuple(part.text[span.start : span.end] for span in part.spans)
    return Masked("".join([*pieces, part.text[place:]]), kept)


def restore(answer: str, kept: Sequence[str]) -> Restored:
    """Put back what markers stand for; a marker of nothing stays."""
    seen = [int(marker[1]) for marker in MARKER.finditer(answer)]
    text = MARKER.sub(lambda marker: kept[int(marker[1]) - 1] if 0 < int(marker[1]) <= len(kept) else marker[0], answer)
    return Restored(text, whole=sorted(seen) == list(range(1, len(kept) + 1)))


def holds(answer: str, part: Part) -> bool:
    """Tell whether an answer to the part as it is has each of its spans as often as the part, and no marker else."""
    kept = {part.text[span.start : span.end] for span in part.spans}
    kept |= {marker[0] for marker in MARKER.finditer(answer)}
    return all(answer.count(one) == part.text.count(one) for one in kept)


def _with_literal_markers(text: str, found: Sequence[Span]) -> list[Span]:
    """Protect what looks like a marker and was in the text before, so that each marker in a masked text is ours."""
    result: list[Span] = []
    place = 0
    for span in [*found, Span(len(text), len(text), "placeholder")]:
        gap = MARKER.finditer(text, place, span.start)
        result += [Span(*literal.span(), "placeholder") for literal in gap]
        result.append(span)
        place = span.end
    return result[:-1]


def _silent_lines(text: str, found: Sequence[Span]) -> list[tuple[int, int]]:
    """Return the stretches of whole lines that hold spans and, beside them, no word; their last line ends go on."""
    result: list[tuple[int, int]] = []
    number = 0
    while number < len(found):
        first = text.rfind("\n", 0, found[number].start) + 1
        last = _line_end(text, found[number].end)
        inside = [found[number]]
        while (number := number + 1) < len(found) and found[number].start < last:
            inside.append(found[number])
            last = max(last, _line_end(text, found[number].end))
        places = [first, *(place for span in inside for place in span[:2]), last]
        if not any(_has_letters(text, *gap) for gap in zip(places[::2], places[1::2], strict=True)):
            result.append((first, last))
    return result


def _has_letters(text: str, start: int, end: int) -> bool:
    """Tell whether there is a letter; the expression alone would take a superscript for one."""
    return any(any(map(str.isalpha, run[0])) for run in _LETTERS.finditer(text, start, end))


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _prose(text: str, stretch: tuple[int, int], found: Sequence[Span], limit: int, always: Border | None) -> list[Part]:
    """Return the parts of a stretch between silent lines."""
    start, end = stretch
    first = bisect_left(found, start, key=lambda span: span.start)
    last = bisect_left(found, end, key=lambda span: span.start)
    inside = [Span(span.start - start, span.end - start, span.kind) for span in found[first:last]]
    result: list[Part] = []
    place = 0
    number = 0
    for piece in segments.split(text[start:end], limit, inside, always):
        until = place + len(piece)
        mine = []
        while number < len(inside) and inside[number].start < until:
            span = inside[number]
            mine.append(Span(span.start - place, span.end - place, span.kind))
            number += 1
        result += _trimmed(piece, mine)
        place = until
    return result


def _trimmed(piece: str, mine: Sequence[Span]) -> list[Part]:
    """Return a piece less the white space around it, and that; one part where there is nothing to translate."""
    places = [0, *(place for span in mine for place in span[:2]), len(piece)]
    if not any(_has_letters(piece, *gap) for gap in zip(places[::2], places[1::2], strict=True)):
        return [Part(piece, sent=False)] if piece else []
    front = min(len(piece) - len(piece.lstrip()), mine[0].start if mine else len(piece))
    back = max(len(piece.rstrip()), mine[-1].end if mine else 0)
    core = tuple(Span(span.start - front, span.end - front, span.kind) for span in mine)
    result = [Part(piece[:front], sent=False), Part(piece[front:back], sent=True, spans=core)]
    return [part for part in [*result, Part(piece[back:], sent=False)] if part.text]
