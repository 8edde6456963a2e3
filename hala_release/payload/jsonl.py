"""JSON lines -> sorted Parquet shards, cut where the content says, so that a later version moves few bytes.

Two passes over the file, so that memory holds one batch of rows and one key per row, never the data: the first finds
the schema, the sort keys and where each line begins; the second reads the lines in order and writes. Strings stay
strings: nothing that looks like a date becomes one.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hala_release.errors import PayloadInvalid
from hala_release.talk import Talk, silence

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

# Pages a quarter as long as those of `datasets` 5.2, zstd instead of its snappy, and no dictionaries, whose one page
# changes with any row. `make bench` measures what a second version then moves, beside the settings of `datasets`.
CHUNKING = {"min_chunk_size": 64 * 1024, "max_chunk_size": 256 * 1024, "norm_level": 0}
WRITING = {"compression": "zstd", "use_dictionary": False, "write_page_index": True}
SHARD_BYTES = 500_000_000
ROW_GROUP_BYTES = 100_000_000
BATCH_ROWS = 10_000
TALK_ROWS = 50 * BATCH_ROWS

_FIX_ROW = "mend the line, or drop it, and run the command again"


class _Survey(NamedTuple):
    schema: pa.Schema
    offsets: array[int]
    keys: pa.Array | None


def write_shards(
    source: Path,
    out: Path,
    *,
    stem: str,
    scratch: Path,
    sort_by: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    talk: Talk = silence,
) -> tuple[list[Path], str | None]:
    """Write one split as Parquet shards `stem-00000-of-NNNNN.parquet` under `out`.

    Rows are ordered by the column `sort_by`, digits by their value (`row-9` before `row-10`). Without `sort_by` the
    column `id` is taken where every row has one; else rows keep their order.

    Returns:
        The shards, and the column that they are sorted by.

    Raises:
        PayloadInvalid: a line that is not a JSON object, columns whose types do not fit, no rows. Names the line.
    """
    plain = _plain(source, scratch)
    with plain.open("rb") as lines:
        survey = _survey(lines, source.name, sort_by, talk)
        order: Sequence[int] = range(len(survey.offsets))
        if survey.keys is not None:
            order = pc.sort_indices(survey.keys).to_numpy()
        target = out / stem
        target.parent.mkdir(parents=True, exist_ok=True)
        partials = _write(lines, source.name, survey, order, target, shard_bytes, talk)
    shards = []
    for index, partial in enumerate(partials):
        shard = target.with_name(f"{target.name}-{index:05d}-of-{len(partials):05d}.parquet")
        shards.append(partial.rename(shard))
    return shards, None if survey.keys is None else sort_by or "id"


def natural_key(text: str) -> str:
    """Return a string that sorts `text` with runs of digits by value: a run is led by its length."""
    return re.sub(r"[0-9]+", _with_length, text)


def _with_length(match: re.Match[str]) -> str:
    digits = match.group().lstrip("0") or "0"
    return chr(0x30 + min(len(digits), 9)) + digits if len(digits) < 9 else f"9{len(digits):09d}{digits}"


def _plain(source: Path, scratch: Path) -> Path:
    if not source.name.endswith(".gz"):
        return source
    scratch.mkdir(parents=True, exist_ok=True)
    plain = scratch / source.name.removesuffix(".gz")
    try:
        with gzip.open(source) as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise PayloadInvalid(f"{source.name} is not a whole gzip file: {error}", fix="copy the file again") from error
    return plain


def _survey(lines: IO[bytes], name: str, sort_by: str | None, talk: Talk) -> _Survey:
    schema = pa.schema([])
    offsets = array("q")
    keys: list[Any] | None = []
    column = sort_by or "id"
    for numbers, rows in _batches(lines, name, offsets):
        schema = _widen(schema, rows, name, numbers)
        if len(offsets) % TALK_ROWS == 0:
            talk(f"read {len(offsets):,} rows of {name}")
        if keys is not None:
            keys = _extend_keys(keys, rows, column)
        if keys is None and sort_by:
            raise PayloadInvalid(
                f"{name}: by line {numbers[-1]} a row has no string or whole number in {sort_by!r}",
                fix="sort by a column that every row has",
            )
    if not offsets:
        raise PayloadInvalid(f"{name} has no rows", fix="drop the file or add rows")
    return _Survey(schema, offsets, None if keys is None else pa.array(keys))


def _extend_keys(keys: list[Any], rows: list[dict[str, Any]], column: str) -> list[Any] | None:
    found = [row.get(column) for row in rows]
    kind = type(keys[0]) if keys else (str if isinstance(found[0], str) else int)
    if any(not isinstance(key, kind) or isinstance(key, bool) for key in (natural(k) for k in found)):
        return None
    keys.extend(natural(key) for key in found)
    return keys


def natural(key: Any) -> Any:  # noqa: ANN401
    """Return strings by their natural key, everything else as it is."""
    return natural_key(key) if isinstance(key, str) else key


def _batches(lines: IO[bytes], name: str, offsets: array[int]) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """Yield (line numbers, rows), and note in `offsets` where each row's line begins."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    position = 0
    for number, line in enumerate(lines, 1):
        start, position = position, position + len(line)
        if line.isspace():
            continue
        rows.append(_row(line, name, number))
        numbers.append(number)
        offsets.append(start)
        if len(rows) == BATCH_ROWS:
            yield numbers, rows
            rows, numbers = [], []
    if rows:
        yield numbers, rows


