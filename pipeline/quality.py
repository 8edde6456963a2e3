"""What the rules found, as numbers: a tally a shard, one report for all, a chart, and a gate between releases."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from pydantic import Field

from hala_release.errors import CheckFailed, ConfigError
from hala_release.manifest import Record
from pipeline.charts import png
from pipeline.rules.counting import Count
from pipeline.rules.rule import Batch, where
from pipeline.rules.table import TABLE, Found, Judged
from pipeline.stage import REPORTS
from pipeline.storage import join, reading, writing

REPORT = "quality_report.json"
CHART = "quality.png"
ADDRESS = {
    "masculine": Count.MASCULINE,
    "feminine": Count.FEMININE,
    "plural": Count.PLURAL,
    "neutral": Count.NEUTRAL,
}
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
EXAMPLE = 100
"""Characters of an example."""


class Drift(Record):
    """How far a rule may move between two releases."""

    report: Path
    """`quality_report.json` of the earlier release."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Its digest: the gate is part of what the result depends on."""
    max_drop_drift: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Largest difference between two drop rates of a rule."""


class Tally:
    """What the rules found in some rows; `partial` gives it as JSON, and `merged` adds partials up."""

    def __init__(self, examples: int) -> None:
        self.limit = examples
        self.rows: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.rules: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self.examples: dict[str, list[list[str]]] = defaultdict(list)
        self.address: Counter[str] = Counter()
        self.digits: Counter[str] = Counter()
        self.ratios: Counter[int] = Counter()

    def add(self, judged: Sequence[Judged], pairs: Batch) -> None:
        """Count what was found in a batch."""
        stays = np.zeros(len(judged), bool)
        for number, one in enumerate(judged):
            source = one.row["source"]
            self.rows[source] += 1
            out = one.dropped
            stays[number] = out is None
            self.kept[source] += out is None
            for found in one.found:
                counts = self.rules[found.rule][source]
                counts["hits"] += 1
                if found is out:
                    counts["dropped"] += 1
                elif found.action == "drop":
                    counts["would_drop"] += 1
                elif out is None:
                    counts["repaired" if found.action == "repair" else "flagged"] += found.action != "report"
                if found.action == "drop" or found.action == "flag":
                    self._example(one, found)
            if out is None:
                for rule in {mend.rule for mend in one.mends}:
                    if not any(found.rule == rule and found.action == "repair" for found in one.found):
                        self.rules[rule][source]["repaired"] += 1
        if pairs.row.size:
            self._count(pairs, stays[pairs.row])

    def _count(self, pairs: Batch, stays: Any) -> None:  # noqa: ANN401
        """Count how users are addressed, digits and lengths in the rows that stay."""
        users = where(stays & pairs.user)
        self.address["turns"] += len(users)
        for name, column in ADDRESS.items():
            forms = pairs.target[users, column]
            self.address[f"{name}_forms"] += int(forms.sum())
            self.address[f"{name}_turns"] += int((forms > 0).sum())
        eastern, european = pairs.target[:, Count.EASTERN] > 0, pairs.target[:, Count.EUROPEAN] > 0
        self.digits["eastern"] += int((stays & eastern & ~european).sum())
        self.digits["european"] += int((stays & european & ~eastern).sum())
        self.digits["both"] += int((stays & eastern & european).sum())
        self.digits["none"] += int((stays & ~eastern & ~european).sum())
        source, target = pairs.source[:, Count.LENGTH], pairs.target[:, Count.LENGTH]
        asked = stays & (source >= 100)
        self.ratios.update(np.rint(100 * target[asked] / source[asked]).astype(int).tolist())

    def _example(self, one: Judged, found: Found) -> None:
        key = hashlib.blake2b(f"{found.rule} {one.row['id']}".encode(), digest_size=8).hexdigest()
        best = self.examples[found.rule]
        if self.limit and (len(best) < self.limit or key < best[-1][0]):
            target = one.row["target"] or []
            text = target[found.turn]["text"] if found.turn < len(target) else ""
            source = one.row["turns"][found.turn]["text"] if found.turn < len(one.row["turns"]) else ""
            best.append([key, one.row["id"], redacted(found.reason), redacted(source), redacted(text)])
            best.sort()
            del best[self.limit :]

    def partial(self) -> dict[str, Any]:
        """Return the tally as JSON."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "rules": self.rules,
            "examples": self.examples,
            "address": self.address,
            "digits": self.digits,
            "ratios": {str(ratio): times for ratio, times in self.ratios.items()},
        }

    def merge(self, partial: Mapping[str, Any]) -> None:
        """Add what another tally counted."""
        for mine, name in (
            (self.rows, "rows"),
            (self.kept, "kept"),
            (self.address, "address"),
            (self.digits, "digits"),
        ):
            mine.update(partial[name])
        self.ratios.update({int(ratio): times for ratio, times in partial["ratios"].items()})
        for rule, sources in partial["rules"].items():
            for source, counts in sources.items():
                self.rules[rule][source].update(counts)
        for rule, some in partial["examples"].items():
            self.examples[rule] = sorted([*self.examples[rule], *some])[: self.limit]

    def report(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report; `limits` is the configuration of the rules."""
        seen = self.rows.total()
        return {
            "rows": seen,
            "kept": self.kept.total(),
            "dropped": seen - self.kept.total(),
            "sources": {
                source: {"rows": times, "kept": self.kept[source], "dropped": times - self.kept[source]}
                for source, times in self.rows.items()
            },
            "rules": {rule.id: self._rule(rule.id, rule.name, limits[rule.id]) for rule in TABLE},
            "address": dict(self.address),
            "digits": dict(self.digits),
            "length_ratio": percentiles(self.ratios),
        }

    def _rule(self, rule: str, name: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        total: Counter[str] = sum(self.rules[rule].values(), Counter())
        return {
            "name": name,
            "action": limits["action"] if limits["enabled"] else "off",
            **_counts(total, self.rows.total()),
            "sources": {
                source: _counts(counts, self.rows[source]) for source, counts in sorted(self.rules[rule].items())
            },
            "examples": [
                {"id": row, "reason": reason, "source": source, "target": target}
                for _, row, reason, source, target in self.examples[rule]
            ],
        }


def _counts(counts: Counter[str], seen: int) -> dict[str, Any]:
    return {
        "rows": seen,
        "hits": counts["hits"],
        "rate": round(counts["hits"] / seen, 6) if seen else 0.0,
        "dropped": counts["dropped"],
        "would_drop": counts["would_drop"] + counts["dropped"],
        "drop_rate": round((counts["would_drop"] + counts["dropped"]) / seen, 6) if seen else 0.0,
        "repaired": counts["repaired"],
        "flagged": counts["flagged"],
    }


def percentiles(counts: Mapping[int, int]) -> dict[str, float]:
    """Return percentiles of ratios that were counted in hundredths; none without any."""
    if not counts:
        return {}
    values = sorted(counts)
    reached = np.cumsum([counts[value] for value in values])
    return {
        f"p{percent}": values[int(np.searchsorted(reached, percent / 100 * reached[-1]))] / 100
        for percent in PERCENTILES
    }


_PRIVATE = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+|(?:https?://|www\.)\S+|(?:\+|00)?\d[\d ()./-]{5,}\d|\d{5,}"
)


def redacted(text: str) -> str:
    """Return the start of a text on one line, without addresses, telephone numbers and long runs of digits."""
    line = " ".join(text[: 4 * EXAMPLE].split())
    line = _PRIVATE.sub("…", line).encode("utf-8", "replace").decode()
    line = "".join(sign if sign.isprintable() else "�" for sign in line)
    return line if len(line) <= EXAMPLE else f"{line[: EXAMPLE - 1]}…"


class Report(PipelineStep):
    """Add the tallies up, write report and chart, and keep the gate."""

    type = "REPORT"
    name = "quality"

    def __init__(
        self, config: Mapping[str, Any], drift: Drift | None, examples: int, tasks: int, files: str, work: str
    ) -> None:
        super().__init__()
        self.limits = config["rules"]
        self.drift = drift
        self.examples = examples
        self.tasks = tasks
        self.reports = join(files, REPORTS)
        self.tallies = join(work, "tally")

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Write what all shards gave.

        Raises:
            CheckFailed: a rule moved further than the configuration allows.
        """
        total = Tally(self.examples)
        for task in range(self.tasks):
            with reading(join(self.tallies, f"{task:05d}.json")) as file:
                total.merge(orjson.loads(file.read()))
        report = total.report(self.limits)
        if self.drift:
            keep_gate(report, self.drift)
        with writing(join(self.reports, REPORT)) as file:
            file.write(json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        with writing(join(self.reports, CHART)) as file:
            file.write(chart(report))


def keep_gate(report: Mapping[str, Any], drift: Drift) -> None:
    """Compare the drop rates with those of an earlier report.

    Raises:
        ConfigError: the earlier report is not there, or is another one.
        CheckFailed: a rule moved too far.
    """
    try:
        earlier = drift.report.read_bytes()
    except OSError as error:
        raise ConfigError(f"{drift.report} cannot be read: {error.strerror}", fix="correct drift.report") from error
    if (digest := hashlib.sha256(earlier).hexdigest()) != drift.sha256:
        raise ConfigError(
            f"{drift.report} has the sha256 {digest}", fix="correct drift.sha256, or find the right report"
        )
    moved = list(_moved(json.loads(earlier)["rules"], report["rules"], drift.max_drop_drift))
    if moved:
        raise CheckFailed(
            f"drop rates moved by more than {drift.max_drop_drift:.1%}: {'; '.join(moved)}",
            fix="look at the examples of these rules; if the change is meant, compare with a newer report",
        )


def _moved(before: Mapping[str, Any], now: Mapping[str, Any], allowed: float) -> Iterator[str]:
    for rule in sorted(before.keys() | now.keys()):
        old, new = (some.get(rule, {}).get("drop_rate", 0.0) for some in (before, now))
        if abs(new - old) > allowed:
            yield f"{rule} from {old:.2%} to {new:.2%}"


def chart(report: Mapping[str, Any]) -> bytes:
    """Draw the rates at which rules drop, repair and flag, as PNG; the same report gives the same bytes."""
    from matplotlib.figure import Figure

    names = [rule for rule in report["rules"] if report["rules"][rule]["hits"]]
    names = [rule.id for rule in TABLE if rule.id in names]
    rows = max(1, report["rows"])
    figure = Figure(figsize=(8, 1.4 + 0.28 * max(1, len(names))), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(names))
    for part, colour in (("dropped", "#b3402e"), ("repaired", "#3b7ea1"), ("flagged", "#d9a441")):
        share = np.array([100 * report["rules"][rule][part] / rows for rule in names])
        axes.barh(names, share, left=left, color=colour, label=part)
        left = left + share
    axes.invert_yaxis()
    axes.set_xlabel("% of rows")
    axes.set_title(f"{report['rows']:,} rows read, {report['kept']:,} kept")
    if names:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)
