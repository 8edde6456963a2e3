"""Scores of a model, from the bundles that its artifact names, beside those of its base and of its peers.

A score counts for the very weights, tokenizer, template and settings that it was measured on, and stands beside another
only where both were measured alike: the same task, version, data, metric, shots, prompt language and harness.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from hala_release.bundle import Bundle
from hala_release.errors import ContractError
from hala_release.escape import problem_with_text
from hala_release.manifest import FileEntry, ModelFacts, ResultsFacts, Score, weights_sha256
from hala_release.release import Artifact, ModelArtifact, under
from hala_release.significance import Difference, paired, unpaired

UNNAMED = "its base"
"""How a base is called that is not on the Hub."""
Key = tuple[str, str]

"""Task and metric."""


class Measured:
    """What one evaluation of one model gave."""

    def __init__(self, bundle: Bundle, facts: ResultsFacts) -> None:
        self.bundle = bundle
        self.facts = facts
        self.scores: dict[Key, Score] = {(score.task, score.metric): score for score in facts.scores}

    @cached_property
    def values(self) -> dict[str, dict[str, float]]:
        """By task and item, what the item adds to the task's mean; only tasks whose samples say it.

        Raises:
            ContractError: the values do not give the score.
        """
        files = {entry.path: entry for entry in self.bundle.manifest.files}
        found = {}
        for (task, metric), score in self.scores.items():
            own = self._values(files[score.samples]) if score.samples in files else {}
            if own and not math.isclose(math.fsum(own.values()) / len(own), score.value, abs_tol=1e-6 * score.out_of):
                raise ContractError(
                    f"{self.bundle.root}: the samples of {task} do not give its {metric} of {score.value}",
                    fix="evaluate again, or take these results out of release.yaml",
                )
            if own:
                found[task] = own
        return found

    def _values(self, entry: FileEntry) -> dict[str, float]:
        try:
            lines = [json.loads(line) for line in self.bundle.read(entry).splitlines()]
            return {str(line["item"]): float(line["value"]) for line in lines if "value" in line}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ContractError(
                f"{self.bundle.root}: {entry.path} does not hold a line of JSON for each item", fix="evaluate again"
            ) from error


class Other(NamedTuple):
    """A model that stands beside."""

    name: str
    is_base: bool
    measured: tuple[Measured, ...]


class Results(NamedTuple):
    """Everything that was measured for one card."""

    own: tuple[Measured, ...] = ()
    others: tuple[Other, ...] = ()
    """The base first."""

    @property
    def scores(self) -> tuple[Score, ...]:
        """The model's own, in the order of its results."""
        return tuple(score for one in self.own for score in one.facts.scores)


def measured(artifact: Artifact, model: Bundle, root: Path) -> Results:
    """Open the results that an artifact names.

    Args:
        root: the directory that the release's paths start from.

    Raises:
        ContractError: one is missing, unfinished, not what was sealed, of something else, or measured otherwise.
    """
    if not isinstance(artifact, ModelArtifact) or not artifact.results:
        return Results()
    problems: list[str] = []
    own = _open(artifact.results, root, problems)
    others = []
    if artifact.base_results:
        name = artifact.base[0] if artifact.base else UNNAMED
        others.append(Other(name, True, _open(artifact.base_results, root, problems)))
    others += [Other(peer.name, False, _open(peer.results, root, problems)) for peer in artifact.peers]
    problems += [problem for one in own for problem in _of_another_model(one, model)]
    problems += _twice(own)
    for other in others:
        problems += _of_another_name(other, model)
        problems += _measured_otherwise(own, other)
    if problems:
        raise ContractError(
            f"the results of {artifact.repo} cannot be shown:\n" + "\n".join(f"  {problem}" for problem in problems),
            fix="evaluate again, all models in the same way, or take these results out of release.yaml",
        )
    return Results(own, tuple(others))


def difference(own: Measured, other: Measured, key: Key) -> Difference:
    """Compare one score of two models: in pairs where both say what each item gave, and they are the same items."""
    score, beside = own.scores[key], other.scores[key]
    mine, theirs = own.values.get(key[0]), other.values.get(key[0])
    if mine and theirs and mine.keys() == theirs.keys():
        return paired(mine, theirs)
    return unpaired(score.value, score.stderr, beside.value, beside.stderr)


def where(among: Sequence[Measured], key: Key) -> Measured | None:
    """Return the evaluation that has a score."""
    return next((one for one in among if key in one.scores), None)


