"""What a rule is, and the batch of rows that it looks at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from hala_release.manifest import Record
from pipeline.rows import Row
from pipeline.rules import counting
from pipeline.rules.counting import Count, Numbers, Sign, Vocabulary
from pipeline.text.markup import Kind, Span, spans

Action = Literal["drop", "repair", "flag", "report"]
"""`drop` the row; `repair` its target; `flag` it and keep it; or only count it in the `report`."""


class Limits(Record):
    """What the YAML may say of every rule."""

    enabled: bool = True
    action: Action = "drop"


class Hit(NamedTuple):
    """A rule found something in a row."""

    row: int
    turn: int
    reason: str
    action: Action | None = None
    """Instead of the one that the limits name: a rule may have a hard and a soft limit."""


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    id: str
    name: str
    limits: type[Limits]
    check: Callable[[Batch, Any], Iterable[Hit]] | None = None
    """Yields what is wrong with the rows of a batch, after all repairs."""
    repair: Callable[[Batch, int, str, Any], str] | None = None
    """Returns the repaired target of a pair. A repaired text repairs to itself."""
    repairs: Sign | None = None
    """The sign without which there is nothing to repair."""


class Search(Record):
    """A regular expression, tried only where it can succeed."""

    pattern: str
    near: tuple[str, ...] = ()
    """It is tried in texts that hold one of these, in lower case; none: in all."""

    def find(self, text: str, lower: str) -> re.Match[str] | None:
        """Return the first match; the pattern ignores case, and `^` and `$` are the ends of lines."""
        if self.near and not holds(lower, self.near):
            return None
        return compile_pattern(self.pattern).search(text)


def where(condition: np.ndarray[Any, np.dtype[Any]]) -> list[int]:
    """Return the pairs for which a condition holds."""
    found: list[int] = np.flatnonzero(condition).tolist()
    return found


def holds(text: str, words: Iterable[str]) -> bool:
    """Tell whether one of some words is in a text."""
    for word in words:  # a loop, because `any` with a generator takes twice the time, for every row  # noqa: SIM110
        if word in text:
            return True
    return False


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of the configuration."""
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


