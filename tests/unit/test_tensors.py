"""Safetensors headers: what is whole is counted, what lies is refused."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import save

from hala_release.errors import PayloadInvalid
from hala_release.payload.tensors import read_header, read_tensors
from tests import factories

TORCH = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.uint16: "U16", torch.int16: "I16",
    torch.uint32: "U32", torch.int32: "I32", torch.uint64: "U64", torch.int64: "I64", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64",
}  # fmt: skip
"""What the library writes from, and the names in its headers."""

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda n: n != "__metadata__")
shapes = st.lists(st.integers(min_value=0, max_value=4), max_size=3)
checkpoints = st.dictionaries(names, st.tuples(st.sampled_from(list(TORCH)), shapes), max_size=5)
Checkpoint = dict[str, tuple[torch.dtype, list[int]]]
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
metadata = st.none() | st.dictionaries(names, text, min_size=1, max_size=3)  # 0.8.0 cannot read its own empty metadata


def written(checkpoint: Checkpoint, about: dict[str, str] | None) -> bytes:
    """The bytes that the real library writes."""
    return save({name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in checkpoint.items()}, about)


@settings(deadline=None)
@given(checkpoints, metadata)
def test_whatever_the_library_writes_is_read_and_counted(checkpoint: Checkpoint, about: dict[str, str] | None) -> None:
    header = header_of(written(checkpoint, about))
    assert {name: (tensor.dtype, list(tensor.shape)) for name, tensor in header.items()} == {
        name: (TORCH[dtype], shape) for name, (dtype, shape) in checkpoint.items()
    }
    for name, (dtype, shape) in checkpoint.items():
        assert header[name].elements == math.prod(shape)
        assert header[name].size == math.prod(shape) * dtype.itemsize


@settings(deadline=None)
@given(checkpoints, st.data())
def test_any_truncation_is_refused(checkpoint: Checkpoint, data: st.DataObject) -> None:
    whole = written(checkpoint, None)
    length = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    with pytest.raises(PayloadInvalid):
        header_of(whole[:length])


@given(st.binary(max_size=64))
def test_what_the_library_refuses_is_refused(data: bytes) -> None:
    try:
        header_of(data)
    except PayloadInvalid:
        return
    tensors_by_the_library(data)


def entry(dtype: str = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS: dict[str, tuple[object, int, str]] = {
    "unknown dtype": ({"a": entry("F128")}, 4, "unknown dtype 'F128'"),
    "dtype of another kind": ({"a": {**entry(), "dtype": ["U8"]}}, 4, "broken safetensors header"),
    "no dtype": ({"a": {"shape": [4], "data_offsets": [0, 4]}}, 4, "a tensor has the keys"),
    "a number for a tensor": ({"a": 4}, 4, "broken safetensors header"),
    "null for a tensor": ({"a": None}, 4, "broken safetensors header"),
    "negative offset": ({"a": entry(offsets=[-4, 0])}, 0, "not a whole number"),
    "negative shape": ({"a": entry(shape=[-2, -2])}, 4, "not a whole number"),
    "fraction": ({"a": entry(shape=[4.0])}, 4, "not a whole number"),
    "truth": ({"a": entry(shape=[4, True])}, 4, "not a whole number"),
    "shape is text": ({"a": entry(shape="4")}, 4, "broken safetensors header"),
    "three offsets": ({"a": entry(offsets=[0, 2, 4])}, 4, "broken safetensors header"),
    "offsets the wrong way": ({"a": entry(offsets=[4, 0])}, 4, "tensor a lies at bytes 4-0"),
    "offsets of another size": ({"a": entry(offsets=[0, 5])}, 5, "tensor a lies at bytes 0-5, expected 0-4"),
    "overlap": ({"a": entry(), "b": entry(offsets=[2, 6])}, 6, "tensor b lies at bytes 2-6, expected 4-8"),
    "the same bytes twice": ({"a": entry(), "b": entry()}, 4, "tensor b lies at bytes 0-4, expected 4-8"),
    "gap": ({"a": entry(), "b": entry(offsets=[5, 9])}, 9, "tensor b lies at bytes 5-9, expected 4-8"),
    "gap at the start": ({"a": entry(offsets=[1, 5])}, 5, "tensor a lies at bytes 1-5, expected 0-4"),
    "trailing bytes": ({"a": entry()}, 5, "has \\d+ bytes, its header describes"),
    "missing bytes": ({"a": entry()}, 3, "has \\d+ bytes, its header describes"),
    "half a byte": ({"a": entry("F4", [3], [0, 2])}, 2, "3 elements of F4 do not fill whole bytes"),
    "metadata of numbers": ({"__metadata__": {"rank": 8}, "a": entry()}, 4, "`__metadata__`"),
    "a list": ([entry()], 4, "broken safetensors header"),
    "text": ("header", 0, "broken safetensors header"),
}


@pytest.mark.parametrize(("header", "size", "reason"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_lies_is_refused(header: object, size: int, reason: str) -> None:
    data = framed(json.dumps(header).encode(), size)
    with pytest.raises(PayloadInvalid, match=rf"^w\.safetensors\b.*{reason}") as caught:
        header_of(data)
    assert "again" in caught.value.fix
    with pytest.raises(SafetensorError):
        tensors_by_the_library(data)


def test_a_further_key_of_a_tensor_is_refused() -> None:
    with pytest.raises(PayloadInvalid, match=r"a tensor has the keys .*'stride'"):
        header_of(framed(json.dumps({"a": {**entry(), "stride": 1}}).encode(), 4))


TEXTS = {
    "not JSON": b'{"a": ',
    "not UTF-8": b'{"\xff": 1}',
    "UTF-16": "{}".encode("utf-16"),
    "too deep": b'{"a": ' + b"[" * 100_000,
    "a key twice": b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, '
    b'"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}',
    "empty": b"",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_header_that_cannot_be_read_is_refused(text: bytes) -> None:
    with pytest.raises(PayloadInvalid, match="broken safetensors header"):
        header_of(framed(text, 0))


@pytest.mark.parametrize("length", [3, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(length: int) -> None:
    with pytest.raises(PayloadInvalid, match="its header does not fit in 10 bytes"):
        header_of(length.to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize("size", range(8))
def test_a_file_shorter_than_its_first_number_is_refused(size: int) -> None:
    with pytest.raises(PayloadInvalid, match="its header does not fit"):
        header_of(bytes(size))


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("F8_E4M3", [3, 5], 15), ("F8_E5M2", [7], 7), ("F8_E8M0", [2], 2), ("F4", [4, 3], 6), ("F6_E2M3", [4], 3)],
)
def test_small_numbers_are_counted_by_element(dtype: str, shape: list[int], size: int, tmp_path: Path) -> None:
    file = factories.write_tensors(tmp_path / "w.safetensors", {"a": (dtype, shape)})
    tensor = read_header(file, "w.safetensors")["a"]
    assert (tensor.elements, tensor.size) == (math.prod(shape), size)
    assert tensors_by_the_library(file.read_bytes()) == ["a"]


def two_shards(root: Path) -> dict[str, Any]:
    """Write two shards and return the index that fits them."""
    factories.write_tensors(root / "model-00001-of-00002.safetensors", {"a": ("BF16", (2, 2)), "b": ("F32", (3,))})
    factories.write_tensors(root / "model-00002-of-00002.safetensors", {"c": ("BF16", (5,))})
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    return {"metadata": {"total_size": 30}, "weight_map": {"a": first, "b": first, "c": second}}


def read_two(root: Path, index: object) -> dict[str, Any]:
    paths = [path.name for path in root.iterdir()]
    if index is not None:
        (root / "model.safetensors.index.json").write_text(json.dumps(index))
        paths.append("model.safetensors.index.json")
    return dict(read_tensors(root, paths))


def test_shards_with_their_index_are_one_model(tmp_path: Path) -> None:
    found = read_two(tmp_path, two_shards(tmp_path))
    assert {name: tensor.elements for name, tensor in found.items()} == {"a": 4, "b": 3, "c": 5}


def test_shards_without_an_index_are_refused(tmp_path: Path) -> None:
    two_shards(tmp_path)
    with pytest.raises(PayloadInvalid, match="2 safetensors files but no index"):
        read_two(tmp_path, None)


def test_an_index_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    index = two_shards(tmp_path)
    del index["weight_map"]["b"]
    with pytest.raises(PayloadInvalid, match="disagree on 1 tensors, the first is b"):
        read_two(tmp_path, index)


def test_an_index_that_names_another_file_is_refused(tmp_path: Path) -> None:
    index = two_shards(tmp_path)
    index["weight_map"]["d"] = "model-00003-of-00003.safetensors"
    with pytest.raises(PayloadInvalid, match="names files that are not there: model-00003-of-00003"):
        read_two(tmp_path, index)


def test_an_index_that_looks_in_the_wrong_shard_is_refused(tmp_path: Path) -> None:
    index = two_shards(tmp_path)
    index["weight_map"]["a"] = index["weight_map"]["c"]
    with pytest.raises(PayloadInvalid, match="disagree on 1 tensors, the first is a"):
        read_two(tmp_path, index)


@pytest.mark.parametrize(
    "index", [{}, [], {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": ["x"]}}, {"weight_map": None}]
)
def test_what_is_no_index_is_refused(tmp_path: Path, index: object) -> None:
    two_shards(tmp_path)
    with pytest.raises(PayloadInvalid, match=r"model\.safetensors\.index\.json is not an index"):
        read_two(tmp_path, index)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    index = two_shards(tmp_path)
    factories.write_tensors(tmp_path / "model-00002-of-00002.safetensors", {"a": ("BF16", (5,))})
    with pytest.raises(PayloadInvalid, match=r"tensor a is in model-00001-of-00002\S* and in model-00002"):
        read_two(tmp_path, index)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    index = two_shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(PayloadInvalid, match="names files that are not there: model-00002-of-00002"):
        read_two(tmp_path, index)


def tensors_by_the_library(data: bytes) -> list[str]:
    return [name for name, _ in deserialize(data)]  # type: ignore[no-untyped-call]


def header_of(data: bytes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "w.safetensors"
        file.write_bytes(data)
        return dict(read_header(file, "w.safetensors"))


def framed(header: bytes, size: int) -> bytes:
    return len(header).to_bytes(8, "little") + header + bytes(size)