def how(one: Measured, score: Score) -> tuple[object, ...]:
    """Return all that has to be alike for two scores to be compared."""
    facts = one.facts
    return (
        *(
            score.version,
            score.n,
            score.shots,
            score.language,
            score.data,
            score.signature,
            score.mean_of,
            score.mean_by,
        ),
        *(facts.harness, facts.backend, facts.dtype, facts.chat_template_sha256 is None),
    )


_HOW = (
    *("task version", "number of items", "shots", "prompt language", "data", "signature", "mean", "kind of mean"),
    *("harness", "backend", "dtype", "use of a chat template"),
)


def _open(paths: Sequence[Path], root: Path, problems: list[str]) -> tuple[Measured, ...]:
    found = []
    for path in paths:
        bundle = Bundle.open(under(root, path))
        bundle.verify()
        match bundle.manifest.facts:
            case ResultsFacts() as facts:
                found.append(Measured(bundle, facts))
                problems += [f"{bundle.root}: {problem}" for problem in _unfit(facts)]
            case facts:
                problems.append(f"{bundle.root} holds a {facts.kind}, not results")
    return tuple(found)


def _unfit(facts: ResultsFacts) -> Iterator[str]:
    texts = [facts.model, facts.harness, facts.backend, facts.dtype, facts.note]
    for score in facts.scores:
        texts += [score.task, score.title, score.version, score.metric, score.language, score.data, score.signature]
        best = score.out_of if score.higher_is_better else math.inf  # an error rate may be above 100
        if not math.isfinite(score.value) or not 0 <= score.value <= best:
            yield f"{score.task} has the {score.metric} {score.value}, which is not between 0 and {score.out_of}"
        if score.stderr is not None and not (math.isfinite(score.stderr) and score.stderr >= 0):
            yield f"{score.task} has the standard error {score.stderr}"
        if lost := set(score.mean_of) - {one.task for one in facts.scores}:
            yield f"{score.task} is a mean over {', '.join(sorted(lost))} too, which is not there"
    for text in texts:
        if problem := problem_with_text(text):
            yield f"{text!r} {problem}"


def _of_another_model(results: Measured, model: Bundle) -> Iterator[str]:
    facts, own, root = results.facts, model.manifest.facts, results.bundle.root
    digests = {entry.path: entry.sha256 for entry in model.manifest.files}
    if facts.weights_sha256 != weights_sha256(model.manifest.files):
        yield f"{root} was measured on other weights"
    if isinstance(own, ModelFacts):
        if facts.tokenizer_sha256 != own.tokenizer_sha256:
            yield f"{root} was measured with another tokenizer"
        if facts.chat_template_sha256 not in {None, own.chat_template_sha256}:
            yield f"{root} was measured with another chat template"
    if facts.config_sha256 not in {None, digests.get("config.json")}:
        yield f"{root} was measured with another config.json"
    if facts.generation_config_sha256 not in {None, digests.get("generation_config.json")}:
        yield f"{root} was measured with another generation_config.json"


def _twice(own: Sequence[Measured]) -> Iterator[str]:
    seen: dict[Key, Measured] = {}
    for one in own:
        for key in one.scores:
            if other := seen.get(key):
                yield f"{key[1]} of {key[0]} is in {other.bundle.root} and in {one.bundle.root}"
            seen[key] = one


def _of_another_name(other: Other, model: Bundle) -> Iterator[str]:
    """See that the base is what the model was made from, as far as provenance tells, and that names agree."""
    made_from = {ancestor.manifest_sha256 for ancestor in model.manifest.provenance.ancestors}
    for one in other.measured:
        named = one.facts.model.partition("@")[0]
        if named and other.name not in {named, UNNAMED}:
            yield f"{one.bundle.root} is of {named}, not of {other.name}"
        of = {given.manifest_sha256 for given in one.bundle.manifest.provenance.inputs if given.name == "model"}
        if other.is_base and made_from and of and not of & made_from:
            yield f"{one.bundle.root} is of a model that {model.root} was not made from"


def _measured_otherwise(own: Sequence[Measured], other: Other) -> Iterator[str]:
    for one in other.measured:
        for key, score in one.scores.items():
            mine = where(own, key)
            if mine is None:
                continue
            pairs = zip(_HOW, how(mine, mine.scores[key]), how(one, score), strict=True)
            if differing := [name for name, first, second in pairs if first != second]:
                yield f"{key[1]} of {key[0]} of {other.name} was measured with another {', '.join(differing)}"
