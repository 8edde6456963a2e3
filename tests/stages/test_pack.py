"""What is packed is what was kept, in the released schema and a stable order, whatever the road."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hala_release.bundle import Bundle
from hala_release.hub import Hub
from hala_release.localhub import daemon
from hala_release.payload.jsonl import natural_key
from hala_release.payload.shards import CHUNKING
from pipeline.executor import Local
from pipeline.pack import STAGE, Group, PackConfig, merged
from pipeline.prompts import HALA
from pipeline.rows import Row
from pipeline.stage import run_stage
from tests.stages.planted import bundle_of, killed_and_resumed, read, row, sentence


def packed(tmp_path: Path, shards: Sequence[Sequence[Row]], **config: Any) -> Bundle:  # noqa: ANN401
    given = PackConfig(**{"executor": Local(workers=1), "splits": {"train": 1}, **config})
    return run_stage(STAGE, given, {"rows": [bundle_of(tmp_path / "planted", shards)]}, tmp_path)


def report(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle.files / "reports" / "pack.json").read_bytes())
    return found


def test_a_conversation_is_released_in_both_forms(tmp_path: Path) -> None:
    one = row(7, "Hi", "Hello", arabic=["مرحبا", "أهلا"], copies=3, flags=["L1"])
    one["turns"].insert(0, {"role": "system", "text": "Be kind"})
    assert one["target"] is not None
    one["target"].insert(0, {"text": "كن لطيفا", "finish_reason": "stop"})
    (found,) = read(packed(tmp_path, [[one]]))
    assert found == {
        "id": one["id"],
        "conversations": [
            {"from": "system", "value": "كن لطيفا"},
            {"from": "human", "value": "مرحبا"},
            {"from": "gpt", "value": "أهلا"},
        ],
        "messages": [
            {"role": "system", "content": "كن لطيفا"},
            {"role": "user", "content": "مرحبا"},
            {"role": "assistant", "content": "أهلا"},
        ],
        "source": "made",
        "license": "mit",
        "copies": 3,
        "flags": ["L1"],
    }


def test_messages_can_be_left_out(tmp_path: Path) -> None:
    (found,) = read(packed(tmp_path, [[row(1, "q", "a", arabic=["س", "ج"])]], messages=False))
    assert list(found) == ["id", "conversations", "source", "license", "copies", "flags"]


def test_pairs_are_a_row_a_turn_with_the_prompt_of_the_translator(tmp_path: Path) -> None:
    one = row(1, "Hi {text}", "Hello", arabic=["مرحبا", "أهلا"])
    bundle = packed(tmp_path, [[one], [row(2, "Bye", arabic=["وداعا"])]], format="pairs")
    assert [(found["id"], [turn["value"] for turn in found["conversations"]]) for found in read(bundle)] == [
        (f"{one['id']}-0", [HALA["translator"].replace("{text}", "Hi {text}"), "مرحبا"]),
        (f"{one['id']}-1", [HALA["translator"].replace("{text}", "Hello"), "أهلا"]),
        (read(bundle)[2]["id"], [HALA["translator"].replace("{text}", "Bye"), "وداعا"]),
    ]
    assert {turn["from"] for found in read(bundle) for turn in found["conversations"]} == {"human", "gpt"}
    assert report(bundle)["rows"] == 3


def test_what_is_not_fit_is_left_out_and_counted(tmp_path: Path) -> None:
    def cut(reason: str) -> Row:
        return Row(**{**row(6, "q", arabic=["س"]), "target": [{"text": "س", "finish_reason": reason}]})

    given = [
        row(0, "q", "a", arabic=["س", "ج"]),
        row(1, "q", "a"),
        row(2, "q", "a", arabic=["س"]),
        row(3, arabic=[]),
        row(4, "q", arabic=["س"], flags=["L1", "C1"]),
        row(5, "q", arabic=["س"], verdict={"accept": False, "reason": ""}),
        cut("length"),
        row(7, "q", arabic=["س"], flags=["L1"], verdict={"accept": True, "reason": ""}, repairs=["O1", "G4"]),
    ]
    bundle = packed(tmp_path, [given])
    assert [one["id"] for one in read(bundle)] == [given[0]["id"], given[7]["id"]]
    assert report(bundle)["excluded"] == {
        "untranslated": 2,
        "turns differ": 1,
        "flag C1": 1,
        "rejected": 1,
        "unfinished": 1,
    }
    assert report(bundle)["flags"] == {"L1": 1}
    assert report(bundle)["repairs"] == {"G4": 1, "O1": 1}
    everything = packed(tmp_path / "lenient", [given], exclude_flags=(), exclude_rejected=False)
    assert len(read(everything)) == 4


@pytest.fixture(scope="module")
def many() -> list[list[Row]]:
    pick = random.Random(1)
    found = [
        row(number, f"question {pick.randrange(200)}", "a", arabic=[sentence(pick, 9), sentence(pick, 40)], source=name)
        for name in ("beta", "alpha")
        for number in range(400)
    ]
    found += found[5:8]  # ids twice
    pick.shuffle(found)
    return [found[:300], found[300:301], [], found[301:]]


@pytest.mark.parametrize(("shard_bytes", "run_bytes", "shards"), [(10**9, 10**9, 1), (60_000, 40_000, 5)])
def test_rows_are_ordered_by_id_over_all_shards(
    tmp_path: Path,
    many: list[list[Row]],
    shard_bytes: int,
    run_bytes: int,
    shards: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.pack.RUN_GROUP_BYTES", 5_000)
    bundle = packed(tmp_path, many, shard_bytes=shard_bytes, run_bytes=run_bytes)
    expected = sorted((one["id"] for shard in many for one in shard), key=natural_key)
    assert [one["id"] for one in read(bundle)] == expected
    assert len(list((bundle.files / "data").iterdir())) >= shards
    assert {path.name.rsplit("-", 1)[1] for path in (bundle.files / "data").iterdir()} == {
        f"{len(list((bundle.files / 'data').iterdir())):05d}.parquet"
    }


def test_a_merge_is_a_sort_whatever_the_groups(tmp_path: Path) -> None:
    pick = random.Random(2)
    for attempt in range(30):
        groups, expected = [], []
        low, high = sorted(f"{pick.randrange(40):02d}" for _ in range(2))
        for run in range(pick.randrange(1, 6)):
            keys = sorted(f"{pick.randrange(40):02d}" for _ in range(pick.randrange(1, 60)))
            table = pa.table({"key": keys, "from": [f"{run}.{place}" for place in range(len(keys))]})
            path = str(tmp_path / f"{attempt}-{run}.parquet")
            size = pick.randrange(1, 20)
            pq.write_table(table, path, row_group_size=size)
            for number, start in enumerate(range(0, len(keys), size)):
                part = keys[start : start + size]
                groups.append(Group(path, number, part[0], part[-1], 1))
            expected += list(zip(keys, table.column("from").to_pylist(), strict=True))
        expected = [name for key, name in sorted(expected, key=lambda one: one[0]) if low <= key < high]
        found = [name for table in merged(groups, low, high) for name in table.column("from").to_pylist()]
        assert found == expected


def test_rows_that_ask_the_same_are_in_one_split(tmp_path: Path, many: list[list[Row]]) -> None:
    bundle = packed(tmp_path, many, splits={"train": 0.7, "validation": 0.2, "test": 0.1})
    asked = {one["id"]: one["turns"][0]["text"] for shard in many for one in shard}
    prompts = {
        split: {asked[one["id"]] for one in read(bundle, split=split)} for split in ("train", "validation", "test")
    }
    assert sum(map(len, prompts.values())) == len(set(asked.values()))
    assert 0.6 < len(prompts["train"]) / len(set(asked.values())) < 0.8
    spelled = packed(tmp_path / "spelled", [[row(n, text, arabic=["س"]) for n, text in enumerate(
        ("What is THIS?", "what is this", "What  is this!!"))]], splits={f"s{n}": 0.125 for n in range(8)}
    )  # fmt: skip
    assert len(report(spelled)["splits"]) == 1


def test_datasets_loads_it_as_it_lies(tmp_path: Path, many: list[list[Row]]) -> None:
    bundle = packed(tmp_path, many, splits={"train": 0.9, "validation": 0.1})
    program = (
        "import sys, datasets\n"
        "found = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])\n"
        "print({name: rows.num_rows for name, rows in found.items()}, found['train'][0]['messages'][0]['role'])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(bundle.files), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == f"{report(bundle)['splits']} user"


def test_a_shard_is_cut_where_the_content_says(tmp_path: Path, many: list[list[Row]]) -> None:
    (path,) = (packed(tmp_path, many).files / "data").iterdir()
    assert json.loads(pq.read_metadata(path).metadata[b"content_defined_chunking"]) == CHUNKING


def test_the_attribution_names_every_source_and_its_licence(tmp_path: Path) -> None:
    given = [row(1, "q", arabic=["س"], source="opus"), row(2, "q", arabic=["س"], source="orca", license="cc-by-nc-4.0")]
    text = (packed(tmp_path, [given]).files / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert f"| opus | {'0' * 40} | mit | 1 |" in text
    assert f"| orca | {'0' * 40} | cc-by-nc-4.0 | 1 |" in text
    assert str(tmp_path) not in text


def test_bytes_do_not_depend_on_workers_or_kills(tmp_path: Path, many: list[list[Row]]) -> None:
    given = bundle_of(tmp_path / "planted", many)
    options = {"shard_bytes": 100_000, "run_bytes": 60_000}
    splits = {"train": 0.99, "validation": 0.01}
    configs = [PackConfig(**options, splits=splits, executor=Local(workers=workers)) for workers in (1, 2)]
    one, two = (run_stage(STAGE, config, {"rows": [given]}, tmp_path / str(n)) for n, config in enumerate(configs))
    assert one.manifest_sha256 == two.manifest_sha256
    command = ["pipeline", "pack", "pipeline/configs/pack/chat.yaml", "--from", str(given.root)]
    for key, value in {**options, "executor": "{kind: local, workers: 2}"}.items():
        command += ["--set", f"{key}={value}"]
    moments = ["*/*/work/runs/*.parquet", "*/*/files/data/*.parquet"]
    resumed = Bundle.open(Path(killed_and_resumed(command, tmp_path / "killed", moments)))
    assert resumed.manifest_sha256 == one.manifest_sha256


def test_a_version_with_one_row_in_a_hundred_more_moves_few_bytes(
    tmp_path: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pick = random.Random(3)
    numbers = np.random.default_rng(3)

    def one(number: int) -> Row:
        text = " ".join(map(str, numbers.integers(0, 10**9, 80)))
        return row(number, f"q{number}", "a", arabic=[sentence(pick, 12), text])

    first = [one(number) for number in range(8_000)]
    api = HfApi(endpoint=embedded.url, token=embedded.token)
    repo = "pack-moves/data"
    api.create_repo(repo, repo_type="dataset")
    moved = []
    for version in (first, [*first, *(one(number) for number in range(8_000, 8_080))]):
        bundle = packed(tmp_path / str(len(version)), [version[::2], version[1::2]])
        (path,) = (bundle.files / "data").iterdir()
        before = hub.received_bytes([("dataset", repo)]) or 0
        operations = [CommitOperationAdd(f"data/{path.name}", str(path))]
        api.create_commit(repo, operations, commit_message="version", repo_type="dataset")
        moved.append((hub.received_bytes([("dataset", repo)]) or 0) - before)
    assert moved[0] > 3_000_000
    assert moved[1] < moved[0] / 8
