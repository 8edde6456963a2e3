"""The card of a dataset: its header and what its words need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from hala_release import reports
from hala_release.card import making
from hala_release.card.shown import language_and_license, title
from hala_release.errors import PayloadInvalid
from hala_release.escape import problem_with_text
from hala_release.family import Family, Member
from hala_release.header import DatasetHeader
from hala_release.manifest import ConfigFacts, DatasetFacts, SplitFacts
from hala_release.payload.parquet import first_rows
from hala_release.release import DatasetArtifact

LONGEST = 600
"""Characters of a text in an example row."""
SOME = 4
"""Items of a list in an example row."""
LOOKED_AT = 50
"""Rows among which one is found that can be shown."""


class Example(NamedTuple):
    """One real row."""

    config: str
    split: str
    text: str
    """As JSON, with long texts cut."""
    fence: str
    """Backticks that the text does not have."""


def header(artifact: DatasetArtifact, facts: DatasetFacts, member: Member, family: Family) -> dict[str, Any]:
    """Return the YAML block of a dataset's card as data: what can be counted is counted."""
    release = family.release
    metadata = language_and_license(artifact, release)
    metadata["pretty_name"] = title(artifact)
    if making.translators(member.bundle, {}):
        translated = reports.read(member.bundle).translate
        others = ["found"] if translated and translated.rows < facts.rows else []
        creators = ["machine-generated", *others]
        metadata |= {"annotations_creators": creators, "language_creators": creators}
        metadata["multilinguality"] = ["translation"]
    if artifact.task_categories:
        metadata["task_categories"] = list(artifact.task_categories)
    metadata["size_categories"] = [size_category(facts.rows)]
    if artifact.sources:
        metadata["source_datasets"] = list(artifact.sources)
    if artifact.tags:
        metadata["tags"] = list(artifact.tags)
    names = [config.name for config in facts.configs]
    default = "default" if "default" in names else names[0]
    metadata["configs"] = [_viewer_config(config, default=config.name == default) for config in facts.configs]
    info = [_dataset_info(config) for config in facts.configs]
    metadata["dataset_info"] = info if len(info) > 1 else info[0]
    return DatasetHeader.model_validate(metadata).data()


def values(artifact: DatasetArtifact, facts: DatasetFacts, member: Member, family: Family) -> dict[str, object]:
    """Return what the template of a dataset may say."""
    release = family.release
    called = making.names(family)
    return {
        "artifact": artifact,
        "facts": facts,
        "release": release,
        "repo_id": release.repo_id(artifact.repo),
        "title": title(artifact),
        "license": making.license_words(artifact.license or release.license),
        "languages": artifact.language or release.language,
        "files": len(member.bundle.manifest.files),
        "size": member.bundle.size,
        "reports": reports.read(member.bundle),
        "digests": tuple(one for one in member.bundle.manifest.files if one.path.endswith(".parquet")),
        "examples": tuple(_examples(facts, member)),
        "translators": making.translators(member.bundle, called),
        "terms": making.chain(artifact, family),
        "tree": making.tree(member.bundle, called),
        "attribution": any(entry.path == "ATTRIBUTION.md" for entry in member.bundle.manifest.files),
    }


def size_category(rows: int) -> str:
    """Return the Hub's size category for a number of rows."""
    limits = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M"),
              (10**9, "1B"), (10**10, "10B"), (10**11, "100B"), (10**12, "1T"))  # fmt: skip
    below = "n"
    for limit, name in limits:
        if rows < limit:
            return f"n<{name}" if below == "n" else f"{below}<n<{name}"
        below = name
    return "n>1T"


def _viewer_config(config: ConfigFacts, *, default: bool) -> dict[str, Any]:
    return {
        "config_name": config.name,
        **({"default": True} if default else {}),
        "data_files": [{"split": split.name, "path": _data_files(split)} for split in config.splits],
    }


def _data_files(split: SplitFacts) -> str | list[str]:
    """Return the glob of a set of shards, so that the card stays the same size however many there are."""
    first, *others = split.files
    stem = first.removesuffix(f"-00000-of-{len(split.files):05d}.parquet")
    if stem != first:
        return f"{stem}-*-of-{len(split.files):05d}.parquet"
    return [first, *others] if others else first


def _dataset_info(config: ConfigFacts) -> dict[str, Any]:
    return {
        "config_name": config.name,
        "features": [dict(feature) for feature in config.features],
        "splits": [
            {"name": split.name, "num_bytes": split.bytes, "num_examples": split.rows} for split in config.splits
        ],
        "download_size": sum(split.download_bytes for split in config.splits),
        "dataset_size": sum(split.bytes for split in config.splits),
    }


def _examples(facts: DatasetFacts, member: Member) -> Iterator[Example]:
    """Yield the first row of each configuration that holds nothing that deceives readers."""
    for config in facts.configs:
        split = max(config.splits, key=lambda one: one.rows)
        if not split.rows:
            continue
        try:
            rows = first_rows(member.bundle.files / split.files[0], LOOKED_AT)
        except (OSError, PayloadInvalid):
            continue  # sealed without its payload at hand, as in a test of the words alone
        for row in rows:
            text = json.dumps(_cut(row), ensure_ascii=False, indent=1, default=str)
            if problem_with_text(text, lines=True) is None:
                ticks = 3
                while "`" * ticks in text:
                    ticks += 1
                yield Example(config.name, split.name, text.replace("<!--", "<\\u0021--"), "`" * ticks)
                break


def _cut(value: Any) -> Any:  # noqa: ANN401 -- any value of a row
    match value:
        case str() if len(value) > LONGEST:
            return value[:LONGEST] + "…"
        case dict():
            return {key: _cut(one) for key, one in value.items()}
        case list():
            left = [f"… {len(value) - SOME:,} more"] if len(value) > SOME else []
            return [*(_cut(one) for one in value[:SOME]), *left]
        case bytes():
            return f"{len(value):,} bytes"
        case _:
            return value
