"""Scores as the tables and charts of a card show them: every value with its error, every difference with its test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hala_release import results, significance
from hala_release.family import Family, Member
from hala_release.manifest import ModelFacts, ResultsFacts, Score
from hala_release.release import ModelArtifact
from hala_release.results import Key, Measured, Other, Results
from hala_release.significance import LEVEL, NORMAL, Difference
from hala_release.units import count

SHOWN = 0.05
"""Points that one digit after the point still shows."""


class Beside(NamedTuple):
    """A score of another model, and how this one differs from it."""

    value: str
    points: float
    half: float | None
    difference: str
    significant: bool
    better: bool
    paired: bool


class Line(NamedTuple):
    """One score of the model."""

    score: Score
    value: str
    points: float
    """Of 100."""
    half: float | None
    """Half of the interval, of 100."""
    beside: tuple[Beside | None, ...]
    """By other model; None where that has no such score."""


class Source(NamedTuple):
    """What a task asked."""

    title: str
    task: str
    version: str
    repository: str
    """Of the Hub; empty for a file."""
    revision: str
    """The commit of that repository, or what names the file."""
    members: str
    """The tasks that a mean is of; empty for a task."""
    signatures: tuple[str, ...]
    """By metric, what else decides a number."""


class Table(NamedTuple):
    """What was measured for one card."""

    others: tuple[Other, ...]
    lines: tuple[Line, ...]
    sources: tuple[Source, ...]
    how: tuple[ResultsFacts, ...]
    level: str
    """Of the intervals, for example `95%`."""

    @property
    def compared(self) -> int:
        """How many comparisons were tested."""
        return sum(one is not None and bool(one.difference) for line in self.lines for one in line.beside)

    @property
    def paired(self) -> int:
        """How many of them in pairs."""
        return sum(one is not None and one.paired for line in self.lines for one in line.beside)

    @property
    def base(self) -> Other | None:
        """The model that this one was made from."""
        return next((other for other in self.others if other.is_base), None)

    @property
    def worse(self) -> tuple[Line, ...]:
        """Where the model is clearly below its base."""
        found = []
        for line in self.lines:
            for other, beside in zip(self.others, line.beside, strict=True):
                if other.is_base and beside and beside.significant and not beside.better:
                    found.append(line)
        return tuple(found)


class FamilyRow(NamedTuple):
    """One size of the family."""

    repo: str
    title: str
    parameters: int
    values: tuple[str, ...]
    is_this: bool


class FamilyTable(NamedTuple):
    """Every size on the tasks that all of them were measured on alike."""

    columns: tuple[str, ...]
    rows: tuple[FamilyRow, ...]


def table(measured: Results) -> Table | None:
    """Return the scores of a model beside those of others, or None when there are none."""
    if not measured.own:
        return None
    tests = [[_difference(own, other, key) for other in measured.others] for own in measured.own for key in own.scores]
    flat = [test for row in tests for test in row]
    rejected = iter(significance.holm([test.p if test else None for test in flat]))
    lines = []
    rows = iter(tests)
    for own in measured.own:
        for key, score in own.scores.items():
            beside = tuple(
                _beside(score, other, key, test, next(rejected))
                for other, test in zip(measured.others, next(rows), strict=True)
            )
            lines.append(Line(score, _value(score), _points(score, score.value), _half(score), beside))
    facts = tuple(one.facts for one in measured.own)
    return Table(measured.others, tuple(lines), _sources(measured.scores), facts, f"{LEVEL:.0%}")


def family_table(family: Family, member: Member) -> FamilyTable | None:
    """Return the sizes of a family side by side, or None when fewer than two were measured alike."""
    models = [
        (one, one.artifact, one.bundle.manifest.facts)
        for one in family.members
        if isinstance(one.artifact, ModelArtifact) and one.results.own
    ]
    ways = [_ways(one) for one, _, _ in models]
    keys = [key for key, way in ways[0].items() if all(one.get(key) == way for one in ways)] if ways else []
    if len(models) < 2 or not keys:
        return None
    rows = []
    for one, artifact, facts in models:
        scores = {key: found.scores[key] for found in one.results.own for key in found.scores}
        rows.append(
            FamilyRow(
                repo=family.release.repo_id(artifact.repo),
                title=artifact.title or artifact.repo.rpartition("/")[2],
                parameters=facts.total_parameters if isinstance(facts, ModelFacts) else 0,
                values=tuple(_value(scores[key]) for key in keys),
                is_this=one.artifact == member.artifact,
            )
        )
    first = {key: found.scores[key] for found in models[0][0].results.own for key in found.scores}
    titles = tuple(f"{first[key].title}, {key[1]}" for key in keys)
    return FamilyTable(titles, tuple(sorted(rows, key=lambda row: (row.parameters, row.repo))))


def _ways(member: Member) -> dict[Key, tuple[object, ...]]:
    return {key: results.how(one, score) for one in member.results.own for key, score in one.scores.items()}


def _difference(own: Measured, other: Other, key: Key) -> Difference | None:
    beside = results.where(other.measured, key)
    return results.difference(own, beside, key) if beside else None


def _beside(score: Score, other: Other, key: Key, test: Difference | None, rejected: bool) -> Beside | None:
    one = results.where(other.measured, key)
    if one is None or test is None:
        return None
    points = _points(score, test.value)
    half = "" if test.stderr is None else f" ± {_points(score, test.stderr) * NORMAL:.1f}"
    theirs = one.scores[key]
    return Beside(
        value=_value(theirs),
        points=_points(theirs, theirs.value),
        half=_half(theirs),
        difference=f"{points:+z.1f}{half}" if test.p is not None else "",
        significant=rejected and abs(points) >= SHOWN,
        better=(test.value > 0) == score.higher_is_better,
        paired=test.paired,
    )


def _points(score: Score, value: float) -> float:
    return value * 100 / score.out_of


def _half(score: Score) -> float | None:
    return None if score.stderr is None else _points(score, score.stderr) * NORMAL


def _value(score: Score) -> str:
    half = _half(score)
    return f"{_points(score, score.value):.1f}" + ("" if half is None else f" ± {half:.1f}")


def _sources(scores: Sequence[Score]) -> tuple[Source, ...]:
    found: dict[str, Source] = {}
    for score in scores:
        known = found.get(score.task)
        repository, _, revision = score.data.rpartition("@")
        signature = [f"{score.metric} {score.signature}"] if score.signature else []
        found[score.task] = Source(
            title=score.title,
            task=score.task,
            version=score.version,
            repository=repository,
            revision=revision[:12] if repository else revision[:19],
            members=f"{count(len(score.mean_of), 'task')}, each {'item' if score.mean_by == 'items' else 'task'} "
            "counting the same"
            if score.mean_of
            else "",
            signatures=(*(known.signatures if known else ()), *signature),
        )
    return tuple(found.values())