def _row(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_not_a_number)
    except RecursionError as error:
        raise PayloadInvalid(f"{name}, line {number}: nested too deeply", fix=_FIX_ROW) from error
    except ValueError as error:
        raise PayloadInvalid(f"{name}, line {number}: not JSON: {error}", fix=_FIX_ROW) from error
    if not isinstance(row, dict) or not row:
        raise PayloadInvalid(f"{name}, line {number}: not a JSON object with columns", fix=_FIX_ROW)
    return row


def _not_a_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _widen(schema: pa.Schema, rows: list[dict[str, Any]], name: str, numbers: list[int]) -> pa.Schema:
    """Return the schema that holds both what was seen and these rows; on a misfit name the first row that brings it."""
    try:
        return _unified(schema, rows)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
        pass  # some row does not fit: go one by one, to name it
    for number, row in zip(numbers, rows, strict=True):
        try:
            schema = _unified(schema, [row])
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
            raise PayloadInvalid(f"{name}, line {number}: {error}", fix=_FIX_ROW) from error
    return schema


def _unified(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Schema:
    columns = dict.fromkeys(column for row in rows for column in row)
    found = pa.schema([(column, pa.array([row.get(column) for row in rows]).type) for column in columns])
    return pa.unify_schemas([schema, found], promote_options="permissive")


def _write(
    lines: IO[bytes], name: str, survey: _Survey, order: Sequence[int], target: Path, shard_bytes: int, talk: Talk
) -> list[Path]:
    partials: list[Path] = []
    writer: pq.ParquetWriter | None = None
    group: list[pa.RecordBatch] = []
    for start in range(0, len(order), BATCH_ROWS):
        if start % TALK_ROWS == 0 and start:
            talk(f"wrote {start:,} of {len(order):,} rows of {name}")
        if writer is None:
            partials.append(target.with_name(f"{target.name}.{len(partials)}.partial"))
            writer = _writer(partials[-1], survey.schema)
        rows = []
        for index in order[start : start + BATCH_ROWS]:
            lines.seek(survey.offsets[index])
            rows.append(json.loads(lines.readline()))
        try:
            group.append(pa.RecordBatch.from_pylist(rows, schema=survey.schema))
        except pa.ArrowException as error:  # the type that holds all rows does not hold each exactly
            raise PayloadInvalid(f"{name}: {error}", fix="write the column with one type in every row") from error
        if sum(batch.nbytes for batch in group) >= min(ROW_GROUP_BYTES, shard_bytes):
            writer.write_table(pa.Table.from_batches(group))
            group = []
            if partials[-1].stat().st_size >= shard_bytes:
                _finish(writer)
                writer = None
    if writer is not None:
        if group:
            writer.write_table(pa.Table.from_batches(group))
        _finish(writer)
    return partials


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    try:
        return pq.ParquetWriter(path, schema, use_content_defined_chunking=CHUNKING, **WRITING)
    except pa.ArrowNotImplementedError as error:
        raise PayloadInvalid(
            f"Parquet cannot hold these columns: {error}", fix="drop objects that are always empty"
        ) from error


def _finish(writer: pq.ParquetWriter) -> None:
    writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CHUNKING)})
    writer.close()
