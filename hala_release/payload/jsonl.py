"""JSON lines, read twice: once for the schema, the sort keys and where each line begins; then the rows in order.

So memory holds one batch of rows and one key per row, never the data. Strings stay strings: nothing that looks like a
date becomes one. What JSON cannot say exactly is refused: a key twice in one object, infinity, not-a-number.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from hala_release.errors import PayloadInvalid
from hala_release.talk import Talk

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

BATCH_ROWS = 10_000
BATCH_BYTES = 64_000_000
"""Bytes of lines that are held at once; a longer line is a batch of its own."""
TALK_ROWS = 500_000

Row = dict[str, Any]

_FIX_ROW = "mend the line, or drop it, and run the command again"
_MISFIT = (pa.ArrowException, OverflowError, UnicodeError, TypeError)


class Survey(NamedTuple):
    """What the first reading found."""

    schema: pa.Schema
    offsets: array[int]
    """Where each row's line begins, in bytes."""
    keys: pa.Array | None
    """What rows are ordered by; None where they keep their order."""

    @property
    def order(self) -> Sequence[int]:
        """Numbers of the rows, in the order in which they are to be written."""
        return range(len(self.offsets)) if self.keys is None else pc.sort_indices(self.keys).to_numpy()


def unpacked(source: Path, scratch: Path) -> Path:
    """Return a file of plain lines: `source` itself, or its content in `scratch` where it is gzip."""
    if not source.name.endswith(".gz"):
        return source
    scratch.mkdir(parents=True, exist_ok=True)
    plain = scratch / source.name.removesuffix(".gz")
    with plain.open("wb") as target:
        try:
            with gzip.open(source) as packed:
                while piece := packed.read(1 << 20):
                    target.write(piece)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            fix = "copy the file again"
            raise PayloadInvalid(f"{source.name} is not a whole gzip file: {error}", fix=fix) from error
    return plain


def survey(lines: IO[bytes], name: str, sort_by: str | None, talk: Talk) -> Survey:
    """Read every line once.

    Args:
        name: what errors call the file.
        sort_by: the column to order by; where it is None, `id` is taken if every row has one.

    Raises:
        PayloadInvalid: a line that is not a JSON object, columns whose types do not fit, no rows. Names the line.
    """
    schema = pa.schema([])
    offsets = array("q")
    keys: list[Any] | None = []
    for numbers, rows in _batches(lines, name, offsets):
        schema = _widen(schema, rows, name, numbers)
        if len(offsets) // TALK_ROWS > (len(offsets) - len(rows)) // TALK_ROWS:
            talk(f"read {len(offsets):,} rows of {name}")
        if keys is not None:
            keys = _extend_keys(keys, rows, sort_by or "id")
        if keys is None and sort_by:
            raise PayloadInvalid(
                f"{name}: by line {numbers[-1]} a row has no string or whole number in {sort_by!r}",
                fix="sort by a column that every row has",
            )
    if not offsets:
        raise PayloadInvalid(f"{name} has no rows", fix="drop the file or add rows")
    return Survey(schema, offsets, None if keys is None else pa.array(keys))


def batches_in_order(lines: IO[bytes], surveyed: Survey) -> Iterator[list[Row]]:
    """Yield the rows again, in order, some at a time."""
    batch: list[Row] = []
    size = 0
    for index in surveyed.order:
        lines.seek(surveyed.offsets[index])
        line = lines.readline()
        batch.append(_decoded(line))
        size += len(line)
        if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def natural_key(text: str) -> str:
    """Return a string that sorts `text` with runs of digits by value: a run is led by its length."""
    return re.sub(r"[0-9]+", _with_length, text)


def _with_length(match: re.Match[str]) -> str:
    digits = match.group().lstrip("0") or "0"
    return f"{len(digits)}{digits}" if len(digits) < 9 else f"9{len(digits):09d}{digits}"


def _extend_keys(keys: list[Any], rows: list[Row], column: str) -> list[Any] | None:
    found = [row.get(column) for row in rows]
    kind = type(keys[0] if keys else found[0])
    if kind not in (str, int) or any(type(key) is not kind for key in found):
        return None
    keys.extend(map(natural_key, found) if kind is str else found)  # type: ignore[arg-type]
    return keys


def _batches(lines: IO[bytes], name: str, offsets: array[int]) -> Iterator[tuple[list[int], list[Row]]]:
    """Yield (line numbers, rows), and note in `offsets` where each row's line begins."""
    rows: list[Row] = []
    numbers: list[int] = []
    position = size = 0
    for number, line in enumerate(lines, 1):
        start, position = position, position + len(line)
        if line.isspace():
            continue
        rows.append(_row(line, name, number))
        numbers.append(number)
        offsets.append(start)
        size += len(line)
        if len(rows) == BATCH_ROWS or size >= BATCH_BYTES:
            yield numbers, rows
            rows, numbers, size = [], [], 0
    if rows:
        yield numbers, rows


def _row(line: bytes, name: str, number: int) -> Row:
    try:
        row = _decoded(line)
    except RecursionError as error:
        raise PayloadInvalid(f"{name}, line {number}: nested too deeply", fix=_FIX_ROW) from error
    except ValueError as error:
        raise PayloadInvalid(f"{name}, line {number}: not JSON: {error}", fix=_FIX_ROW) from error
    if not isinstance(row, dict) or not row:
        raise PayloadInvalid(f"{name}, line {number}: not a JSON object with columns", fix=_FIX_ROW)
    return row


def _decoded(line: bytes) -> Any:  # noqa: ANN401
    return _STRICT.decode(line.decode("utf-8-sig"))


def _once(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return row


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _not_a_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_not_a_number)


def _widen(schema: pa.Schema, rows: list[Row], name: str, numbers: list[int]) -> pa.Schema:
    """Return the schema that holds both what was seen and these rows; on a misfit name the first row that brings it."""
    try:
        return _unified(schema, rows)
    except _MISFIT:
        pass  # some row does not fit: go one by one, to name it
    for number, row in zip(numbers, rows, strict=True):
        try:
            schema = _unified(schema, [row])
        except _MISFIT as error:
            raise PayloadInvalid(f"{name}, line {number}: {error}", fix=_FIX_ROW) from error
    return schema


def _unified(schema: pa.Schema, rows: list[Row]) -> pa.Schema:
    columns = dict.fromkeys(column for row in rows for column in row)
    found = pa.schema([(column, pa.array([row.get(column) for row in rows]).type) for column in columns])
    return pa.unify_schemas([schema, found], promote_options="permissive")
