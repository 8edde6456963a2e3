"""Cards: front matter built as data from facts, body from the words in cards/, and the files that go with them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from hala_release import regions
from hala_release.card import app, charts, dataset, evals, model, scores, space, words
from hala_release.card.shown import title
from hala_release.errors import ConfigError
from hala_release.family import Family, Member
from hala_release.manifest import DatasetFacts, ModelFacts, SpaceFacts
from hala_release.release import DatasetArtifact, ModelArtifact, SpaceArtifact

NAME = "README.md"
STRICT = frozenset(
    {
        *("results", "family", "reported", "protocol", "contamination", "license", "lineage", "verify"),
        *("model-index", "license_name", "license_link", "base_model", "base_model_relation"),
    }
)
"""Regions and keys in which nobody's word counts but that of the facts; `license` is both."""
LEADERBOARDS = evals.LEADERBOARDS


def render(member: Member, family: Family) -> str:
    """Return the card of a member of a family: the same facts and release give the same text.

    Raises:
        ConfigError: the bundle is of another kind than the artifact.
        ContractError: a report is none, or the card of a Space cannot be read.
    """
    try:
        return _rendered(member, family)
    except ValidationError as error:
        problems = [f"  {'.'.join(str(step) for step in one['loc'])}: {one['msg']}" for one in error.errors()]
        raise ConfigError(
            f"the card of {member.artifact.repo} cannot have this header:\n" + "\n".join(problems),
            fix="correct it in release.yaml, or where it was measured",
        ) from error


def _rendered(member: Member, family: Family) -> str:
    artifact, facts = member.artifact, member.bundle.manifest.facts
    match artifact, facts:
        case ModelArtifact(), ModelFacts():
            header = model.header(artifact, facts, member, family)
            made = words.regions("model", model.values(artifact, facts, member, family))
        case DatasetArtifact(), DatasetFacts():
            header = dataset.header(artifact, facts, member, family)
            made = words.regions("dataset", dataset.values(artifact, facts, member, family))
        case SpaceArtifact(), SpaceFacts():
            return space.render(artifact, facts, member, family)
        case _:
            raise ConfigError(
                f"{artifact.repo} is a {artifact.kind} in the release, its bundle {member.bundle.root} "
                f"holds a {facts.kind}",
                fix="correct `kind` or `bundle`",
            )
    return regions.compose(header, made)


def files(member: Member, family: Family) -> dict[str, bytes]:
    """Return what goes with a card: the results that its numbers come from, charts, entries of leaderboards; with that
    of a Space, what its app reads.

    Raises:
        ConfigError: a file of the bundle has the name of one of them.
    """
    if isinstance(member.artifact, SpaceArtifact):
        return app.files(member.artifact, member, family)
    table = scores.table(member.results)
    if table is None:
        return {}
    made = {
        **evals.files(member),
        **charts.draw(table, title(member.artifact)),
    }
    if clash := sorted(made.keys() & {entry.path for entry in member.bundle.manifest.files}):
        raise ConfigError(
            f"{member.bundle.root} has {', '.join(clash)}, which the release writes itself",
            fix="rename them in the directory and adopt it again",
        )
    return made


def beside(member: Member, family: Family) -> frozenset[str]:
    """Return the paths of what `files` makes, without making it."""
    if isinstance(member.artifact, SpaceArtifact):
        return app.paths(member.artifact, family)
    return frozenset({evals.NAME, *charts.NAMES, *leaderboards(member)}) if member.results.own else frozenset()


def leaderboards(member: Member) -> Mapping[str, str]:
    """Return the files that enter a leaderboard of the Hub, with the dataset that has to be a registered benchmark."""
    artifact = member.artifact
    return evals.benchmarks(artifact, member.results.scores) if isinstance(artifact, ModelArtifact) else {}


def is_of_others(path: str) -> bool:
    """Tell whether a file of a repository is an entry of a leaderboard that somebody else put there."""
    return path.startswith(evals.FOLDER) and not path.startswith(LEADERBOARDS)


def is_rendered(path: str) -> bool:
    """Tell whether a file of a repository is made from others, and may read otherwise under one version."""
    return path in {NAME, evals.NAME, *charts.NAMES} or path.startswith(evals.LEADERBOARDS)
