"""Scores of a model, from the bundles that its artifact names; a card prints them if they are of its very weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hala_release.bundle import Bundle
from hala_release.errors import ContractError
from hala_release.manifest import ModelFacts, ResultsFacts, Score, weights_sha256
from hala_release.release import Artifact, ModelArtifact

NORMAL = 1.96
"""Standard errors in half of a 95% interval."""
_OF_THE_HUB = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)@([0-9a-f]{40})")


class Line(NamedTuple):
    """One score, as the table shows it."""

    score: Score
    value: str
    """On a scale of 100, with half of its 95% interval where there is one."""


class Source(NamedTuple):
    """What a task asked."""

    title: str
    task: str
    version: str
    dataset: str
    """Of the Hub; empty for a file."""
    revision: str
    """The beginning of the dataset's commit, or what names the file."""
    signatures: tuple[str, ...]
    """By metric, what else decides a number."""


class Table(NamedTuple):
    """What one evaluation measured."""

    facts: ResultsFacts
    lines: tuple[Line, ...]
    sources: tuple[Source, ...]


def measured(artifact: Artifact, root: Path) -> tuple[Bundle, ...]:
    """Open the results that an artifact names.

    Args:
        root: the directory that the release's paths start from.

    Raises:
        ContractError: one is missing, unfinished, or not what was sealed.
    """
    match artifact:
        case ModelArtifact():
            found = tuple(Bundle.open(path) for path in artifact.results_under(root))
        case _:
            found = ()
    for bundle in found:
        bundle.verify()
    return found


def tables(results: Sequence[Bundle], model: Bundle) -> list[Table]:
    """Return what a model's results say.

    Raises:
        ContractError: lists what is no result, and what was measured on something else than this model.
    """
    problems = [problem for bundle in results for problem in _problems(bundle, model)]
    if problems:
        raise ContractError(
            f"the results of {model.root} cannot be shown:\n" + "\n".join(f"  {problem}" for problem in problems),
            fix="evaluate this model again, or take these results out of release.yaml",
        )
    return [_table(bundle.manifest.facts) for bundle in results if isinstance(bundle.manifest.facts, ResultsFacts)]


def _problems(results: Bundle, model: Bundle) -> list[str]:
    facts, own = results.manifest.facts, model.manifest.facts
    if not isinstance(facts, ResultsFacts):
        return [f"{results.root} holds a {facts.kind}, not results"]
    found = []
    if facts.weights_sha256 != weights_sha256(model.manifest.files):
        found.append(f"{results.root} was measured on other weights")
    if isinstance(own, ModelFacts):
        if facts.tokenizer_sha256 != own.tokenizer_sha256:
            found.append(f"{results.root} was measured with another tokenizer")
        if facts.chat_template_sha256 not in {None, own.chat_template_sha256}:
            found.append(f"{results.root} was measured with another chat template")
    return found


def _table(facts: ResultsFacts) -> Table:
    sources: dict[str, Source] = {}
    for score in facts.scores:
        known = sources.get(score.task)
        hub = _OF_THE_HUB.fullmatch(score.data)
        sources[score.task] = Source(
            title=score.title,
            task=score.task,
            version=score.version,
            dataset=hub[1] if hub else "",
            revision=hub[2][:12] if hub else score.data[:19],
            signatures=(
                *(known.signatures if known else ()),
                *([f"{score.metric} {score.signature}"] if score.signature else []),
            ),
        )
    return Table(facts, tuple(Line(score, _value(score)) for score in facts.scores), tuple(sources.values()))


def _value(score: Score) -> str:
    scale = 100 / score.out_of
    interval = "" if score.stderr is None else f" ± {NORMAL * score.stderr * scale:.1f}"
    return f"{score.value * scale:.1f}{interval}"
