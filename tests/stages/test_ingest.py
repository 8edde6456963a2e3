"""Sources become rows with stable ids; what is no conversation is set aside with its reason, and nothing is lost."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError, HalaError, HubError
from hala_release.localhub.daemon import Running
from pipeline import executor, rows
from pipeline.__main__ import main
from pipeline.ingest import STAGE, IngestConfig, LocalFiles
from pipeline.sources import files as source_files
from pipeline.sources.catalogue import SOURCES, TULU_ENGLISH
from pipeline.sources.source import Exchange, Source
from pipeline.stage import load, run_stage
from tests.publish import families

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "pipeline" / "configs" / "ingest"
REAL = ROOT / ".." / "shared" / "data" / "en_instructions"
RECORDS: Mapping[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "data" / "ingest" / "records.json").read_text(encoding="utf-8")
)
"""Our own sentences in the schema of each source."""

TEXT = pa.string()
SCHEMAS: Mapping[str, pa.Schema] = {
    "open-orca": pa.schema({"id": TEXT, "system_prompt": TEXT, "question": TEXT, "response": TEXT}),
    "lamini": pa.schema({"instruction": TEXT, "response": TEXT, "instruction_source": TEXT}),
    "tulu-3": pa.schema({"id": TEXT, "messages": pa.list_(pa.struct({"content": TEXT, "role": TEXT})), "source": TEXT}),
    "synthetic-instruct": pa.schema({"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}),
    "opus-100": pa.schema({"translation": pa.struct({"ar": TEXT, "en": TEXT})}),
}
"""The sources that are Parquet on the Hub; the others are JSON."""
NAMES: Mapping[str, list[str]] = {
    "open-orca": ["1M-GPT4-Augmented.parquet", "3_5M-GPT3_5-Augmented.parquet"],
    "hermes-3": ["hermes-3-dataset.jsonl"],
    "scp-116k": ["SCP_116K_in_open_source_format.jsonl"],
    "realign-alpaca": ["realign_alpaca.json"],
    "lamini": [
        "data/train-00000-of-00003-929c6c373c0473cd.parquet",
        "data/train-00001-of-00003-1f823c156c353d51.parquet",
    ],
    "tulu-3": ["data/train-00000-of-00006.parquet", "data/train-00001-of-00006.parquet"],
    "synthetic-instruct": ["data/train-00000-of-00001-1e5d57b93c448e7a.parquet"],
    "opus-100": ["ar-en/train-00000-of-00001.parquet"],
}
"""What the files of a source are called on the Hub, the last of them left out where there are many."""
KEPT = {
    "open-orca": [0, 1, 3],
    "hermes-3": [0, 3],
    "scp-116k": [0],
    "realign-alpaca": [0, 1],
    "lamini": [0, 1],
    "tulu-3": [0, 2],
    "synthetic-instruct": [0, 1],
    "opus-100": [0, 2],
}
"""Numbers of the records that become rows, with what the configuration of the source asks for."""
ALPACA = Exchange(instruction="instruction", input="input", output="output")
HERE = executor.Local(workers=1)


def packed(name: str) -> dict[str, bytes]:
    """Return the files of a source, as they are on the Hub but short."""
    records, names = RECORDS[name], NAMES[name]
    share = -(-len(records) // len(names))
    parts = [records[start : start + share] for start in range(0, len(records), share)]
    return {path: encoded(path, part, SCHEMAS.get(name)) for path, part in zip(names, parts, strict=True)}


def encoded(path: str, records: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> bytes:
    """Return records in the format that a path ends in."""
    if path.endswith(".parquet"):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(records), schema=schema), buffer)
        return buffer.getvalue()
    if path.endswith(".json"):
        return json.dumps(records, indent=4, ensure_ascii=False).encode()
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    return gzip.compress(lines) if path.endswith(".gz") else lines


def written(folder: Path, name: str) -> list[str]:
    """Write the files of a source and return their paths in their order."""
    paths = []
    for path, data in packed(name).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        paths.append(str(file))
    return paths


def local(paths: Sequence[object], shape: Any = ALPACA, **more: Any) -> IngestConfig:  # noqa: ANN401
    """Return the configuration for files of one's own."""
    files = LocalFiles(name="mine", license="mit", paths=tuple(map(str, paths)), columns=shape)
    return IngestConfig(**{"source": "local", "local": files, "executor": HERE} | more)


