"""Of rows that say the same one stays, the best, and every other one says which."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hala_release.bundle import Bundle
from pipeline import rows, tables
from pipeline.dedup import STAGE, DedupConfig
from pipeline.executor import Local
from pipeline.rows import Row
from pipeline.stage import run_stage
from tests.bench.dedup import compare
from tests.bench.road import SHARED
from tests.stages.planted import bundle_of, killed_and_resumed, read, row, sentence

ACCEPTED = {"accept": True, "reason": ""}
REJECTED = {"accept": False, "reason": "no"}
LONG = sentence(random.Random(1), 60)
SWAPPED = " ".join(["غير", *LONG.split()[1:]])


def deduplicated(tmp_path: Path, shards: Sequence[Sequence[Row]], **config: Any) -> Bundle:  # noqa: ANN401
    given = DedupConfig(executor=Local(workers=1), **config)
    return run_stage(STAGE, given, {"rows": [bundle_of(tmp_path / "planted", shards)]}, tmp_path)


def ids(found: Sequence[dict[str, Any]]) -> list[int]:
    return [one["row"] for one in found]


def report(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle.files / "reports" / "dedup.json").read_bytes())
    return found


def test_rows_that_differ_in_spelling_only_are_exact_duplicates(tmp_path: Path) -> None:
    first = row(0, "q", "a", arabic=["ما هو أكبر كوكب؟", "المشتري، وهو الأكبر في عام ٢٠٢٤"])
    again = row(1, "other", "words", arabic=["ما هو  اكبر كوكب؟", "المُشتري، وهو الأكبـــر في عام 2024"])
    apart = row(2, "q", "a", arabic=["ما هو أكبر كوكب؟ ", "زحل"])
    bundle = deduplicated(tmp_path, [[first], [apart, again]], prompt_action="keep")
    assert ids(read(bundle)) == [0, 2]
    assert [one["copies"] for one in read(bundle)] == [2, 1]
    (gone,) = read(bundle, "dropped")
    assert (gone["row"], gone["rule"], gone["reason"]) == (1, "exact", first["id"])


def test_a_few_changed_words_make_a_near_duplicate_and_many_do_not(tmp_path: Path) -> None:
    pick = random.Random(2)
    half = " ".join([*LONG.split()[:30], *sentence(pick, 30).split()])
    bundle = deduplicated(
        tmp_path, [[row(number, f"q{number}", "a", arabic=[f"سؤال {number}", text]) for number, text in enumerate(
            (LONG, SWAPPED, half))]]
    )  # fmt: skip
    assert ids(read(bundle)) == [0, 2]
    assert [(one["row"], one["rule"]) for one in read(bundle, "dropped")] == [(1, "near")]


def test_of_answers_to_one_prompt_the_best_stays(tmp_path: Path) -> None:
    answers = [sentence(random.Random(seed), 30) for seed in range(3)]
    given = [
        row(0, "q", "a", arabic=["نفس السؤال", answers[0]], verdict=REJECTED),
        row(1, "q", "b", arabic=["نفس السؤال", answers[1]], verdict=ACCEPTED, flags=["L1"]),
        row(2, "q", "c", arabic=["نفس السؤال", answers[2]], verdict=ACCEPTED),
    ]
    bundle = deduplicated(tmp_path, [given])
    assert ids(read(bundle)) == [2]
    assert read(bundle)[0]["copies"] == 3
    assert {one["reason"] for one in read(bundle, "dropped")} == {given[2]["id"]}
    assert {one["rule"] for one in read(bundle, "dropped")} == {"prompt"}


def test_a_rule_may_flag_instead(tmp_path: Path) -> None:
    given = [row(0, "q", "a", arabic=["سؤال", LONG]), row(1, "q", "b", arabic=["سؤال", SWAPPED], flags=["L1"])]
    bundle = deduplicated(tmp_path, [given], near_action="flag", prompt_action="flag")
    assert [one["flags"] for one in read(bundle)] == [[], ["L1", "near", "prompt"]]
    assert [one["copies"] for one in read(bundle)] == [1, 1]
    assert report(bundle)["total"] == {"kept": 2, "flagged near": 1, "flagged prompt": 1}


def test_a_row_that_stayed_for_others_hands_them_on(tmp_path: Path) -> None:
    one, other = sentence(random.Random(5), 40), sentence(random.Random(6), 40)
    given = [
        row(0, "q", "a", arabic=["سؤال", one], flags=["L1"]),
        row(1, "q", "a", arabic=["سؤال", one], flags=["L1", "L2"]),
        row(2, "q", "b", arabic=["سؤال", other]),
    ]
    bundle = deduplicated(tmp_path, [given])
    assert [(kept["row"], kept["copies"]) for kept in read(bundle)] == [(2, 3)]
    assert {(gone["rule"], gone["reason"]) for gone in read(bundle, "dropped")} == {
        ("exact", given[2]["id"]),
        ("prompt", given[2]["id"]),
    }


def test_copies_of_an_earlier_round_are_added(tmp_path: Path) -> None:
    given = [row(0, "same", "same", copies=3), row(1, "same", "same", copies=4), row(2, "else", "else", copies=2)]
    bundle = deduplicated(tmp_path, [given])
    assert [(one["row"], one["copies"]) for one in read(bundle)] == [(0, 7), (2, 2)]


def test_a_system_prompt_that_rows_share_makes_no_duplicates(tmp_path: Path) -> None:
    given, system = [], sentence(random.Random(8), 400)
    for number in range(3):
        one = row(number, f"question number {number} about its own thing", f"answer {number}, quite unlike the others")
        given.append(Row(**{**one, "turns": [{"role": "system", "text": system}, *one["turns"]]}))
    assert ids(read(deduplicated(tmp_path, [given]))) == [0, 1, 2]
    shared = deduplicated(tmp_path / "shared", [given], near_roles=("system", "user", "assistant"))
    assert ids(read(shared)) == [0]


def test_rows_that_say_nothing_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    given = [row(0, "", ""), row(1, " ", "\u200f"), row(2), row(3), row(4, "q", "a", arabic=[]), row(5, "", "a", "")]
    assert ids(read(deduplicated(tmp_path, [given]))) == [0, 1, 2, 3, 4, 5]


def test_hostile_rows_crash_nothing(tmp_path: Path) -> None:
    texts = [
        "\x00" * 1000,
        "ا" * 3_000_000,
        "كلمة " * 400_000,
        "<|im_start|>" * 1000,
        "```" * 9999,
        "ﷺ" * 9999,
        "\ufffd",
    ]
    given = [row(number, text, text, text, arabic=[text, text]) for number, text in enumerate(texts)]
    given += [row(90, texts[1], texts[1], texts[1], arabic=[texts[1]] * 2)]
    given += [row(99, "q", "a", arabic=["واحد", "اثنان", "ثلاثة", "أربعة"])]
    bundle = deduplicated(tmp_path, [given, []])
    assert len(read(bundle)) == len(given) - 1
    (gone,) = read(bundle, "dropped")
    assert {len(turn["text"]) for turn in [*gone["turns"], *gone["target"]]} == {rows.DROPPED_CHARACTERS}


def test_the_report_counts_every_row_once(tmp_path: Path) -> None:
    pick = random.Random(3)
    given = [
        row(number, f"q{pick.randrange(60)}", sentence(pick, 20), source=f"s{number % 3}") for number in range(100)
    ]
    given += [Row(**{**one, "row": 100 + one["row"], "id": f"copy-{one['id']}"}) for one in given[::7]]
    bundle = deduplicated(tmp_path, [given[:50], given[50:]])
    told = report(bundle)
    kept, gone = read(bundle), read(bundle, "dropped")
    assert told["rows"] == len(given) == len(kept) + len(gone) == sum(one["copies"] for one in kept)
    assert told["total"] == {
        "kept": len(kept),
        **{rule: sum(one["rule"] == rule for one in gone) for rule in ("exact", "prompt")},
    }
    assert {name: sum(counts.values()) for name, counts in told["sources"].items()} == {
        f"s{number}": sum(one["source"] == f"s{number}" for one in given) for number in range(3)
    }
    assert told["cluster_sizes"]["exact"] == {"2": 15}
    assert told["parameters"]["near"]["bands"] == 14


@pytest.fixture(scope="module")
def many() -> list[list[Row]]:
    pick = random.Random(4)
    shards: list[list[Row]] = [[] for _ in range(3)]
    texts: list[tuple[str, str]] = []
    for number in range(900):
        asked, answered = sentence(pick, 8), sentence(pick, pick.randrange(1, 60))
        if texts and pick.random() < 0.3:
            asked, answered = pick.choice(texts)
            edits = answered.split()
            for _ in range(pick.randrange(3)):
                edits[pick.randrange(len(edits))] = "غير"
            answered = " ".join(edits)
        texts.append((asked, answered))
        shards[pick.randrange(3)].append(row(number, f"q{number}", "a", arabic=[asked, answered]))
    return shards


def test_bytes_do_not_depend_on_workers(tmp_path: Path, many: list[list[Row]]) -> None:
    given = bundle_of(tmp_path / "planted", many)
    found = {
        run_stage(
            STAGE, DedupConfig(executor=Local(workers=count)), {"rows": [given]}, tmp_path / str(count)
        ).manifest_sha256
        for count in (1, 2)
    }
    assert len(found) == 1


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, many: list[list[Row]]) -> None:
    given = bundle_of(tmp_path / "planted", many)
    whole = run_stage(STAGE, DedupConfig(executor=Local(workers=1)), {"rows": [given]}, tmp_path / "whole")
    command = ["pipeline", "dedup", "pipeline/configs/dedup/default.yaml", "--from", str(given.root)]
    command += ["--set", "executor={kind: local, workers: 2}"]
    moments = ["*/*/work/keys/exact-*", "*/*/files/data/*.parquet"]
    resumed = Bundle.open(Path(killed_and_resumed(command, tmp_path / "killed", moments)))
    assert resumed.manifest_sha256 == whole.manifest_sha256


def test_rows_written_as_tables_are_the_bytes_of_rows_written_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "GROUP_ROWS", 7)
    monkeypatch.setattr(rows, "GROUP_CHARACTERS", 900)
    pick = random.Random(7)
    given = [
        row(n, sentence(pick, pick.randrange(40)), "a", arabic=[sentence(pick, 9)] if n % 3 else None)
        for n in range(99)
    ]
    whole = pa.Table.from_pylist(given, schema=rows.ROW)
    assert tables.characters(whole).tolist() == [rows.characters(one) for one in given]
    with rows.writing_rows(str(tmp_path / "rows"), 0, 1) as write:
        for one in given:
            write(one)
    with tables.writing_tables(str(tmp_path / "tables"), 0, 1) as write_table:
        for start in range(0, 99, 10):
            write_table(whole.slice(start, 10))
    name = "train-00000-of-00001.parquet"
    assert (tmp_path / "tables" / name).read_bytes() == (tmp_path / "rows" / name).read_bytes()
    assert pq.ParquetFile(tmp_path / "tables" / name).num_row_groups > 14


def test_rows_dropped_as_a_table_are_those_dropped_one_by_one() -> None:
    given = [
        row(0, "x" * 5000, "é" * 4001, arabic=["ا" * 5000, "b"]),
        row(1, "short", arabic=None, verdict=ACCEPTED, flags=["L1"]),
        row(2, arabic=[]),
    ]
    table = pa.Table.from_pylist(given, schema=rows.ROW)
    found = tables.dropped(table, pa.array(["near"] * 3), pa.array(["a", "b", "c"]))
    assert found.to_pylist() == [rows.dropped(one, "near", reason) for one, reason in zip(given, "abc", strict=True)]


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_near_duplicates_are_those_that_datatrove_finds(tmp_path: Path) -> None:
    found = compare(tmp_path, 2_000, workers=1)
    assert found.both > 150
    assert (found.only_ours, found.only_peer) == (0, 0)
