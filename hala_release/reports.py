"""What the pipeline measured of a corpus or a model, read from `reports/` of its bundle; the card prints it.

    reports/quality_report.json          what each rule found, dropped, repaired and flagged
    reports/quality.png                  the same as a chart
    reports/dedup.json                   duplicates by kind
    reports/contamination-SIDE.json      rows dropped because they hold test items, by benchmark
    reports/pack.json                    rows by source, with its license
    reports/translate.json               how rows were translated
    reports/train.json                   steps, tokens, losses, time and energy of a training
    reports/loss.png                     its loss, as a chart
    reports/merge.json                   how the merged tensors compare with their parents
    reports/compress.json                what compression cost

A bundle may have all of them or none. Keys that are not named here are for other readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hala_release.bundle import Bundle
from hala_release.errors import ContractError

CHART = "reports/quality.png"
LOSS = "reports/loss.png"

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


class RuleReport(_Report):
    """What one rule found."""

    name: str
    """What it asks of a row."""
    action: str
    hits: Count
    """Rows in which it found something."""
    dropped: Count
    """Rows of which it was the first rule to drop them."""
    repaired: Count
    flagged: Count


class QualityReport(_Report):
    """What all rules found."""

    rows: Count
    """Rows that were judged."""
    kept: Count
    rules: Mapping[str, RuleReport]
    """By id."""

    @model_validator(mode="after")
    def _no_more_than_there_were(self) -> Self:
        if self.kept > self.rows:
            raise ValueError(f"{self.kept:,} kept of {self.rows:,}")
        return self


class DedupReport(_Report):
    """Rows by what became of them: `kept`, or the kind of duplicate."""

    rows: Count
    total: Mapping[str, Count]


class BenchmarkReport(_Report):
    """How much of one benchmark was found."""

    items: Count
    items_hit: Count
    rows_dropped: Count


class ContaminationReport(_Report):
    """Rows that held test items."""

    side: Literal["source", "target"]
    """`source`: the English texts; `target`: the Arabic ones."""
    benchmarks: Mapping[str, BenchmarkReport]


class SourceReport(_Report):
    """Rows of one source."""

    source: str
    license: str
    revision: str | None
    rows: Count


class PackReport(_Report):
    """What was packed."""

    sources: tuple[SourceReport, ...]


class TranslateReport(_Report):
    """What was translated."""

    rows: Count


class Losses(_Report):
    """Cross-entropy of a training, in nats a token."""

    validation_before: Amount | None = None
    validation_after: Amount | None = None
    validation_rows: Count = 0


class Tokens(_Report):
    """Tokens of a training."""

    seen: Count
    """All that went through the model."""


class Hardware(_Report):
    """What a training ran on."""

    device: str
    processes: Count


class TrainReport(_Report):
    """What a training took and gave."""

    steps: Count
    epochs: Amount
    flos: Amount
    """Floating-point operations, as the trainer estimates them."""
    seconds: Amount
    tokens: Tokens
    loss: Losses
    hardware: Hardware
    energy_kwh: Amount | None = None
    energy_by: str = ""
    """How the energy was found."""


class MergeReport(_Report):
    """How the tensors of a merge compare with a second computation."""

    tensors: Count
    largest_difference: Amount
    """Beyond one rounding to the stored dtype, as a share of the largest element of its tensor."""


class Logits(_Report):
    """How far the compressed model answers otherwise."""

    chats: str
    relative_error: Amount
    top1_agreement: Share


class Sizes(_Report):
    """Bytes of the weights."""

    before: Count
    after: Count


class CompressReport(_Report):
    """What compression cost."""

    bytes: Sizes
    logits: Logits


class Reports(_Report):
    """Everything that a bundle brings."""

    quality: QualityReport | None
    chart: str | None
    """Path of the chart in the repository."""
    dedup: DedupReport | None
    contamination: tuple[ContaminationReport, ...]
    pack: PackReport | None
    translate: TranslateReport | None
    train: TrainReport | None
    loss_chart: str | None
    """Path of the chart in the repository."""
    merge: MergeReport | None
    compress: CompressReport | None


Kind = TypeVar("Kind", bound=_Report)


def read(bundle: Bundle) -> Reports:
    """Read what a bundle brings.

    Raises:
        ContractError: a file of that name holds something else.
    """
    return Reports(
        quality=_read(bundle, "reports/quality_report.json", QualityReport),
        chart=_path(bundle, CHART),
        dedup=_read(bundle, "reports/dedup.json", DedupReport),
        contamination=contamination(bundle),
        pack=_read(bundle, "reports/pack.json", PackReport),
        translate=_read(bundle, "reports/translate.json", TranslateReport),
        train=_read(bundle, "reports/train.json", TrainReport),
        loss_chart=_path(bundle, LOSS),
        merge=_read(bundle, "reports/merge.json", MergeReport),
        compress=_read(bundle, "reports/compress.json", CompressReport),
    )


def contamination(bundle: Bundle) -> tuple[ContaminationReport, ...]:
    """Read what was found of test items in a dataset.

    Raises:
        ContractError: a file of that name holds something else.
    """
    sides = (_read(bundle, f"reports/contamination-{side}.json", ContaminationReport) for side in ("source", "target"))
    return tuple(side for side in sides if side)


def _path(bundle: Bundle, path: str) -> str | None:
    return next((entry.path for entry in bundle.manifest.files if entry.path == path), None)


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
            f"{bundle.root}: {path} is not the report that its name says: {where or 'it'}: {first['msg']}",
            fix="make the bundle again with `python -m pipeline`, or rename the file",
        ) from error