class Batch:
    """The turns of some rows, each in both languages: the pairs; what they hold, and what was counted in them.

    Every row has as many turns in its target as in its source; `structure.sound` sees to that.
    """

    def __init__(self, rows: Sequence[Row], numbers: Sequence[int]) -> None:
        self.rows = rows
        places = [(row, turn) for row in numbers for turn in range(len(rows[row]["turns"]))]
        self.row = np.array([row for row, _ in places], np.int64)
        self.turn = np.array([turn for _, turn in places], np.int64)
        self.roles = [rows[row]["turns"][turn]["role"] for row, turn in places]
        self.user = np.array([role == "user" for role in self.roles], bool)
        self.sources = [rows[row]["turns"][turn]["text"] for row, turn in places]
        self.targets = [(rows[row]["target"] or [])[turn]["text"] for row, turn in places]
        self.finish = [(rows[row]["target"] or [])[turn]["finish_reason"] for row, turn in places]
        self.source_signs: Numbers = counting.signs(*counting.points_of(self.sources))
        self.target_signs: Numbers = counting.signs(*counting.points_of(self.targets))
        self.source_spans = _spans(self.sources, self.source_signs)
        self.source: Numbers = np.zeros((0, counting.COLUMNS), np.int64)
        self.target = self.source
        self.source_prose: list[str] = []
        self.target_prose: list[str] = []

    def count(self, words: Vocabulary, loops: tuple[int, int, int]) -> None:
        """Count what is in the pairs; the targets do not change after this."""
        self.target_spans = _spans(self.targets, self.target_signs)
        size = len(self.sources)
        points, bounds = counting.points_of([*self.sources, *self.targets])
        masked = [
            (text, span.start, span.end)
            for offset, found in ((0, self.source_spans), (size, self.target_spans))
            for text, some in ((offset + pair, found[pair]) for pair in sorted(found))
            for span in some
        ]
        places = np.array(masked, np.int64).reshape(-1, 3)
        found, prose, starts = counting.counts(points, bounds, places, words, loops, repetition_from=size)
        self.source, self.target = found[:size], found[size:]

        def pieces(texts: list[str], spans_of: dict[int, list[Span]], offset: int) -> list[str]:
            return [
                prose[starts[offset + pair] : starts[offset + pair + 1]].tobytes().decode("utf-32-le", "surrogatepass")
                if pair in spans_of
                else text
                for pair, text in enumerate(texts)
            ]

        self.source_prose = pieces(self.sources, self.source_spans, 0)
        self.target_prose = pieces(self.targets, self.target_spans, size)

    @cached_property
    def source_lower(self) -> list[str]:
        """The prose of the sources in lower case."""
        return [text.lower() for text in self.source_prose]

    @cached_property
    def target_lower(self) -> list[str]:
        """The prose of the targets with Latin letters in lower case."""
        latin = self.target[:, Count.LATIN]
        return [text.lower() if latin[pair] else text for pair, text in enumerate(self.target_prose)]

    @cached_property
    def asked(self) -> dict[int, str]:
        """What the source of a row says in all, by number of the row; for exceptions, where a rule has hit."""
        return _Asked(self)

    def hit(self, pair: int, reason: str, action: Action | None = None) -> Hit:
        """Name the row and the turn of a pair."""
        return Hit(int(self.row[pair]), int(self.turn[pair]), reason, action)

    def excused(self, pair: int, pattern: str) -> bool:
        """Tell whether the source of the whole row matches a pattern; an empty one matches nothing."""
        return bool(pattern) and bool(compile_pattern(pattern).search(self.asked[int(self.row[pair])]))

    def marked(self) -> list[int]:
        """Return the pairs that hold anything but prose, on either side."""
        return sorted(self.source_spans.keys() | self.target_spans.keys())

    def pieces(self, pair: int, *kinds: Kind) -> tuple[Counter[str], Counter[str]]:
        """Return the spans of some kinds with how often each occurs, in the source and in the target."""
        return tuple(  # type: ignore[return-value]
            Counter(text[span.start : span.end] for span in found.get(pair, ()) if span.kind in kinds)
            for text, found in ((self.sources[pair], self.source_spans), (self.targets[pair], self.target_spans))
        )


class _Asked(dict[int, str]):
    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self.batch = batch

    def __missing__(self, row: int) -> str:
        self[row] = "\n".join(turn["text"] for turn in self.batch.rows[row]["turns"] if turn["role"] != "assistant")
        return self[row]


def _spans(texts: Sequence[str], signs: Numbers) -> dict[int, list[Span]]:
    """Return the spans of those texts that have any."""
    with_markup = where(signs & Sign.MARKUP)
    return {pair: found for pair in with_markup if (found := spans(texts[pair]))}


def difference(source: Counter[str], target: Counter[str]) -> str:
    """Say which pieces are lost and which are new, shortly."""
    lost = [_short(piece) for piece in sorted((source - target).elements())]
    new = [_short(piece) for piece in sorted((target - source).elements())]
    parts = [f"{name} {', '.join(some[:3])}" for name, some in (("lost", lost), ("new", new)) if some]
    return "; ".join(parts)


def _short(piece: str) -> str:
    line = " ".join(piece[:200].split())
    return line if len(line) <= 40 else f"{line[:39]}…"


OTHER_LANGUAGE = (
    r"\btranslat|\b(?:in|into|to|from|of|speak|write|learn|say|the) (?:latin|french|spanish|german|italian|portuguese"
    r"|russian|chinese|mandarin|japanese|korean|hindi|urdu|persian|farsi|turkish|hebrew|greek|dutch|swedish|polish"
    r"|indonesian|malay|bengali|swahili|vietnamese|thai|kurdish|pashto|english)\b"
)
"""A source that asks for words of another language: what it gets need not be all Arabic."""
