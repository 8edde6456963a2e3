"""What `adopt` makes of what another tool left, and what it refuses."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError, PayloadInvalid
from hala_release.manifest import ConfigFacts, DatasetFacts, Kind, SpaceFacts
from hala_release.payload import jsonl, shards
from tests import factories

Row = dict[str, Any]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"])
def test_rows_come_out_as_they_went_in(tmp_path: Path, suffix: str) -> None:
    rows = factories.conversations(300)
    path = factories.write_rows(tmp_path / "raw" / "train.jsonl", rows)
    if suffix.endswith(".gz"):
        packed = gzip.compress(path.read_bytes())
        path.unlink()
        path.with_name("train" + suffix).write_bytes(packed)
    else:
        path.rename(path.with_name("train" + suffix))
    bundle = adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "out").bundle
    assert [entry.path for entry in bundle.manifest.files] == ["data/train-00000-of-00001.parquet"]
    assert rows_of(bundle) == rows
    assert loaded(bundle, tmp_path) == rows
    assert facts_of(bundle).rows == 300


def test_rows_are_sorted_by_id_with_numbers_by_their_value(tmp_path: Path) -> None:
    ids = ["row-10", "row-9", "a2b10", "row-100", "a2b9", "a10b1", "row-9000000000", "row-010", "b"]
    bundle = adopted(tmp_path, [{"id": name} for name in ids])
    assert [row["id"] for row in rows_of(bundle)] == [
        "a2b9", "a2b10", "a10b1", "b", "row-9", "row-10", "row-010", "row-100", "row-9000000000",
    ]  # fmt: skip
    assert bundle.manifest.provenance.config["converted"][0]["sorted_by"] == "id"  # type: ignore[index, call-overload]


@given(st.lists(st.integers(min_value=0, max_value=10**30), min_size=2, max_size=20))
def test_ids_that_end_in_numbers_sort_like_the_numbers(numbers: list[int]) -> None:
    assert sorted((f"x{n}" for n in numbers), key=jsonl.natural_key) == [f"x{n}" for n in sorted(numbers)]


def test_whole_numbers_as_ids_sort_by_value(tmp_path: Path) -> None:
    bundle = adopted(tmp_path, [{"id": number} for number in (10, 9, -1, 100)])
    assert [row["id"] for row in rows_of(bundle)] == [-1, 9, 10, 100]


@pytest.mark.parametrize("missing", [{"text": "none"}, {"id": None, "text": "null"}])
def test_rows_keep_their_order_where_one_has_no_id(tmp_path: Path, missing: Row) -> None:
    rows = [{"id": 3, "text": "c"}, missing, {"id": 1, "text": "a"}]
    assert [row["text"] for row in rows_of(adopted(tmp_path, rows))] == ["c", missing["text"], "a"]


def test_rows_with_one_key_keep_their_order(tmp_path: Path) -> None:
    rows = [{"id": "same", "n": n} for n in range(50)]
    assert rows_of(adopted(tmp_path, rows)) == rows


def test_rows_can_be_sorted_by_another_column(tmp_path: Path) -> None:
    rows = [{"id": n, "rank": 9 - n} for n in range(10)]
    bundle = adopted(tmp_path, rows, sort_by="rank")
    assert [row["rank"] for row in rows_of(bundle)] == list(range(10))


def test_sorting_by_a_column_that_is_missing_names_it(tmp_path: Path) -> None:
    with pytest.raises(PayloadInvalid, match="by line 2 a row has no string or whole number in 'rank'"):
        adopted(tmp_path, [{"rank": 1}, {"id": 1}], sort_by="rank")
    assert not (tmp_path / "out").exists()


VALUES: dict[str, tuple[list[Row], list[Row]]] = {
    "whole numbers and fractions": ([{"a": 1}, {"a": 2.5}], [{"a": 1.0}, {"a": 2.5}]),
    "nulls": ([{"a": None, "b": 1}, {"a": "x", "b": 1}], [{"a": None, "b": 1}, {"a": "x", "b": 1}]),
    "missing keys": ([{"a": 1}, {"b": "x"}], [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
    "nested lists": ([{"a": [[1], []]}, {"a": []}, {"a": None}], [{"a": [[1], []]}, {"a": []}, {"a": None}]),
    "nested objects": ([{"a": {"b": {"c": "x"}}}, {"a": {"d": 1}}],
                       [{"a": {"b": {"c": "x"}, "d": None}}, {"a": {"b": None, "d": 1}}]),
    "dates stay text": ([{"a": "2024-01-01"}, {"a": "2024-01-01T00:00:00Z"}],
                        [{"a": "2024-01-01"}, {"a": "2024-01-01T00:00:00Z"}]),
    "numbers in text": ([{"a": "007"}, {"a": "1e5"}], [{"a": "007"}, {"a": "1e5"}]),
    "64 bits": ([{"a": 2**63 - 1}, {"a": -(2**63)}], [{"a": 2**63 - 1}, {"a": -(2**63)}]),
    "truth": ([{"a": True}, {"a": False}], [{"a": True}, {"a": False}]),
    "text": ([{"a": "\x00\n\u2028 \U0001f600 \u202e"}], [{"a": "\x00\n\u2028 \U0001f600 \u202e"}]),
    "odd column names": ([{"": 1, "a b": 2, "ا": 3, "a.b": 4}], [{"": 1, "a b": 2, "ا": 3, "a.b": 4}]),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), VALUES.values(), ids=VALUES)
def test_values_keep_their_types(tmp_path: Path, rows: list[Row], expected: list[Row]) -> None:
    bundle = adopted(tmp_path, rows)
    assert rows_of(bundle) == expected
    assert loaded(bundle, tmp_path) == expected


def test_types_widen_also_over_many_thousand_rows(tmp_path: Path) -> None:
    rows = [{"n": n} for n in range(jsonl.BATCH_ROWS)] + [{"n": 0.5, "late": "x"}]
    found = rows_of(adopted(tmp_path, rows))
    assert found[-1] == {"n": 0.5, "late": "x"}
    assert found[0] == {"n": 0.0, "late": None}
    assert len(found) == len(rows)


LINES: dict[str, tuple[bytes, str]] = {
    "cut off": (b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
    "cut off after blank lines": (b'{"a": 1}\n\n \n{"a": "x\n', "line 4: not JSON"),
    "infinity": (b'{"a": 1}\n{"a": 1e999}\n', "line 2: not JSON: 1e999 is too large for a number"),
    "a key twice": (b'{"a": 1, "a": 2}\n', "line 1: not JSON: a key appears twice in one object"),
    "not a number": (b'{"a": 1}\n{"a": NaN}\n', "line 2: not JSON: NaN is not a JSON number"),
    "infinite": (b'{"a": -Infinity}\n', "line 1: not JSON: -Infinity is not"),
    "a list": (b'{"a": 1}\n[1]\n', "line 2: not a JSON object"),
    "an empty object": (b"{}\n", "line 1: not a JSON object with columns"),
    "not UTF-8": (b'{"a": "\xff"}\n', "line 1: not JSON"),
    "too deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1: nested too deeply"),
    "beyond 64 bits": (b'{"a": 1}\n{"a": 9223372036854775808}\n', "line 2: "),
    "far beyond": (b'{"a": ' + b"9" * 100 + b"}\n", "line 1: "),
    "half a character": (b'{"a": "x"}\n{"a": "\\ud800"}\n', "line 2: .*surrogates not allowed"),
    "half a character in a name": (b'{"\\udc00": 1}\n', "line 1: .*surrogates not allowed"),
    "text after a number": (b'{"a": 1}\n{"a": "x"}\n', "line 2: .*Field a has incompatible types: int64 vs string"),
    "counted with blank lines": (b'{"a": 1}\n' + b"\n" * 50 + b'{"a": "x"}\n', "line 52: .*Field a"),
    "truth after a number": (b'{"a": 1}\n{"a": true}\n', "line 2: .*Field a"),
    "object after a list": (b'{"a": [1]}\n{"a": {"b": 1}}\n', "line 2: .*Field a"),
    "mixed in one list": (b'{"a": [1, "x"]}\n', "line 1: "),
    "always empty objects": (b'{"a": {}}\n', "Parquet cannot hold these columns: .*'a'"),
    "more than a fraction holds": (b'{"a": 9007199254740993}\n{"a": 0.5}\n', "Integer value 9007199254740993"),
    "empty": (b"", "train.jsonl has no rows"),
    "blank": (b"\n  \n\n", "train.jsonl has no rows"),
}


@pytest.mark.parametrize(("data", "reason"), LINES.values(), ids=LINES)
def test_a_line_that_cannot_be_kept_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    write(tmp_path / "raw", {"train.jsonl": data})
    with pytest.raises(PayloadInvalid, match=rf"^(train\.jsonl.*)?{reason}") as caught:
        adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "out")
    assert caught.value.fix
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "raw", {"train.jsonl": b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}'})
    assert rows_of(adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "out").bundle) == [{"a": 1}, {"a": 2}]


def test_a_type_that_changes_after_many_thousand_rows_names_its_line(tmp_path: Path) -> None:
    lines = ['{"n": 1}\n'] * (jsonl.BATCH_ROWS + 4) + ['{"n": []}\n', '{"n": 1}\n']
    write(tmp_path / "raw", {"train.jsonl": "".join(lines).encode()})
    with pytest.raises(PayloadInvalid, match=f"line {jsonl.BATCH_ROWS + 5}: .*int64 vs list"):
        adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "out")


def test_many_rows_become_several_shards_in_order(tmp_path: Path) -> None:
    rows = [{"id": f"{n}", "text": "x" * (n % 7)} for n in range(2 * jsonl.BATCH_ROWS + 1)]
    shuffled = random.Random(0).sample(rows, len(rows))
    source = factories.write_rows(tmp_path / "train.jsonl", shuffled)
    written, column = shards.write_shards(source, tmp_path, stem="data/train", scratch=tmp_path / "x", shard_bytes=1)
    assert [shard.name for shard in written] == [f"train-0000{n}-of-00003.parquet" for n in range(3)]
    assert column == "id"
    assert [row for shard in written for row in pq.read_table(shard).to_pylist()] == rows
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [shard.name for shard in written]
    bundle = adopt(tmp_path / "data", kind="dataset", out=tmp_path / "out").bundle
    assert [split.files for split in facts_of(bundle).configs[0].splits] == [tuple(shard.name for shard in written)]
    assert loaded(bundle, tmp_path) == rows


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = factories.conversations(500)
    orders = (rows, list(reversed(rows)))
    one, other = (adopted(tmp_path / str(n), order).manifest for n, order in enumerate(orders))
    assert one.files == other.files
    assert one.facts == other.facts
    again = adopted(tmp_path / "again", rows).manifest
    assert again == one


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.fixed_dictionaries(
            {"text": st.text(st.characters(exclude_categories=["Cs"]))},
            optional={
                "n": st.integers(min_value=-(2**63), max_value=2**63 - 1),
                "list": st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
                "turns": st.lists(st.fixed_dictionaries({"from": st.text("ab"), "value": st.text("سلام\n")})),
                "flag": st.booleans(),
                "score": st.floats(allow_nan=False, allow_infinity=False),
            },
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_any_rows_of_text_survive_row_for_row(rows: list[Row], escaped: bool) -> None:
    columns = {column: None for row in rows for column in row}
    with tempfile.TemporaryDirectory() as folder:
        lines = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows)
        write(Path(folder) / "raw", {"train.jsonl": lines.encode()})
        bundle = adopt(Path(folder) / "raw", kind="dataset", out=Path(folder) / "out").bundle
        assert rows_of(bundle) == [{**columns, **row} for row in rows]
        bundle.verify(rehash=True)


def test_hidden_files_and_the_card_are_left_out_and_named(tmp_path: Path) -> None:
    raw = write(
        tmp_path / "raw",
        {
            "train.jsonl": b'{"a": 1}\n',
            "README.md": b"# old card",
            "notes/README.md": b"stays",
            "LICENSE": b"stays",
            ".gitattributes": b"",
            ".git/config": b"",
            "notes/.DS_Store": b"",
            ".venv/bin/tool": b"",
        },
    )
    (raw / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    (raw / ".env").symlink_to("/dev/null")
    result = adopt(raw, kind="dataset", out=tmp_path / "out")
    assert result.left_out == (".env", ".git", ".gitattributes", ".venv", "README.md", "notes/.DS_Store")
    paths = [entry.path for entry in result.bundle.manifest.files]
    assert paths == ["LICENSE", "data/train-00000-of-00001.parquet", "notes/README.md"]


HOSTILE: dict[str, Callable[[Path], object]] = {
    "escape is a symbolic link": lambda raw: (raw / "escape").symlink_to("/etc/hostname"),
    "folder is a symbolic link": lambda raw: (raw / "folder").symlink_to("/etc"),
    "gone is a symbolic link": lambda raw: (raw / "gone").symlink_to("nowhere"),
    "pipe is not a regular file": lambda raw: os.mkfifo(raw / "pipe"),
    "cannot be a file on Windows": lambda raw: (raw / "a\\b").write_text(""),
    "has a control": lambda raw: (raw / "a\nb").write_text(""),
    "invisible character": lambda raw: (raw / "a\u202eb").write_text(""),
    "not in Unicode form NFC": lambda raw: (raw / "e\u0301").write_text(""),
    "NOTES and notes differ only in case": lambda raw: ((raw / "NOTES").write_text(""), (raw / "notes").write_text("")),
    "control or invisible": lambda raw: Path(os.fsdecode(os.fsencode(raw) + b"/\xff")).write_text(""),
}


@pytest.mark.parametrize("reason", HOSTILE)
@pytest.mark.parametrize("kind", ["dataset", "model", "space"])
def test_links_and_hostile_names_are_refused(tmp_path: Path, reason: str, kind: Kind) -> None:
    raw = write(tmp_path / "raw", {"train.jsonl": b'{"a": 1}\n'})
    HOSTILE[reason](raw)
    with pytest.raises(PayloadInvalid, match=reason) as caught:
        adopt(raw, kind=kind, out=tmp_path / "out")
    assert "rename" in caught.value.fix
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [b"\xff", b"\x1b[31mred"])
def test_a_name_that_cannot_be_printed_is_refused_in_print(tmp_path: Path, name: bytes) -> None:
    raw = write(tmp_path / "raw", {"train.jsonl": b'{"a": 1}\n'})
    Path(os.fsdecode(os.fsencode(raw) + b"/" + name)).symlink_to("/etc/hostname")
    run = factories.hala_release("adopt", "raw", "--kind", "dataset", "--out", "out", "--json", cwd=tmp_path)
    assert run.returncode == 3, run.stderr
    message = json.loads(run.stdout)["error"]["message"]
    assert "is a symbolic link" in message
    assert "\x1b" not in message


def test_a_directory_that_cannot_be_read_is_not_passed_over() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        place = Path(folder)
        write(place / "raw", {"config.json": b"{}", "more/model.safetensors": b""})
        place.chmod(0o777)
        (place / "raw" / "more").chmod(0)
        user = os.geteuid()
        os.seteuid(65534 if user == 0 else user)  # root may read everything
        try:
            with pytest.raises(PermissionError, match="more"):
                adopt(place / "raw", kind="model", out=place / "out")
        finally:
            os.seteuid(user)
            (place / "raw" / "more").chmod(0o755)
        assert not (place / "out").exists()


def test_a_space_keeps_its_card_and_says_what_it_runs_on(tmp_path: Path) -> None:
    card = b"---\nsdk: gradio\nsdk_version: 5.49.1\napp_file: main.py\n---\n# Hi\n"
    raw = write(tmp_path / "raw", {"README.md": card, "main.py": b"", "requirements.txt": b""})
    bundle = adopt(raw, kind="space", out=tmp_path / "out").bundle
    assert bundle.manifest.facts == SpaceFacts(sdk="gradio", sdk_version="5.49.1", app_file="main.py")
    assert (bundle.files / "README.md").read_bytes() == card


SPACES: dict[str, tuple[dict[str, bytes], str]] = {
    "no card": ({"app.py": b""}, "has no README.md"),
    "no sdk": ({"README.md": b"# Hi\n"}, "names the sdk None"),
    "sdk of another kind": ({"README.md": b"---\nsdk: [gradio]\n---\n"}, "names the sdk \\['gradio'\\]"),
    "no app": ({"README.md": b"---\nsdk: gradio\n---\n"}, "has no app.py"),
    "app is no text": ({"README.md": b"---\nsdk: static\napp_file: 5\n---\n"}, "names the app_file 5"),
    "not UTF-8": ({"README.md": b"---\nsdk: static\n---\n\xff"}, "README.md is not UTF-8"),
    "not YAML": ({"README.md": b"---\nsdk: [\n---\n"}, "YAML block cannot be read"),
    "no such day": ({"README.md": b"---\nsdk: static\nday: 2024-02-31\n---\n"}, "YAML block cannot be read"),
    "a list": ({"README.md": b"---\n- sdk\n---\n"}, "not a mapping"),
}


@pytest.mark.parametrize(("files", "reason"), SPACES.values(), ids=SPACES)
def test_a_space_that_cannot_start_is_refused(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(PayloadInvalid, match=reason):
        adopt(write(tmp_path / "raw", files), kind="space", out=tmp_path / "out")


def test_configurations_and_splits_come_from_folders_and_names(tmp_path: Path) -> None:
    row = b'{"a": 1}\n'
    raw = write(
        tmp_path / "raw",
        {
            "train.jsonl": row * 2,
            "data/test.jsonl": row,
            "ar/train.jsonl": row * 3,
            "en-US/train/0000.parquet": parquet(a=[1]),
            "en-US/train/0001.parquet": parquet(a=[2]),
            "en-US/dev.jsonl": row,
        },
    )
    found = facts_of(adopt(raw, kind="dataset", out=tmp_path / "out").bundle)
    assert {
        config.name: {split.name: (split.rows, split.files) for split in config.splits} for config in found.configs
    } == {
        "ar": {"train": (3, ("ar/train-00000-of-00001.parquet",))},
        "default": {
            "test": (1, ("data/test-00000-of-00001.parquet",)),
            "train": (2, ("data/train-00000-of-00001.parquet",)),
        },
        "en-US": {
            "dev": (1, ("en-US/dev-00000-of-00001.parquet",)),
            "train": (2, ("en-US/train/0000.parquet", "en-US/train/0001.parquet")),
        },
    }


def test_a_folder_named_like_a_split_is_that_split(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {"data/train/0.parquet": parquet(a=[1]), "test/0.parquet": parquet(a=[2])})
    (config,) = facts_of(adopt(raw, kind="dataset", out=tmp_path / "out").bundle).configs
    assert (config.name, [split.name for split in config.splits]) == ("default", ["test", "train"])


def test_rows_of_a_model_cannot_be_sorted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a model has no rows to sort"):
        adopt(factories.write_model(tmp_path / "raw"), kind="model", out=tmp_path / "out", sort_by="id")


def test_long_rows_are_read_and_written_a_few_at_a_time(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"{n}" * (jsonl.BATCH_BYTES // 3)} for n in range(4)]
    written, _ = shards.write_shards(
        factories.write_rows(tmp_path / "train.jsonl", rows[::-1]), tmp_path, stem="train", scratch=tmp_path
    )
    assert [row for shard in written for row in pq.read_table(shard).to_pylist()] == rows


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("alpaca-ar-50k.jsonl", "train"),
        ("train.jsonl", "train"),
        ("test.jsonl", "test"),
        ("validation.jsonl.gz", "validation"),
    ],
)
def test_one_file_is_train_unless_its_name_is_a_split(tmp_path: Path, name: str, split: str) -> None:
    data = b'{"a": 1}\n'
    raw = write(tmp_path / "raw", {name: gzip.compress(data) if name.endswith(".gz") else data})
    for number, source in enumerate((raw, raw / name)):
        bundle = adopt(source, kind="dataset", out=tmp_path / f"out{number}").bundle
        assert [found.name for found in facts_of(bundle).configs[0].splits] == [split]


def test_parquet_is_copied_byte_for_byte(tmp_path: Path) -> None:
    data = parquet(a=[3, 1, 2])
    raw = write(tmp_path / "raw", {"data/train-00000-of-00001.parquet": data})
    bundle = adopt(raw, kind="dataset", out=tmp_path / "out").bundle
    assert (bundle.files / "data/train-00000-of-00001.parquet").read_bytes() == data
    assert facts_of(bundle).configs[0].features == ({"name": "a", "dtype": "int64"},)


def _datasets() -> dict[str, tuple[dict[str, bytes], str]]:
    one, text, row = parquet(a=[1]), parquet(a=["x"]), b'{"a": 1}\n'
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    keys = pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    return {
        "nothing": ({}, "no Parquet or JSON lines file; there is nothing"),
        "CSV only": ({"train.csv": b"a\n1\n"}, "no Parquet or JSON lines file; there is train.csv"),
        "a script": ({"train.jsonl": row, "corpus.py": b""}, "a dataset with code: corpus.py"),
        "another schema": (
            {"data/train-00000-of-00002.parquet": one, "data/train-00001-of-00002.parquet": text},
            "00001-of-00002.parquet has another schema than .*\n  column a: int64 there, string here",
        ),
        "another schema in another split": (
            {"train.parquet": one, "test.parquet": parquet(a=[1], b=[1])},
            "another schema .*\n  column b: int64 there, absent here|\n  column b: absent there, int64 here",
        ),
        "a missing shard": ({"train-00000-of-00003.parquet": one}, "lacks 2 of 3 shards, the first is number 1"),
        "a shard too many": (
            {"train-00000-of-00001.parquet": one, "train-00001-of-00001.parquet": one},
            "2 shards of a set of 1",
        ),
        "a shard twice": (
            {"data/train-00000-of-00001.parquet": one, "train-00000-of-00001.parquet": one},
            "2 shards of a set of 1",
        ),
        "two sets": (
            {"train-00000-of-00001.parquet": one, "train-00000-of-00002.parquet": one},
            "mixes shards of different sets",
        ),
        "cut at the end": ({"train.parquet": one[:-5]}, "train.parquet is not a whole Parquet file"),
        "cut in the middle": ({"train.parquet": one[: len(one) // 2]}, "train.parquet is not a whole Parquet file"),
        "an empty file": ({"train.parquet": b""}, "train.parquet is not a whole Parquet file"),
        "two columns of one name": ({"train.parquet": as_parquet(table)}, "two columns of one name"),
        "a type that cannot be loaded": ({"train.parquet": as_parquet(keys)}, "`datasets` cannot load: .*map"),
        "one split in two formats": ({"train.jsonl": row, "train.parquet": one}, "are both split train of .* default"),
        "one split in two files": ({"train.jsonl": row, "data/train.jsonl": row}, "are both split train"),
        "no split to be seen": ({"train.jsonl": row, "en-ar.jsonl": row}, "en-ar.jsonl: cannot tell its split"),
        "too deep": ({"a/b/c/train.jsonl": row}, "a/b/c/train.jsonl: cannot tell its split"),
        "a split that cannot be loaded": (
            {"ar/my-split/0.parquet": one},
            "ar/my-split/0.parquet: cannot tell its split",
        ),
        "a pattern as file name": ({"ar/test/part[1].parquet": one}, "cannot tell its split"),
        "every split as a split": ({"all.parquet": one}, "all.parquet: cannot tell its split"),
        "labels in another order": (
            {"train.parquet": labelled("neg", "pos"), "test.parquet": labelled("pos", "neg")},
            "says otherwise than test.parquet what its columns mean",
        ),
        "metadata of another shape": (
            {"train.parquet": as_parquet(pa.table({"a": [1]}).replace_schema_metadata({"huggingface": '{"info": 3}'}))},
            "`datasets` cannot load",
        ),
        "a pattern as configuration": ({"[a]/train.jsonl": row}, "a configuration cannot be called '\\[a\\]'"),
        "code as configuration": ({"a'b/train.parquet": one}, "a configuration cannot be called"),
        "gzip cut off": ({"train.jsonl.gz": gzip.compress(row * 99)[:-9]}, "train.jsonl.gz is not a whole gzip file"),
        "gzip in name only": ({"train.jsonl.gz": row}, "train.jsonl.gz is not a whole gzip file"),
        "gzip damaged": ({"train.jsonl.gz": gzip.compress(b"")[:10] + b"\xff" * 30}, "is not a whole gzip file"),
    }


def labelled(*names: str) -> bytes:
    from datasets import ClassLabel, Features

    schema = Features(label=ClassLabel(names=list(names))).arrow_schema
    return as_parquet(pa.table({"label": [0, 1]}, schema=schema))


def parquet(**columns: Iterable[object]) -> bytes:
    return as_parquet(pa.table({name: list(values) for name, values in columns.items()}))


def as_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize(("files", "reason"), _datasets().values(), ids=_datasets())
def test_a_dataset_that_would_not_load_is_refused(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(PayloadInvalid, match=reason) as caught:
        adopt(write(tmp_path / "raw", files), kind="dataset", out=tmp_path / "out")
    assert caught.value.fix
    assert ".partial" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    before = adopted(tmp_path, [{"a": 1}])
    with pytest.raises(ConfigError, match="out exists"):
        adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="file exists"):
        adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "file")
    before.verify(rehash=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_workspace_of_somebody_else_is_not_cleared(tmp_path: Path) -> None:
    write(tmp_path / "out.partial", {"thesis.tex": b"years of work"})
    with pytest.raises(ConfigError, match=r"out\.partial holds what `adopt` did not write: thesis.tex"):
        adopted(tmp_path, [{"a": 1}])
    assert (tmp_path / "out.partial" / "thesis.tex").read_bytes() == b"years of work"


@pytest.mark.parametrize("out", [".", "..", "x/.."])
def test_a_bundle_needs_a_name(tmp_path: Path, out: str) -> None:
    factories.write_rows(tmp_path / "raw" / "train.jsonl", [{"a": 1}])
    (tmp_path / "here").mkdir()
    run = factories.hala_release("adopt", "../raw", "--kind", "dataset", "--out", out, cwd=tmp_path / "here")
    assert run.returncode == 2, run.stderr
    assert "fix:" in run.stderr


def test_an_empty_directory_can_become_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    adopted(tmp_path, [{"a": 1}]).verify()


@pytest.mark.parametrize(("source", "reason"), [("nowhere", "does not exist"), ("out", "is a bundle already")])
def test_what_is_not_there_or_sealed_already_is_not_adopted(tmp_path: Path, source: str, reason: str) -> None:
    adopted(tmp_path, [{"a": 1}])
    with pytest.raises(ConfigError, match=reason):
        adopt(tmp_path / source, kind="dataset", out=tmp_path / "again")


def test_two_at_once_leave_one_whole_bundle(tmp_path: Path) -> None:
    write_many(tmp_path / "raw" / "train.jsonl", 30_000)
    one = start(tmp_path)
    wait_for(lambda: (tmp_path / "out.partial" / "files" / "data").exists(), one)
    with pytest.raises(ContractError, match="another process is writing"):
        adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "out")
    assert one.wait(60) == 0
    bundle = Bundle.open(tmp_path / "out")
    bundle.verify(rehash=True)
    assert facts_of(bundle).rows == 30_000


@pytest.mark.parametrize("moment", ["files", "files/data/train.0.partial"])
def test_a_kill_leaves_no_bundle_and_the_next_run_makes_it(tmp_path: Path, moment: str) -> None:
    write_many(tmp_path / "raw" / "train.jsonl", 40_000)
    process = start(tmp_path)
    wait_for(lambda: (tmp_path / "out.partial" / moment).exists(), process)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial" / "files").exists()
    bundle = adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "out").bundle
    bundle.verify(rehash=True)
    assert facts_of(bundle).rows == 40_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    write_many(tmp_path / "raw" / "train.jsonl", 40_000)
    process = start(tmp_path)
    wait_for((tmp_path / "out.partial").exists, process)  # its first step: there is enough left to be interrupted
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_a_full_disk_leaves_nothing_and_is_said(tmp_path: Path) -> None:
    write_many(tmp_path / "raw" / "train.jsonl", 20_000)
    command = f"ulimit -f 200; exec {sys.executable} -m hala_release adopt raw --kind dataset --out out"
    run = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1, run.stderr
    assert "File too large" in run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def start(place: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hala_release", "adopt", "raw", "--kind", "dataset", "--out", "out", "--quiet"]
    return subprocess.Popen(command, cwd=place)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def write_many(path: Path, count: int) -> None:
    letters = random.Random(1).choices(string.ascii_letters, k=1000)
    text = "".join(letters)
    factories.write_rows(path, ({"id": n, "text": text[n % 800 :] + str(n * n)} for n in range(count)))


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def adopted(place: Path, rows: list[Row], *, sort_by: str | None = None) -> Bundle:
    factories.write_rows(place / "raw" / "train.jsonl", rows)
    return adopt(place / "raw", kind="dataset", out=place / "out", sort_by=sort_by).bundle


def facts_of(bundle: Bundle) -> DatasetFacts:
    assert isinstance(bundle.manifest.facts, DatasetFacts)
    return bundle.manifest.facts


def only_config(bundle: Bundle) -> ConfigFacts:
    (config,) = facts_of(bundle).configs
    return config


def rows_of(bundle: Bundle) -> list[Row]:
    """Every row of the only split, read with pyarrow."""
    (split,) = only_config(bundle).splits
    return [row for path in split.files for row in pq.read_table(bundle.files / path).to_pylist()]


def loaded(bundle: Bundle, scratch: Path) -> list[Row]:
    """Every row of the only split, read with `datasets`."""
    from datasets import load_dataset

    (split,) = only_config(bundle).splits
    files = [str(bundle.files / path) for path in split.files]
    return list(load_dataset("parquet", data_files=files, split="train", cache_dir=str(scratch / "cache")))