def ingest(config: IngestConfig, out: Path) -> Bundle:
    bundle = run_stage(STAGE, config, {}, out)
    bundle.verify(rehash=True)
    return bundle


def kept(bundle: Bundle) -> list[dict[str, Any]]:
    return [row for shard in rows.shards([bundle]) for row in rows.read_rows(shard)]


def refused(bundle: Bundle) -> list[dict[str, Any]]:
    return [row for shard in rows.shards([bundle], "dropped") for row in rows.read_rows(shard)]


def report(bundle: Bundle) -> dict[str, Any]:
    (path,) = (bundle.files / "reports").iterdir()
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


def shard_bytes(bundle: Bundle) -> list[bytes]:
    return [Path(shard).read_bytes() for shard in rows.shards([bundle])]


def questions(count: int, start: int = 0) -> list[dict[str, str]]:
    """Return records of three columns; every seventh has no answer."""
    return [
        {
            "instruction": f"Describe stone number {number}.",
            "input": "It is smooth." if number % 3 else "",
            "output": f"Stone {number} is grey." if number % 7 else "",
        }
        for number in range(start, start + count)
    ]


def test_there_is_a_configuration_for_every_source_and_each_loads() -> None:
    found = {path.stem: load(path, IngestConfig, {}) for path in sorted(CONFIGS.glob("*.yaml"))}
    assert {config.source for config in found.values()} == {*SOURCES, "local"}
    assert len(found) == len(SOURCES) + 5
    for path in CONFIGS.glob("*.yaml"):
        assert path.read_text().startswith(f"# python -m pipeline ingest pipeline/configs/ingest/{path.name}"), path
    assert found["open_orca"].rows == 405_000
    assert found["hermes_3"].code == "remove"


def test_every_source_says_what_it_is_and_all_but_one_know_their_commit() -> None:
    assert {name for name, source in SOURCES.items() if source.revision is None} == {"scp-116k"}
    for source in SOURCES.values():
        assert source.revision is None or re.fullmatch("[0-9a-f]{40}", source.revision), source
        assert source.license == source.license.lower() and source.license, source
        assert len(source.repository.split("/")) == 2, source
    assert len(TULU_ENGLISH) == 16 == len(set(TULU_ENGLISH))
    assert RECORDS.keys() == NAMES.keys() == KEPT.keys() == SOURCES.keys()


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_each_shape_reads_the_files_of_its_source(source: Source, tmp_path: Path) -> None:
    code = "remove" if source.name == "hermes-3" else "keep"
    config = local(written(tmp_path, source.name), source.shape, only=source.only, code=code, shard_rows=3)
    found = kept(ingest(config, tmp_path / "out"))
    assert [row["row"] for row in found] == KEPT[source.name]
    assert all(row["license"] == "mit" and row["revision"] == "local" for row in found)
    assert all(row["id"].startswith(f"mine-{row['row']}-") for row in found)
    told = json.dumps(RECORDS[source.name], ensure_ascii=False)
    texts = [turn["text"] for row in found for turn in [*row["turns"], *(row["target"] or ())]]
    assert texts
    assert all(json.dumps(text, ensure_ascii=False)[1:-1] in told for text in texts)


def test_a_conversation_keeps_its_turns_and_a_pair_gets_its_arabic_as_target(tmp_path: Path) -> None:
    hermes = kept(ingest(local(written(tmp_path, "hermes-3"), SOURCES["hermes-3"].shape), tmp_path / "out"))
    assert [turn["role"] for turn in hermes[0]["turns"]] == ["system", "user", "assistant"]
    assert [turn["role"] for turn in hermes[3]["turns"]] == ["user", "assistant"] * 2
    orca = kept(ingest(local(written(tmp_path, "open-orca"), SOURCES["open-orca"].shape), tmp_path / "out"))
    assert [turn["role"] for turn in orca[0]["turns"]] == ["system", "user", "assistant"]
    assert [turn["role"] for turn in orca[1]["turns"]] == ["user", "assistant"]
    opus = kept(ingest(local(written(tmp_path, "opus-100"), SOURCES["opus-100"].shape), tmp_path / "out"))
    assert opus[0]["turns"] == [{"role": "user", "text": "The door is open."}]
    assert opus[0]["target"] == [{"text": "الباب مفتوح.", "finish_reason": "stop"}]
    assert all(row["target"] is None for row in hermes + orca)


