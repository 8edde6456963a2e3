"""The card of a Space: its own header, which the Hub builds from, with what the release knows; its own words stay."""

from __future__ import annotations

from hala_release import frontmatter, regions
from hala_release.card import app, making, words
from hala_release.card.shown import language_and_license, title
from hala_release.errors import ConfigError, ContractError
from hala_release.family import Family, Member
from hala_release.header import SpaceHeader
from hala_release.manifest import SpaceFacts
from hala_release.release import SpaceArtifact

NAME = "README.md"


def render(artifact: SpaceArtifact, facts: SpaceFacts, member: Member, family: Family) -> str:
    """Return the card of a Space: what it brought, with models, datasets and license of the family added.

    Raises:
        ContractError: it brought none.
    """
    entry = next((entry for entry in member.bundle.manifest.files if entry.path == NAME), None)
    if entry is None:
        raise ContractError(f"{member.bundle.root} is a Space without {NAME}", fix="add one, and make the bundle again")
    own = member.bundle.read(entry).decode()
    brought = frontmatter.split(own, where=f"{member.bundle.root}: {NAME}").metadata
    release = family.release
    models = [release.repo_id(one.artifact.repo) for one in family.members if one.artifact.kind == "model"]
    datasets = [release.repo_id(one.artifact.repo) for one in family.members if one.artifact.kind == "dataset"]
    known = language_and_license(artifact, release)
    known.pop("language", None)
    pinned = app.header(artifact, member, family)
    for key in pinned.keys() & brought.keys():
        raise ConfigError(
            f"{member.bundle.root}: {NAME} has `{key}`, which the release writes itself",
            fix="take it out, and make the bundle again",
        )
    added = {**known, "models": models, "datasets": datasets, "tags": list(artifact.tags), **pinned}
    metadata = {key: value for key, value in added.items() if value and key not in brought}
    SpaceHeader.model_validate({**metadata, "title": title(artifact), "sdk": facts.sdk, "emoji": "🌙"})
    made = words.regions(
        "space",
        {
            "artifact": artifact,
            "release": release,
            "repo_id": release.repo_id(artifact.repo),
            "title": title(artifact),
            "license": making.license_words(artifact.license or release.license),
            "models": models,
            "datasets": datasets,
            "facts": facts,
        },
    )
    return regions.merge(regions.compose(metadata, made), own, where=f"{member.bundle.root}: {NAME}").text
