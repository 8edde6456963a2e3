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


def columns_have_types(subject: Subject) -> Iterator[Finding]:
    """A column that is null in every row has no type, and the next version with a value breaks readers."""
    match subject.bundle.manifest.facts:
        case DatasetFacts(configs=configs):
            for config in configs:
                for feature in config.features:
                    if feature.get("dtype") == "null":
                        yield Finding(
                            level="warning",
                            where=f"{subject.artifact.repo}, {config.name}",
                            message=f"column {feature['name']} is empty in every row",
                            fix="drop the column",
                        )


CHECKS: tuple[Check, ...] = (splits_have_rows, columns_have_types)