def test_an_input_follows_its_instruction_after_an_empty_line_and_texts_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = [
        {"instruction": "  Sum up:\r\n", "input": "A long day.\u200f ", "output": "\tA day\u0301.\n"},
        {"instruction": "Greet.", "input": "  \n", "output": "Hi."},
    ]
    path.write_bytes(encoded("a.jsonl", records))
    one, two = kept(ingest(local([path]), tmp_path / "out"))
    assert [turn["text"] for turn in one["turns"]] == ["  Sum up:\r\n\n\nA long day.\u200f ", "\tA day\u0301.\n"]
    assert two["turns"][0]["text"] == "Greet."


ON_THE_HUB = """
import json, sys
from pathlib import Path
from datasets import load_dataset
from pipeline import executor, rows
from pipeline.ingest import STAGE, IngestConfig
from pipeline.sources.catalogue import SOURCES
from pipeline.stage import load, run_stage

root, out, pins = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
found = {}
for path in sorted((root / "pipeline/configs/ingest").glob("*.yaml")):
    if path.stem.startswith("local_"):
        continue
    name = load(path, IngestConfig, {}).source
    settings = {"revision": pins[name], "shard_rows": 3, "executor": {"kind": "local", "workers": 1}}
    config = load(path, IngestConfig, settings)
    bundle = run_stage(STAGE, config, {}, out)
    source = SOURCES[name]
    found[name] = [
        [row for shard in rows.shards([bundle]) for row in rows.read_rows(shard)],
        list(load_dataset(source.repository, data_files=list(source.files), revision=pins[name], streaming=True,
                          split="train")),
        [str(path.relative_to(bundle.root)) for path in bundle.root.glob("work/source/*")],
    ]
print(json.dumps(found))
"""


def unfolded(record: dict[str, Any]) -> dict[str, Any]:
    """Undo what `datasets` does to lists of objects whose keys differ: it streams each as a text of JSON."""
    return {
        key: [json.loads(item) if isinstance(item, str) else item for item in value]
        if isinstance(value, list)
        else value
        for key, value in record.items()
    }


