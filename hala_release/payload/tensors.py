"""Safetensors headers, checked against the file: what a truncated or edited checkpoint cannot pass.

Format: https://huggingface.co/docs/safetensors/index (8 bytes little-endian length, JSON header, tensor bytes).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from hala_release.errors import PayloadInvalid

HEADER_LIMIT = 100_000_000
"""Bytes; the limit of the safetensors library itself."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of one element by dtype name."""

_FIX = "save or copy the checkpoint again"


class Tensor(NamedTuple):
    """One tensor as its header describes it."""

    dtype: str
    shape: tuple[int, ...]
    size: int
    """Bytes."""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_header(file: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        PayloadInvalid: length, JSON, dtypes, shapes or offsets are wrong, or the file is not exactly as long as they
            say; the message starts with `name`.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(HEADER_LIMIT, size - 8):
            raise PayloadInvalid(
                f"{name} is not a whole safetensors file: its header does not fit in {size:,} bytes", fix=_FIX
            )
        header = stream.read(length)
    try:
        document = json.loads(header.decode(), object_pairs_hook=_no_repeats)
        _all_text(document.get("__metadata__", {}), "`__metadata__`")
        entries = {key: _entry(value) for key, value in document.items() if key != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PayloadInvalid(f"{name} has a broken safetensors header: {error}", fix=_FIX) from error
    end = 0
    for key, (tensor, begin, stop) in sorted(entries.items(), key=lambda item: item[1][1:]):
        if begin != end or stop - begin != tensor.size:
            raise PayloadInvalid(
                f"{name}: tensor {key} lies at bytes {begin}-{stop}, expected {end}-{end + tensor.size}", fix=_FIX
            )
        end = stop
    if 8 + length + end != size:
        raise PayloadInvalid(f"{name} has {size:,} bytes, its header describes {8 + length + end:,}", fix=_FIX)
    return {key: tensor for key, (tensor, _, _) in entries.items()}


def read_tensors(files: Path, paths: list[str]) -> dict[str, Tensor]:
    """Return the tensors of all safetensors files of a model, checked against `*.safetensors.index.json`.

    Raises:
        PayloadInvalid: no weights, a tensor in two files, or an index that names other tensors or files than there are.
    """
    weights = sorted(path for path in paths if path.endswith(".safetensors"))
    if not weights:
        raise PayloadInvalid("no .safetensors file among the model's files", fix="save the model with save_pretrained")
    where: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for path in weights:
        for key, tensor in read_header(files / path, path).items():
            if key in where:
                raise PayloadInvalid(f"tensor {key} is in {where[key]} and in {path}", fix="keep one set of weights")
            where[key] = path
            tensors[key] = tensor
    indexes = [path for path in paths if path.endswith(".safetensors.index.json")]
    if len(weights) > 1 and not indexes:
        raise PayloadInvalid(f"{len(weights)} safetensors files but no index", fix=_FIX)
    for path in indexes:
        _index_agrees(files / path, path, where)
    return tensors


def _entry(value: dict[str, Any]) -> tuple[Tensor, int, int]:
    if set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"a tensor has the keys {sorted(value)}")
    shape = value["shape"]
    begin, stop = value["data_offsets"]
    if any(type(number) is not int or number < 0 for number in [*shape, begin, stop]):
        raise ValueError("a shape or an offset is not a whole number")
    if value["dtype"] not in BITS:
        raise ValueError(f"unknown dtype {value['dtype']!r}")
    bits = math.prod(shape) * BITS[value["dtype"]]
    if bits % 8:
        raise ValueError(f"{math.prod(shape)} elements of {value['dtype']} do not fill whole bytes")
    return Tensor(value["dtype"], tuple(shape), bits // 8), begin, stop


def _all_text(mapping: dict[str, Any], what: str) -> None:
    if not all(isinstance(value, str) for value in mapping.values()):
        raise ValueError(f"{what} holds something else than text")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key appears twice")
    return document


def _index_agrees(file: Path, name: str, where: dict[str, str]) -> None:
    folder = name.rpartition("/")[0]
    try:
        listed = json.loads(file.read_bytes())["weight_map"]
        _all_text(listed, "`weight_map`")
        expected = {key: f"{folder}/{shard}" if folder else shard for key, shard in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PayloadInvalid(f"{name} is not an index of weights: {error}", fix=_FIX) from error
    if missing := sorted(set(expected.values()) - set(where.values())):
        raise PayloadInvalid(f"{name} names files that are not there: {', '.join(missing[:4])}", fix=_FIX)
    if expected != where:
        wrong = sorted(key for key in {*expected, *where} if expected.get(key) != where.get(key))
        raise PayloadInvalid(
            f"{name} and the files disagree on {len(wrong)} tensors, the first is {wrong[0]}", fix=_FIX
        )
