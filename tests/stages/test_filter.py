"""The stage `filter`: what becomes of rows, the report and its chart, and the gate between releases."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from hala_release.bundle import Bundle, seal
from hala_release.errors import CheckFailed, ConfigError
from hala_release.manifest import Provenance
from hala_release.payload.parquet import dataset_facts
from pipeline import rows
from pipeline.compiled import compiled, inlined
from pipeline.executor import Local
from pipeline.filter import STAGE, FilterConfig
from pipeline.quality import CHART, REPORT, Drift, chart, keep_gate, percentiles, redacted
from pipeline.rows import Row, Target, Turn, new_row
from pipeline.rules.table import TABLE
from pipeline.stage import load, run_stage
from tests.bench import filter as bench_filter

CONFIGS = Path(__file__).parents[2] / "pipeline/configs/filter"
GOOD = ("The bread is in the oven.", "الخبز في الفرن.")
CASES = {
    "good": GOOD,
    "leak": (GOOD[0], f"الترجمة: {GOOD[1]}"),
    "spelling": (GOOD[0], "الخبـــز في الفرن\u200f."),
    "address": ("Write to ann.lee@example.org or 0049 30 1234567.", "اكتب إلى آن أو 0049 30 1234567."),
    "token": (GOOD[0], "الخبز في الفرن.<|im_end|>"),
    "refusal": (GOOD[0], "عذرًا، لا أستطيع ترجمة هذا النص."),
    "list": ("Buy:\n- bread\n- milk\n- salt\n- oil", "اشتر الخبز والحليب والملح والزيت"),
    "two": (GOOD[0], "الخبز في الفرن.<|im_end|>\x00"),
    "empty": (GOOD[0], " "),
}
SHARDS, EACH = 3, 4


def made(number: int, source: str, name: str) -> Row:
    question, answer = CASES[name]
    turns = [Turn(role="user", text="Tell me."), Turn(role="assistant", text=question)]
    target = [Target(text="أخبرني.", finish_reason="stop"), Target(text=answer, finish_reason="stop")]
    return {**new_row(source, "0" * 40, number, "cc0-1.0", turns, target), "flags": ["earlier"]}


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("given")
    number = 0
    for shard in range(SHARDS):
        with rows.writing_rows(str(root / "files/data"), shard, SHARDS) as write:
            for name in CASES:
                for _ in range(EACH):
                    write(made(number, ("first", "second")[number % 2], name))
                    number += 1
    return sealed(root)


def sealed(root: Path) -> Bundle:
    files = root / "files"
    facts = dataset_facts(files, sorted(path.relative_to(files).as_posix() for path in files.rglob("*.parquet")))
    provenance = Provenance(stage="made", config={}, inputs=(), tools={})
    return seal(root, name="made", facts=facts, provenance=provenance, digests={})


@pytest.fixture(scope="session")
def filtered(given: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return run_stage(
        STAGE, FilterConfig(executor=Local(workers=1)), {"rows": [given]}, tmp_path_factory.mktemp("filtered")
    )


def of(bundle: Bundle, config: str = "default") -> list[dict[str, Any]]:
    return [row for shard in rows.shards([bundle], config) for row in rows.read_rows(shard)]


def report_of(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle.files / "reports" / REPORT).read_bytes())
    return found


def test_every_row_is_kept_or_dropped_with_a_rule_and_a_reason(given: Bundle, filtered: Bundle) -> None:
    kept, out = of(filtered), of(filtered, "dropped")
    assert {row["id"] for row in kept} | {row["id"] for row in out} == {row["id"] for row in of(given)}
    assert len(kept) + len(out) == SHARDS * len(CASES) * EACH
    assert {row["rule"] for row in out} == {"S1", "S4", "S7", "P2"}
    assert all(row["reason"] for row in out)
    assert sum(row["rule"] == "S7" for row in out) == 2 * SHARDS * EACH


def test_repairs_are_made_logged_and_named_in_the_row(filtered: Bundle) -> None:
    mended = [row for row in of(filtered) if row["repairs"]]
    assert {tuple(row["repairs"]) for row in mended} == {("P1",), ("O1",)}
    assert {row["target"][1]["text"] for row in mended} == {GOOD[1]}
    log = pq.ParquetDataset(filtered.files / "repairs").read().to_pylist()
    assert len(log) == len(mended) == 2 * SHARDS * EACH
    assert {(entry["rule"], entry["turn"]) for entry in log} == {("P1", 1), ("O1", 1)}
    assert all(entry["before"] != entry["after"] for entry in log)
    assert {entry["id"] for entry in log} == {row["id"] for row in mended}


def test_flags_are_added_to_those_of_earlier_stages(filtered: Bundle) -> None:
    assert {tuple(row["flags"]) for row in of(filtered)} == {("earlier",), ("earlier", "S6")}


def test_the_report_counts_every_rule_for_every_source(filtered: Bundle) -> None:
    report = report_of(filtered)
    assert set(report["rules"]) == {rule.id for rule in TABLE}
    every = SHARDS * EACH
    assert report["rows"] == len(CASES) * every
    assert report["kept"] == 4 * every
    tokens = report["rules"]["S7"]
    assert (tokens["hits"], tokens["dropped"], tokens["would_drop"]) == (2 * every, 2 * every, 2 * every)
    broken = report["rules"]["O3"]
    assert (broken["hits"], broken["dropped"], broken["would_drop"]) == (every, 0, every)
    assert report["rules"]["S6"]["flagged"] == report["rules"]["P1"]["repaired"] == every
    for name, counts in report["sources"].items():
        assert counts["kept"] + counts["dropped"] == counts["rows"]
        assert counts["rows"] == report["rules"]["S7"]["sources"][name]["rows"]
    assert sum(counts["rows"] for counts in report["sources"].values()) == report["rows"]
    assert report["address"]["turns"] == 4 * every
    assert report["address"]["masculine_forms"] == 4 * every
    assert report["digits"] == {"both": 0, "eastern": 0, "european": 0, "none": 2 * 4 * every}


def test_examples_are_few_and_redacted(filtered: Bundle) -> None:
    text = (filtered.files / "reports" / REPORT).read_text(encoding="utf-8")
    assert "ann.lee" not in text
    assert "1234567" not in text
    report = report_of(filtered)
    swept = 0
    for rule in report["rules"].values():
        assert len(rule["examples"]) <= 3
        assert rule["hits"] >= len(rule["examples"])
        swept += len(rule["examples"])
    assert swept >= 15


@pytest.mark.parametrize(
    "secret",
    [
        "ann@example.org",
        "+966 50 123 4567",
        "https://example.org/secret",
        "123456789",
        "(030) 123-4567",
        "0049301234567",
    ],
)
def test_a_redacted_text_tells_nothing_private(secret: str) -> None:
    assert secret not in redacted(f"call {secret} now")
    assert "4567" not in redacted(f"call {secret} now")
    assert "example.org" not in redacted(f"call {secret} now")


def test_bytes_do_not_depend_on_workers_or_batches(
    given: Bundle, filtered: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = run_stage(STAGE, FilterConfig(executor=Local(workers=2)), {"rows": [given]}, tmp_path / "wide")
    monkeypatch.setattr("pipeline.filter.BATCH_ROWS", 5)
    narrow = run_stage(STAGE, FilterConfig(executor=Local(workers=1)), {"rows": [given]}, tmp_path / "narrow")
    assert filtered.manifest_sha256 == wide.manifest_sha256 == narrow.manifest_sha256
    assert filtered.root.name == wide.root.name


def test_a_filtered_corpus_is_left_alone_by_the_filter(filtered: Bundle, tmp_path: Path) -> None:
    second = run_stage(
        STAGE, FilterConfig(executor=Local(workers=1)), {"rows": [without_reports(filtered, tmp_path)]}, tmp_path
    )
    assert of(second) == of(filtered)
    assert of(second, "dropped") == []


def without_reports(bundle: Bundle, tmp_path: Path) -> Bundle:
    """Return the same rows as another bundle: its report would stand where that of the second run is to be."""
    with rows.writing_rows(str(tmp_path / "again/files/data"), 0, 1) as write:
        for row in of(bundle):
            write(row)
    return sealed(tmp_path / "again")


def test_the_chart_is_a_picture_and_the_same_for_the_same_report(filtered: Bundle) -> None:
    picture = (filtered.files / "reports" / CHART).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == chart(report_of(filtered))
    other = report_of(filtered)
    other["rules"]["S7"]["dropped"] = 1
    assert chart(other) != picture


def test_percentiles_are_exact_to_a_hundredth() -> None:
    found = percentiles(dict.fromkeys(range(1, 101), 1))
    assert found == {"p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
    assert percentiles({}) == {}


def earlier(tmp_path: Path, filtered: Bundle, rate: float, allowed: float) -> Drift:
    report = report_of(filtered)
    report["rules"]["S7"]["drop_rate"] += rate
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    return Drift(report=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), max_drop_drift=allowed)


def test_a_drop_rate_that_moved_too_far_fails_and_names_the_rule(
    given: Bundle, filtered: Bundle, tmp_path: Path
) -> None:
    near = earlier(tmp_path, filtered, 0.05, 0.06)
    bundle = run_stage(STAGE, FilterConfig(drift=near, executor=Local(workers=1)), {"rows": [given]}, tmp_path / "near")
    assert report_of(bundle) == report_of(filtered)
    assert str(tmp_path) not in (bundle.root / "manifest.json").read_text(encoding="utf-8")
    far = earlier(tmp_path, filtered, 0.05, 0.04)
    with pytest.raises(CheckFailed, match=r"moved by more than 4\.0%: S7 from 27\.22% to 22\.22%"):
        run_stage(STAGE, FilterConfig(drift=far, executor=Local(workers=1)), {"rows": [given]}, tmp_path / "far")


def test_the_gate_wants_the_very_report_it_names(filtered: Bundle, tmp_path: Path) -> None:
    drift = earlier(tmp_path, filtered, 0, 0)
    keep_gate(report_of(filtered), drift)
    drift.report.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="has the sha256"):
        keep_gate(report_of(filtered), drift)
    drift.report.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        keep_gate(report_of(filtered), drift)


def test_a_rule_that_cannot_repair_is_not_told_to(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"rules": {"S2": {"action": "repair"}}}), encoding="utf-8")
    with pytest.raises(ConfigError, match="S2 repairs nothing"):
        load(path, FilterConfig, {})
    path.write_text(yaml.safe_dump({"rules": {"S9": {}, "L1": {"drop_over": 2}}}), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(path, FilterConfig, {})
    assert "S9" in str(error.value)
    assert "drop_over" in str(error.value)


def test_configurations_can_be_read() -> None:
    configs = sorted(CONFIGS.glob("*.yaml"))
    assert len(configs) == 3
    for path in configs:
        load(path, FilterConfig, {})
        assert path.read_text(encoding="utf-8").startswith(
            f"# python -m pipeline filter pipeline/configs/filter/{path.name}"
        )


def test_compiling_does_not_need_a_place_for_a_cache() -> None:
    names: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", names)  # noqa: S102  # a function without a file has no cache
    assert compiled(names["double"])(21) == 42
    assert inlined(names["double"])(21) == 42
    no_place = "from numba.core import caching; caching.CacheImpl._locator_classes.clear()"
    modules = "pipeline.rules.counting, pipeline.words, pipeline.ngrams, pipeline.minhash"
    subprocess.run([sys.executable, "-c", f"{no_place}; import {modules}"], check=True, cwd=CONFIGS.parents[2])


def test_the_table_is_not_slower_than_gopher_alone() -> None:
    pytest.importorskip("spacy", reason="datatrove splits Arabic into words with spacy")
    ours, gopher = bench_filter.measure(bench_filter.made_rows(300), runs=2)
    assert ours < gopher