@pytest.fixture(scope="module")
def published(embedded: Running) -> dict[str, str]:
    """Every source under its real name on the embedded Hub, and the commit of each; later commits hold other rows."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=embedded.url, token=embedded.token)
    pins: dict[str, str] = {}
    for name, source in SOURCES.items():
        api.create_repo(source.repository, repo_type="dataset", exist_ok=True)
        files = packed(name)
        for contents in (files, dict.fromkeys(files, b"not what it was")):
            done = api.create_commit(
                source.repository,
                [CommitOperationAdd(path, data) for path, data in contents.items()],
                repo_type="dataset",
                commit_message="data",
            )
            pins.setdefault(name, done.oid)
    return pins


def test_every_source_is_read_from_a_hub_at_its_commit_as_the_library_datasets_streams_it(
    embedded: Running, published: dict[str, str], tmp_path: Path
) -> None:
    arguments = (str(ROOT), str(tmp_path / "out"), json.dumps(published))
    more = {"HF_TOKEN": embedded.token, "PYTHONPATH": str(ROOT)}
    said = families.python(ON_THE_HUB, *arguments, hub=embedded, home=tmp_path / "home", **more)
    found = json.loads(said.splitlines()[-1])
    assert found.keys() == SOURCES.keys()
    for name, (ours, streamed, left) in found.items():
        assert [row["row"] for row in ours] == KEPT[name]
        assert {row["revision"] for row in ours} == {published[name]}
        assert {row["license"] for row in ours} == {SOURCES[name].license}
        shape = SOURCES[name].shape
        for row in ours:
            said_there = shape.said(unfolded(streamed[row["row"]]))
            assert [turn["text"] for turn in row["turns"]] == [text for _, text in said_there.turns], name
            assert (row["target"] or [{"text": None}])[0]["text"] == said_there.arabic
        assert not left, "what was unpacked is taken away"


def test_a_hub_that_lacks_the_commit_or_does_not_answer_is_said_in_a_sentence(
    embedded: Running, published: dict[str, str], tmp_path: Path
) -> None:
    config = CONFIGS / "lamini.yaml"
    command = [sys.executable, "-m", "pipeline", "ingest", str(config), "--out", str(tmp_path), "--set"]
    for endpoint, message in ((embedded.url, "is not there"), ("http://127.0.0.1:9", "cannot be read: ConnectError")):
        done = subprocess.run(
            [*command, f"revision='{'0' * 40}'"],
            cwd=ROOT,
            env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 5, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert published


def test_a_remote_file_with_a_long_row_group_is_fetched_once(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        for group, unpacked in ((100, 0), (4, 1)):
            buffer = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(questions(100)), buffer, row_group_size=104 - group)
            memory.pipe(f"/ingest/{group}.parquet", buffer.getvalue())
            path = f"memory://ingest/{group}.parquet"
            wanted = source_files.Wanted([path], ALPACA.paths(), None, 10, 1 << 20, "")
            found = source_files.survey(wanted, str(tmp_path / str(group)))
            assert len(list((tmp_path / str(group)).rglob("*.parquet"))) == unpacked
            read = [
                record
                for shard in found.shards
                for piece in shard
                for _, record in source_files.records(piece, ALPACA.paths(), 1 << 20)
            ]
            assert read == questions(100)
    finally:
        memory.rm("/ingest", recursive=True)


def rename(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{("answer" if key == "output" else key): value for key, value in one.items()} for one in records]


def number(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "output": index} for index, one in enumerate(records)]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.json"])
@pytest.mark.parametrize(
    ("drift", "message"),
    [
        (rename, r"a\.\S+ has no column output; it has answer, input, instruction"),
        (number, r"a\.\S+: output holds int\w*, not text"),
    ],
)
def test_a_renamed_or_retyped_column_is_told_before_the_first_row(
    tmp_path: Path, name: str, drift: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(name, drift(questions(20))))
    with pytest.raises(ContractError, match=message) as told:
        ingest(local([path]), tmp_path / "out")
    assert "local.columns" in told.value.fix
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_drift_in_a_field_of_a_struct_or_in_a_later_file_is_told(tmp_path: Path) -> None:
    turned = [{**one, "messages": [{"text": "a", "role": "user"}]} for one in RECORDS["tulu-3"]]
    one, two = written(tmp_path, "tulu-3")
    Path(two).write_bytes(encoded("a.parquet", turned))
    source = SOURCES["tulu-3"]
    with pytest.raises(ContractError, match=r"00001\S+ has no column messages\.content; it has id, messages\.role"):
        ingest(local([one, two], source.shape, only=source.only), tmp_path / "out")
    with pytest.raises(ContractError, match="has no column subset"):
        ingest(local([one], source.shape, only={"subset": ("a",)}), tmp_path / "out")


HOSTILE: Mapping[bytes, tuple[str, str]] = {
    b"not json at all": ("I1", "not JSON"),
    b'{"instruction": "cut off", "inp': ("I1", "not JSON"),
    b'["a", "list"]': ("I1", "a list, not an object"),
    b"17": ("I1", "a int, not an object"),
    b"null": ("I1", "a NoneType, not an object"),
    b"\xff\xfe\x00broken": ("I1", "not JSON"),
    b'{"instruction": "a", "input": "", "output": "b\xff"}': ("I1", "not JSON"),
    b"[" * 100_000: ("I1", "not JSON"),
    b'{"a":' * 500 + b"1" + b"}" * 500: ("S1", "turn 1 is not text but NoneType"),
    b'{"instruction": "' + b"9" * 3_000_000 + b'", "input": "", "output": "b"}': ("I1", "a line of 3,000,048 bytes"),
    b'{"instruction": ' + b"9" * 10_000 + b', "input": "", "output": "b"}': ("I1", "not JSON"),
    b'{"instruction": "half \\ud800 pair", "input": "", "output": "b"}': ("I2", "text 1 holds half of a surrogate"),
    b'{"instruction": "a", "input": "", "output": "nul \\u0000 here"}': ("I2", "text 2 holds NUL"),
    b'{"instruction": "a", "input": "", "output": ""}': ("S1", "turn 2 is empty"),
    b'{"instruction": " \\u00a0\\n", "input": "", "output": "b"}': ("S1", "turn 1 is empty"),
    b'{"instruction": "a", "input": "", "output": ["b"]}': ("S1", "turn 2 is not text but list"),
    b'{"instruction": "a", "input": {"b": 1}, "output": "c"}': ("S1", "turn 1 is not text but NoneType"),
    b'{"input": "", "output": "c"}': ("S1", "turn 1 is not text but NoneType"),
    b'{"instruction": "long", "input": "", "output": "' + b"c" * 1_000 + b'"}': ("I3", "1,004 characters"),
}


@pytest.mark.parametrize("name", ["hostile.jsonl", "hostile.jsonl.gz"])
def test_hostile_lines_are_set_aside_with_number_reason_and_content_and_crash_nothing(
    tmp_path: Path, name: str
) -> None:
    sound = json.dumps(questions(2)[1]).encode()
    lines = [line for hostile in HOSTILE for line in (sound, hostile, b"", b"  \t")]
    data = b"\xef\xbb\xbf" + b"\n".join(lines) + b"\r\n" + sound
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    config = local([tmp_path / name], max_line_bytes=1 << 20, max_characters=1_000, shard_rows=7)
    bundle = ingest(config, tmp_path / "out")
    assert [row["row"] for row in kept(bundle)] == [*range(0, 2 * len(HOSTILE), 2), 2 * len(HOSTILE)]
    dropped = refused(bundle)
    assert [row["row"] for row in dropped] == list(range(1, 2 * len(HOSTILE), 2))
    for row, (line, (rule, reason)) in zip(dropped, HOSTILE.items(), strict=True):
        assert (row["rule"], row["reason"][: len(reason)]) == (rule, reason), line[:80]
        assert row["turns"][0]["text"], line[:80]
        assert all(len(turn["text"]) <= rows.DROPPED_CHARACTERS for turn in row["turns"])
    told = report(bundle)
    assert told["read"] == 2 * len(HOSTILE) + 1 == told["kept"] + sum(told["dropped"].values())
    assert told["dropped"] == {"I1": 10, "I2": 2, "I3": 1, "S1": 6}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "no turns"),
        (None, "no turns"),
        ("a text", "no turns"),
        ([{"from": "gpt", "value": "a"}], "turn 1 is of the assistant, where the user speaks"),
        ([{"from": "human", "value": "a"}], "the assistant does not answer"),
        ([{"from": "system", "value": "a"}], "the assistant does not answer"),
        ([{"from": "human", "value": "a"}, {"from": "human", "value": "b"}], "turn 2 is of the user"),
        ([{"from": "human", "value": "a"}, {"from": "system", "value": "b"}], "turn 2 is of the system"),
        ([{"from": "human", "value": "a"}, {"from": "tool", "value": "b"}], "turn 2 is of the unknown role 'tool'"),
        ([{"from": "human", "value": "a"}, {"value": "b"}], "turn 2 is of the unknown role 'None'"),
        (["a", "b"], "turn 1 is not text but NoneType"),
        ([{"from": "human", "value": "a"}, {"from": "gpt", "value": None}], "turn 2 is not text but NoneType"),
        ([{"from": ["human"], "value": "a"}, {"from": "gpt", "value": "b"}], "turn 1 is of the unknown role"),
    ],
)
def test_turns_that_make_no_conversation_are_refused(tmp_path: Path, turns: object, reason: str) -> None:
    sound = RECORDS["hermes-3"][0]
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded("a.jsonl", [sound, {"conversations": turns}]))
    bundle = ingest(local([path], SOURCES["hermes-3"].shape), tmp_path / "out")
    assert len(kept(bundle)) == 1
    (row,) = refused(bundle)
    assert row["rule"] == "S1"
    assert row["reason"].startswith(reason)


def test_text_that_is_not_utf_8_in_parquet_is_refused_and_its_neighbours_are_kept(tmp_path: Path) -> None:
    texts = [f"question {index}".encode() for index in range(30)]
    texts[11] = b"caf\xe9"
    column = pa.array(texts, pa.binary()).view(pa.string())
    answers = pa.array([f"answer {index}" for index in range(30)])
    pq.write_table(pa.table({"question": column, "answer": answers}), tmp_path / "a.parquet")
    bundle = ingest(
        local([tmp_path / "a.parquet"], Exchange(instruction="question", output="answer")), tmp_path / "out"
    )
    assert [row["row"] for row in kept(bundle)] == [index for index in range(30) if index != 11]
    assert [(row["row"], row["rule"]) for row in refused(bundle)] == [(11, "I2")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.parquet", b"PAR1 cut off", "is not a whole Parquet file"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 5_000)[:-20], "is not a whole gzip file"),
        ("a.jsonl.gz", b"plain", "is not a whole gzip file"),
        ("a.json", b'[{"instruction": "a"}, {"instr', "is not a whole JSON array"),
        ("a.jsonl", b"\n \n", "has no records"),
        ("a.json", b"[]", "has no records"),
    ],
)
def test_a_file_that_was_cut_off_or_is_empty_is_told_by_its_name(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ContractError, match=message):
        ingest(local([tmp_path / name]), tmp_path / "out")
    with pytest.raises(ContractError, match=r"gone\.jsonl is not there"):
        ingest(local([tmp_path / "gone.jsonl"]), tmp_path / "out")


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.json"])
def test_rows_appended_at_the_end_leave_ids_and_earlier_shards_as_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(name, questions(250)))
    config = local([path], shard_rows=100)
    before = ingest(config, tmp_path / "out")
    path.write_bytes(encoded(name, questions(420)))
    after = ingest(config, tmp_path / "out")
    assert before.root != after.root, "the content of a file is part of the question"
    old, new = shard_bytes(before), shard_bytes(after)
    assert (len(old), len(new)) == (3, 5)
    assert new[:2] == old[:2]
    ids = [row["id"] for row in kept(after)]
    assert ids[: len(kept(before))] == [row["id"] for row in kept(before)]
    assert len(set(ids)) == len(ids) == 420 - 60
    assert report(after)["read"] == 420


def test_an_id_outlives_the_revision_and_changes_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded("a.jsonl", questions(10)))
    one = kept(ingest(local([path], revision="spring"), tmp_path / "out"))
    two = kept(ingest(local([path], revision="autumn"), tmp_path / "out"))
    assert [row["id"] for row in one] == [row["id"] for row in two]
    assert [{**row, "revision": "autumn"} for row in one] == two
    path.write_bytes(encoded("a.jsonl", [*questions(9), {"instruction": "New.", "input": "", "output": "Yes."}]))
    three = kept(ingest(local([path]), tmp_path / "out"))
    assert [row["id"] for row in three][:-1] == [row["id"] for row in one][:-1]
    assert three[-1]["id"] != one[-1]["id"]


def test_formats_shards_and_workers_do_not_change_the_rows(tmp_path: Path) -> None:
    records = questions(300)
    found = []
    for name, shard_rows, workers in (
        ("a.parquet", 300, 1),
        ("a.jsonl", 64, 1),
        ("a.jsonl.gz", 64, 2),
        ("a.json", 7, 1),
    ):
        (tmp_path / name).write_bytes(encoded(name, records))
        config = local([tmp_path / name], shard_rows=shard_rows, executor=executor.Local(workers=workers))
        found.append(kept(ingest(config, tmp_path / "out")))
    for index in range(3):
        (tmp_path / f"{index}.parquet").write_bytes(encoded("a.parquet", records[index * 100 : index * 100 + 100]))
    parts = [tmp_path / f"{index}.parquet" for index in range(3)]
    found.append(kept(ingest(local(parts, shard_rows=64), tmp_path / "out")))
    assert len(found[0]) == 300 - 43
    assert all(one == found[0] for one in found)


def test_a_row_group_longer_than_a_shard_is_read_from_its_middle(tmp_path: Path) -> None:
    for group in (1, 33, 5_000):
        path = tmp_path / f"{group}.parquet"
        pq.write_table(pa.Table.from_pylist(questions(5_000)), path, row_group_size=group)
        bundle = ingest(local([path], shard_rows=1_700, rows=4_000), tmp_path / "out")
        assert [row["row"] for row in kept(bundle)] == [number for number in range(4_000) if number % 7]
        assert len(shard_bytes(bundle)) == 3


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz"])
def test_a_limit_of_rows_reads_the_first_over_all_files(tmp_path: Path, name: str) -> None:
    one, two, three = (tmp_path / f"{index}-{name}" for index in range(3))
    one.write_bytes(encoded(name, questions(30)))
    two.write_bytes(encoded(name, questions(30, 30)))
    three.write_bytes(b"never read")
    bundle = ingest(local([one, two, three], rows=45, shard_rows=20), tmp_path / "out")
    assert report(bundle)["read"] == 45
    assert [row["row"] for row in kept(bundle)] == [number for number in range(45) if number % 7]
    assert len(shard_bytes(bundle)) == 3
    exact = ingest(local([one, two, three], rows=60, shard_rows=20), tmp_path / "out")
    assert report(exact)["read"] == 60


def test_what_a_choice_leaves_out_is_counted_by_its_value(tmp_path: Path) -> None:
    source = SOURCES["tulu-3"]
    bundle = ingest(local(written(tmp_path, "tulu-3"), source.shape, only=source.only), tmp_path / "out")
    assert report(bundle)["left_out"] == {
        "source=ai2-adapt-dev/tulu_v3.9_aya_100k": 1,
        "source=ai2-adapt-dev/oasst1_converted": 1,
    }
    assert report(bundle)["read"] == 4
    assert refused(bundle) == []


@pytest.mark.parametrize(
    ("question", "answer", "removed"),
    [
        ("Write a Python function that adds.", "Sure.", True),
        ("Please debug this short function for me.", "Sure.", True),
        ("How do I centre a box in CSS?", "With margins.", True),
        ("What is C++?", "A language.", True),
        ("Greet me.", "```\nhello\n```", True),
        ("Greet me.", "   ~~~text\nhello\n~~~", True),
        ("Greet me.", "def greet(name):\n    return name", True),
        ("x" * 5_000 + " in Python", "Sure.", False),
        ("Write a letter to my landlord.", "Dear Sir.", False),
        ("Describe a method of drying figs.", "In the sun.", False),
        ("Write a script about a ship.", "Scene one.", False),
        ("Which class did the ship belong to?", "Frigates; see ``` in the text.", False),
        ("Explain the function of the liver.", "It cleans the blood.", False),
    ],
)
def test_programming_tasks_are_removed_by_a_stated_rule(
    tmp_path: Path, question: str, answer: str, removed: bool
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded("a.jsonl", [{"instruction": question, "input": "", "output": answer}]))
    bundle = ingest(local([path], code="remove"), tmp_path / "out")
    assert len(kept(bundle)) == (not removed)
    assert [row["rule"] for row in refused(bundle)] == ["I4"] * removed
    assert len(kept(ingest(local([path]), tmp_path / "out"))) == 1
    own = local([path], code="remove", code_marks=("landlord",), code_tasks=())
    assert len(kept(ingest(own, tmp_path / "out"))) == ("landlord" not in question)


def test_bait_for_expressions_costs_linear_time(tmp_path: Path) -> None:
    baits = [
        "write " * 60_000,
        "```" * 100_000,
        " " * 300_000 + "x",
        "def " * 75_000,
        "write a " + "a " * 150_000,
        "\n" * 300_000 + "x",
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(encoded("a.jsonl", [{"instruction": bait, "input": "", "output": bait} for bait in baits]))
    started = time.monotonic()
    config = local([path], code="remove", max_characters=1_000_000, code_characters=1_000_000)
    assert report(ingest(config, tmp_path / "out"))["read"] == len(baits)
    assert time.monotonic() - started < 20


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(encoded("a.jsonl.gz", questions(30_000)))
    settings = [f"local.paths=[{path}]", "shard_rows=3000", "executor.kind=local", "executor.workers=1"]
    command = [sys.executable, "-m", "pipeline", "ingest", str(CONFIGS / "local_alpaca.yaml")]
    command += [word for setting in settings for word in ("--set", setting)]
    reference = subprocess.run(
        [*command, "--out", tmp_path / "reference"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kills = 0
    for shards in (1, 4, 7):
        running = subprocess.Popen(
            [*command, "--out", tmp_path / "out"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while running.poll() is None and len(list((tmp_path / "out").glob("ingest/*/files/data/train-*"))) < shards:
            time.sleep(0.002)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
    assert kills == 3
    assert not list((tmp_path / "out").glob("ingest/*/manifest.json"))
    done = subprocess.run([*command, "--out", tmp_path / "out"], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = (Bundle.open(Path(told.stdout.strip())) for told in (reference, done))
    second.verify(rehash=True)
    assert first.manifest_sha256 == second.manifest_sha256
    assert len(shard_bytes(second)) == 10


def test_a_bundle_names_the_content_of_its_files_and_no_place_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in "ab":
        (tmp_path / folder / "x.jsonl").write_bytes(encoded("x.jsonl", questions(5)))
    one = ingest(local([tmp_path / "a" / "x.jsonl"]), tmp_path / "out")
    two = ingest(local([tmp_path / "b" / "x.jsonl"]), tmp_path / "out")
    assert one.root == two.root
    told = (one.root / "manifest.json").read_text() + json.dumps(report(one))
    assert str(tmp_path) not in told
    config = one.manifest.model_dump()["provenance"]["config"]
    assert [file["name"] for file in config["files"]] == ["x.jsonl"]


PAIR = {"kind": "pair", "english": "e", "arabic": "a"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "open-orka"}, "did you mean `open-orca`?"),
        ({"source": "nothing-like-it"}, "write one of open-orca, hermes-3"),
        ({"source": "local"}, "give both or none"),
        ({"source": "open-orca", "revision": "main"}, "40 hexadecimal digits"),
        ({"source": "open-orca", "code_marks": ["("]}, "not a regular expression"),
        ({"source": "open-orca", "rows": 0}, "greater than or equal to 1"),
        ({"local": {"name": "tulu-3", "license": "mit", "columns": PAIR}}, "tulu-3 is taken"),
        ({"local": {"name": "x", "columns": PAIR}}, "local.license: missing"),
        ({"local": {"name": "x", "license": "mit", "columns": {"kind": "pairs"}}}, "unknown kind 'pairs'"),
        ({"local": {"name": "x", "license": "mit", "paths": ["a.csv"], "columns": PAIR}}, "that end in .parquet"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_its_reason(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    path = tmp_path / "ingest.yaml"
    path.write_text(json.dumps({"source": "local"} | settings))
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(path, IngestConfig, {})


@pytest.mark.parametrize(
    ("name", "message", "fix"),
    [
        ("scp_116k", "which commit of EricLu/SCP-116K", "--set revision="),
        ("local_dolly", "no files of dolly", "--set local.paths="),
    ],
)
def test_what_only_the_user_can_say_is_asked_for_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str, fix: str
) -> None:
    assert main(["ingest", str(CONFIGS / f"{name}.yaml"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert fix in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "file", "read", "dropped"),
    [
        ("local_alpaca", "alpaca_50k.jsonl.gz", 50_002, {"S1": 27}),
        ("local_dolly", "dolly_15k.jsonl.gz", 15_015, {}),
        ("local_gsm8k", "gsm8k_train.jsonl.gz", 7_473, {}),
    ],
)
def test_real_instructions_are_ingested_whole(
    tmp_path: Path, config: str, file: str, read: int, dropped: dict[str, int]
) -> None:
    path = REAL / file
    if not path.exists():
        pytest.skip("the shared data lie beside the checkout, and are not here")
    chosen = load(CONFIGS / f"{config}.yaml", IngestConfig, {"local.paths": [str(path)]})
    bundle = ingest(chosen, tmp_path / "out")
    told = report(bundle)
    assert (told["read"], told["dropped"]) == (read, dropped)
    found = kept(bundle)
    assert told["kept"] == len(found) == read - sum(dropped.values())
    assert len({row["id"] for row in found}) == len(found)
    assert told["turns"] == sum(len(row["turns"]) for row in found) == 2 * len(found)
    assert told["characters"] == sum(rows.characters(row) for row in found)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        answers = [list(json.loads(line).values())[-1] for line in lines]
    assert all(row["turns"][1]["text"] == answers[row["row"]] for row in found)


def test_errors_are_of_our_own_kind() -> None:
    with pytest.raises(HalaError):
        source_files.find("memory://nothing", ["*.parquet"])
    with pytest.raises(HubError):
        source_files.find("memory://nothing", ["*.parquet"])
