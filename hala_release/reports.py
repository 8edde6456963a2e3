"""What the pipeline measured of a corpus, read from `reports/` of its bundle; the card prints it.

    reports/quality_report.json          what each rule found, dropped, repaired and flagged
    reports/quality.png                  the same as a chart
    reports/dedup.json                   duplicates by kind
    reports/contamination-SIDE.json      rows dropped because they hold test items, by benchmark

A bundle may have all of them or none. Keys that are not named here are for other readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hala_release.bundle import Bundle
from hala_release.errors import ContractError

CHART = "reports/quality.png"


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class RuleReport(_Report):
    """What one rule found."""

    name: str
    """What it asks of a row."""
    action: str
    hits: int
    """Rows in which it found something."""
    dropped: int
    """Rows of which it was the first rule to drop them."""
    repaired: int
    flagged: int


class QualityReport(_Report):
    """What all rules found."""

    rows: int
    """Rows that were judged."""
    kept: int
    rules: Mapping[str, RuleReport]
    """By id."""


class DedupReport(_Report):
    """Rows by what became of them: `kept`, or the kind of duplicate."""

    rows: int
    total: Mapping[str, int]


class BenchmarkReport(_Report):
    """How much of one benchmark was found."""

    items: int
    items_hit: int
    rows_dropped: int


class ContaminationReport(_Report):
    """Rows that held test items."""

    side: str
    """`source`: the English texts; `target`: the Arabic ones."""
    benchmarks: Mapping[str, BenchmarkReport]


class Reports(_Report):
    """Everything that a bundle brings."""

    quality: QualityReport | None
    chart: str | None
    """Path of the chart in the repository."""
    dedup: DedupReport | None
    contamination: tuple[ContaminationReport, ...]


Kind = TypeVar("Kind", bound=_Report)


def read(bundle: Bundle) -> Reports:
    """Read what a bundle brings.

    Raises:
        ContractError: a file of that name holds something else.
    """
    sides = (_read(bundle, f"reports/contamination-{side}.json", ContaminationReport) for side in ("source", "target"))
    return Reports(
        quality=_read(bundle, "reports/quality_report.json", QualityReport),
        chart=next((entry.path for entry in bundle.manifest.files if entry.path == CHART), None),
        dedup=_read(bundle, "reports/dedup.json", DedupReport),
        contamination=tuple(side for side in sides if side),
    )


def _read(bundle: Bundle, path: str, kind: type[Kind]) -> Kind | None:
    entry = next((entry for entry in bundle.manifest.files if entry.path == path), None)
    if entry is None:
        return None
    try:
        return kind.model_validate_json(bundle.read(entry))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ContractError(
            f"{bundle.root}: {path} is not the report that its name says: {where}: {first['msg']}".rstrip(),
            fix="make the bundle again with `python -m pipeline`, or rename the file",
        ) from error
