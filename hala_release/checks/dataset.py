"""Findings about datasets."""

from __future__ import annotations

from collections.abc import Iterator

from hala_release.checks import Check, Subject
from hala_release.finding import Finding
from hala_release.manifest import DatasetFacts


def splits_have_rows(subject: Subject) -> Iterator[Finding]:
    """An empty split loads, and then surprises."""
    match subject.bundle.manifest.facts:
        case DatasetFacts(configs=configs):
            for config in configs:
                for split in config.splits:
                    if split.rows == 0:
                        yield Finding(
                            level="error",
                            where=f"{subject.artifact.repo}, {config.name}/{split.name}",
                            message="the split has no rows",
                            fix="drop the split, or run again what should have filled it",
                        )


def data_files_are_in_a_split(subject: Subject) -> Iterator[Finding]:
    """A table that no configuration names is downloaded by everyone and loaded by nobody; reports are no tables."""
    for path in sorted(subject.paths):
        if path.endswith((".csv", ".tsv", ".json", ".arrow")) and not path.startswith("reports/"):
            yield Finding(
                level="warning",
                where=f"{subject.artifact.repo}, {path}",
                message="it is published, but belongs to no split",
                fix="write its rows as .jsonl or .parquet, or leave it out",
            )


def columns_have_types(subject: Subject) -> Iterator[Finding]:
    """What is null or empty in every row has no type, and the next version with a value breaks readers."""
    match subject.bundle.manifest.facts:
        case DatasetFacts(configs=configs):
            for config in configs:
                for feature in config.features:
                    if "null" in _types(feature):
                        yield Finding(
                            level="warning",
                            where=f"{subject.artifact.repo}, {config.name}",
                            message=f"column {feature['name']}, or a part of it, is empty in every row",
                            fix="drop the column",
                        )


def _types(feature: object) -> Iterator[object]:
    """Yield the types that a feature is made of, from its YAML form."""
    match feature:
        case dict():
            for key, value in feature.items():
                if key in {"dtype", "list", "large_list", "sequence", "struct"}:
                    yield from _types(value)
        case list():
            for value in feature:
                yield from _types(value)
        case _:
            yield feature


CHECKS: tuple[Check, ...] = (splits_have_rows, data_files_are_in_a_split, columns_have_types)
