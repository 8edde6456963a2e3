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

from hala_release import lineage
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
            ContractError: a file of samples holds something else.
        """
        return {task: dict(items) for task, items in self._items.items()}

    def contradictions(self) -> Iterator[str]:
        """Yield where samples are not those of a score: some missing, some twice, or with another mean.

        Raises:
            ContractError: a file of samples holds something else.
        """
        for (task, metric), score in self.scores.items():
            items = self._items.get(task, [])
            if not items:
                continue
            if len(dict(items)) != score.n or len(items) != score.n:
                yield f"the samples of {task} are {len(items)}, of {len(dict(items))} items, and it has {score.n}"
            mean = math.fsum(value for _, value in items) / len(items)
            if not math.isclose(mean, score.value, abs_tol=1e-6 * score.out_of):
                yield f"the samples of {task} do not give its {metric} of {score.value}"

    @cached_property
    def _items(self) -> dict[str, list[tuple[str, float]]]:
        files = {entry.path: entry for entry in self.bundle.manifest.files}
        found = {}
        for score in self.facts.scores:
            if score.samples in files and (items := self._read(files[score.samples])):
                found[score.task] = items
        return found

    def _read(self, entry: FileEntry) -> list[tuple[str, float]]:
        try:
            lines = [json.loads(line) for line in self.bundle.read(entry).splitlines()]
            if not any("value" in line for line in lines):
                return []
            return [(str(line["item"]), float(line["value"])) for line in lines]
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
        problems += _twice(other.measured)
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
    return tuple(_how(one.facts, score).values())


def _how(facts: ResultsFacts, score: Score) -> dict[str, object]:
    return {
        "task version": score.version,
        "number of items": score.n,
        "shots": score.shots,
        "prompt language": score.language,
        "data": score.data,
        "signature": score.signature,
        "mean": (score.mean_of, score.mean_by),
        "scale": (score.out_of, score.higher_is_better),
        "harness": facts.harness,
        "backend": facts.backend,
        "dtype": facts.dtype,
        "use of a chat template": facts.chat_template_sha256 is None,
    }


def _open(paths: Sequence[Path], root: Path, problems: list[str]) -> tuple[Measured, ...]:
    found = []
    for path in paths:
        bundle = Bundle.open(under(root, path))
        bundle.verify()
        match bundle.manifest.facts:
            case ResultsFacts() as facts:
                one = Measured(bundle, facts)
                found.append(one)
                problems += [f"{bundle.root}: {problem}" for problem in (*_unfit(facts), *one.contradictions())]
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
        elif score.mean_of and not _is_mean(score, facts.scores):
            yield f"{score.task} has the {score.metric} {score.value}, which is not the mean of its tasks"
    for text in texts:
        if problem := problem_with_text(text):
            yield f"{text!r} {problem}"


def _is_mean(score: Score, scores: Sequence[Score]) -> bool:
    members = [one for one in scores if one.task in score.mean_of and one.metric == score.metric]
    weights = [one.n if score.mean_by == "items" else 1 for one in members]
    if len(members) != len(score.mean_of):
        return False
    mean = math.fsum(one.value * weight for one, weight in zip(members, weights, strict=True)) / sum(weights)
    return math.isclose(mean, score.value, abs_tol=1e-6 * score.out_of)


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


def _twice(measured: Sequence[Measured]) -> Iterator[str]:
    seen: dict[Key, Measured] = {}
    for one in measured:
        for score in one.facts.scores:
            key = (score.task, score.metric)
            if other := seen.get(key):
                yield f"{key[1]} of {key[0]} is in {other.bundle.root} and in {one.bundle.root}"
            seen[key] = one


def _of_another_name(other: Other, model: Bundle) -> Iterator[str]:
    """See that results are of one model, the base the one that this was made from as far as provenance tells."""
    made_from = lineage.parents(model)
    if len({one.facts.weights_sha256 for one in other.measured}) > 1:
        yield f"the results of {other.name} are of several models"
    for one in other.measured:
        named = one.facts.model.partition("@")[0]
        if named and other.name not in {named, UNNAMED}:
            yield f"{one.bundle.root} is of {named}, not of {other.name}"
        of = {given.manifest_sha256 for given in one.bundle.manifest.provenance.inputs if given.name == "model"}
        if other.is_base and made_from and of and not of & made_from:
            yield f"{one.bundle.root} is of a model that {model.root} was not made from"
        if one.facts.weights_sha256 == weights_sha256(model.manifest.files):
            yield f"{one.bundle.root} is of {model.root} itself, not of {other.name}"


def _measured_otherwise(own: Sequence[Measured], other: Other) -> Iterator[str]:
    for one in other.measured:
        for key, score in one.scores.items():
            mine = where(own, key)
            if mine is None:
                continue
            alike, unlike = _how(mine.facts, mine.scores[key]), _how(one.facts, score)
            if differing := [name for name, said in alike.items() if unlike[name] != said]:
                yield f"{key[1]} of {key[0]} of {other.name} was measured with another {', '.join(differing)}"
