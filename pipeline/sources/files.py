"""Parquet and JSON files, here or on the Hub: surveyed once, then read by range, a little in memory at a time.

The survey runs where the command runs. Of Parquet it reads the footers. JSON lines it reads through once, to find where
each shard begins. What a task cannot start in the middle of, it unpacks to JSON lines in `work` on the way: compressed
files, JSON arrays, JSON files that are not on this machine, and a remote Parquet file with a row group so long that
many tasks would fetch it.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import accumulate
from typing import IO, Any, NamedTuple, cast

import fsspec
import ijson
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hala_release.errors import ContractError, HalaError, HubError, HubMissing
from pipeline import storage
from pipeline.storage import is_local, join

BUFFER = 1 << 20
"""Bytes that are read from a file at a time."""
BATCH_BYTES = 32 << 20
BATCH_ROWS = 1_000
"""A batch of Parquet has at most so many rows, and on average of its file at most so many bytes."""
FORMATS = (".parquet", ".jsonl", ".jsonl.gz", ".json")
SAMPLE = 1_000
DEPTH = 8
"""Columns of so many records of a JSON file, and so deep, are compared with those that are expected."""


class Piece(NamedTuple):
    """Records that follow each other in one file."""

    path: str
    first: int
    """Number of the first record in the source."""
    rows: int
    start: int
    """Where it begins: a row of a Parquet file, a byte of JSON lines."""


class Survey(NamedTuple):
    """Where the records of a source lie."""

    shards: list[list[Piece]]
    rows: int


class Unreadable(NamedTuple):
    """What stands where a record should be."""

    reason: str
    text: str


class Wanted(NamedTuple):
    """What is to be surveyed."""

    paths: Sequence[str]
    columns: Sequence[str]
    """Paths of columns that have to hold text in every file."""
    rows: int | None
    shard_rows: int
    line_bytes: int
    fix: str
    """What to do when the columns are others."""


SHOWN = 40
"""Columns that an error names."""

Columns = dict[str, str]
"""Path of a column without lists -> what it holds: `text`, `nothing`, or another type by its name."""


def find(root: str, patterns: Sequence[str]) -> list[str]:
    """Return the files under a URL that the patterns name, in the order of the patterns, then of the names.

    Raises:
        HubMissing: a pattern that fits no file.
        HubError: the Hub cannot be read.
    """
    found = []
    with told(root):
        system, place = fsspec.url_to_fs(root)
        for pattern in patterns:
            names = sorted(str(path) for path in system.glob(f"{place}/{pattern}"))
            if not names:
                raise HubMissing(f"{root} has no {pattern}", fix="check the repository, the revision, and HF_TOKEN")
            found += [system.unstrip_protocol(name) for name in names]
    return found


def survey(wanted: Wanted, work: str) -> Survey:
    """Count the records and cut them into shards; the border of a shard depends on the number of a record only.

    Raises:
        ContractError: a file that is not what its name says, or lacks a column; no records at all.
        HubError: a file of the Hub that cannot be read.
    """
    files: list[_File] = []
    rows = 0
    for number, path in enumerate(wanted.paths):
        left = None if wanted.rows is None else wanted.rows - rows
        if left == 0:
            break
        with told(path):
            look = _look_at_parquet if path.endswith(".parquet") else _look_at_json
            files.append(look(path, rows, left, wanted, join(work, "source", f"{number:05d}")))
        rows += files[-1].rows
    if not rows:
        raise ContractError("the source has no records", fix="give other files")
    return Survey([_shard(files, first, wanted.shard_rows) for first in range(0, rows, wanted.shard_rows)], rows)


def records(piece: Piece, columns: Sequence[str], line_bytes: int) -> Iterator[tuple[int, Any]]:
    """Yield the number and the content of each record of a piece; what cannot be read comes as `Unreadable`.

    Args:
        columns: the columns of Parquet that are read.
    """
    read = _parquet_records(piece, columns) if piece.path.endswith(".parquet") else _json_records(piece, line_bytes)
    with closing(read):
        yield from zip(range(piece.first, piece.first + piece.rows), read, strict=False)


@contextmanager
def told(path: str) -> Iterator[None]:
    """Say what is wrong with a file in our words."""
    try:
        yield
    except FileNotFoundError as error:
        kind = ContractError if is_local(path) else HubMissing
        raise kind(f"{path} is not there", fix="check the path, the revision, and HF_TOKEN") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ContractError(f"{path} is not a whole gzip file: {error}", fix="copy the file again") from error
    except pa.ArrowInvalid as error:
        raise ContractError(f"{path} is not a whole Parquet file: {error}", fix="copy the file again") from error
    except ijson.JSONError as error:
        raise ContractError(f"{path} is not a whole JSON array: {error}", fix="copy the file again") from error
    except OSError as error:
        if not is_local(path):
            raise _hub_error(path, error) from error
        raise ContractError(f"{path} cannot be read: {error}", fix="check the path and its rights") from error
    except Exception as error:  # the client of the Hub lets through what its HTTP and Xet libraries raise
        if is_local(path) or isinstance(error, HalaError):
            raise
        raise _hub_error(path, error) from error


def _hub_error(path: str, error: Exception) -> HubError:
    return HubError(
        f"{path} cannot be read: {type(error).__name__}: {error}",
        fix="check the network, HF_TOKEN, and that its terms are accepted; the same command goes on",
    )


class _File(NamedTuple):
    """A file as the tasks will read it."""

    path: str
    first: int
    rows: int
    starts: Mapping[int, int]
    """Number of a record at which a shard, or the file, begins -> where it begins; Parquet needs none."""

    def piece(self, first: int, end: int) -> Piece | None:
        """Return what the file holds of the records from `first` to before `end`."""
        first, end = max(first, self.first), min(end, self.first + self.rows)
        if first >= end:
            return None
        return Piece(self.path, first, end - first, self.starts.get(first, first - self.first))


def _shard(files: Sequence[_File], first: int, rows: int) -> list[Piece]:
    return [piece for file in files if (piece := file.piece(first, first + rows)) is not None]


def _look_at_parquet(path: str, first: int, limit: int | None, wanted: Wanted, place: str) -> _File:
    with storage.reading(path) as handle, pq.ParquetFile(handle) as file:
        footer = file.metadata
        _compare(_columns_of_schema(file.schema_arrow), wanted, path)
    rows = footer.num_rows if limit is None else min(limit, footer.num_rows)
    longest = max((footer.row_group(group).num_rows for group in range(footer.num_row_groups)), default=0)
    if not is_local(path) and longest > wanted.shard_rows:
        storage.copy(path, f"{place}.parquet")
        path = f"{place}.parquet"
    return _File(path, first, rows, {})


def _look_at_json(path: str, first: int, limit: int | None, wanted: Wanted, place: str) -> _File:
    """Find where shards begin; unpack the file where tasks could not start in its middle."""
    if path.endswith(".jsonl") and is_local(path):
        with _lines_of(path) as source:
            return _note(path, source, _ignore, first, limit, wanted)
    plain = f"{place}.jsonl"
    with storage.writing(plain) as file, _lines_of(path) as source:
        return _note(path, source, file.write, first, limit, wanted)._replace(path=plain)


def _note(
    path: str, source: IO[bytes], copy: Callable[[bytes], object], first: int, limit: int | None, wanted: Wanted
) -> _File:
    starts: dict[int, int] = {}
    found: Columns = {}
    rows = offset = 0
    for head, size in _lines(source, wanted.line_bytes, copy):
        if head.strip():
            if rows == limit:
                break
            if rows == 0 or (first + rows) % wanted.shard_rows == 0:
                starts[first + rows] = offset
            if rows < SAMPLE and isinstance(record := _parsed(head, size), dict):
                _note_columns(record, "", found)
            rows += 1
        offset += size
    if found:
        _compare(found, wanted, path)
    return _File(path, first, rows, starts)


@contextmanager
def _buffered(path: str) -> Iterator[io.BufferedReader]:
    """Open a file whose lines are read fast; what file systems give reads them slowly."""
    with storage.reading(path) as handle, io.BufferedReader(cast("Any", handle), BUFFER) as file:
        yield file


@contextmanager
def _lines_of(path: str) -> Iterator[IO[bytes]]:
    """Open a JSON file as lines, whatever it is packed in."""
    with _buffered(path) as file:
        if path.endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast("IO[bytes]", unpacked)
        elif path.endswith(".json") and file.peek(64).lstrip()[:1] == b"[":
            with io.BufferedReader(_Array(file), BUFFER) as items:
                yield items
        else:
            yield file


class _Array(io.RawIOBase):
    """A JSON array as lines; its parser reads half of a surrogate pair as a question mark."""

    def __init__(self, file: IO[bytes]) -> None:
        self.items = ijson.items(file, "item", use_float=True)
        self.left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - what the base class says
        if not self.left:
            try:
                self.left = orjson.dumps(next(self.items)) + b"\n"
            except StopIteration:
                return 0
        size = min(len(buffer), len(self.left))
        buffer[:size], self.left = self.left[:size], self.left[size:]
        return size


def _lines(file: IO[bytes], limit: int, copy: Callable[[bytes], object]) -> Iterator[tuple[bytes, int]]:
    """Yield every line, cut to `limit` bytes, with its whole size; `copy` gets all of it."""
    while head := file.readline(limit):
        copy(head)
        size, piece = len(head), head
        while not piece.endswith(b"\n") and (piece := file.readline(limit)):
            copy(piece)
            size += len(piece)
        yield head, size


def _ignore(_: bytes) -> None:
    """Copy nothing."""


def _json_records(piece: Piece, line_bytes: int) -> Generator[object]:
    with _buffered(piece.path) as file:
        file.seek(piece.start)
        for head, size in _lines(file, line_bytes, _ignore):
            if head.strip():
                yield _parsed(head, size)


def _parsed(line: bytes, size: int) -> object:
    """Return what a line holds; orjson is fast, and refuses half of a surrogate pair, which the other one reads."""
    if size > len(line):
        return Unreadable(f"a line of {size:,} bytes", _shown(line))
    line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            return Unreadable(f"not JSON: {error.msg}", _shown(line))


def _shown(line: bytes) -> str:
    return line[:BUFFER].decode("utf-8", "replace")


def _parquet_records(piece: Piece, columns: Sequence[str]) -> Generator[object]:
    names = list(dict.fromkeys(column.partition(".")[0] for column in columns))
    with storage.reading(piece.path) as handle, pq.ParquetFile(handle, buffer_size=BUFFER, pre_buffer=False) as file:
        groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        ends = list(accumulate(group.num_rows for group in groups))
        begin = bisect_right(ends, piece.start)
        skip = piece.start - (ends[begin - 1] if begin else 0)
        size = sum(group.total_byte_size for group in groups) // max(1, ends[-1])
        for batch in file.iter_batches(
            batch_size=max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, size))),
            row_groups=range(begin, len(groups)),
            columns=names,
        ):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            yield from _rows_of(batch.slice(skip))
            skip = 0


def _rows_of(batch: pa.RecordBatch) -> Iterator[object]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for row in range(batch.num_rows):
            try:
                yield batch.slice(row, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield Unreadable(f"not UTF-8: {error.reason}", "")


def _columns_of_schema(schema: pa.Schema) -> Columns:
    found: Columns = {}
    for field in schema:
        _note_type(field.type, field.name, found)
    return found


def _note_type(kind: pa.DataType, path: str, found: Columns) -> None:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        _note_type(kind.value_type, path, found)
    elif pa.types.is_struct(kind):
        for field in kind:
            _note_type(field.type, f"{path}.{field.name}", found)
    elif pa.types.is_dictionary(kind):
        _note_type(kind.value_type, path, found)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        found[path] = "text"
    else:
        found[path] = "nothing" if pa.types.is_null(kind) else str(kind)


def _note_columns(value: object, path: str, found: Columns, depth: int = 0) -> None:
    match value:
        case dict() if depth < DEPTH:
            for name, inner in value.items():
                _note_columns(inner, f"{path}.{name}" if path else name, found, depth + 1)
        case list() if depth < DEPTH:
            for inner in value:
                _note_columns(inner, path, found, depth + 1)
        case str():
            found[path] = "text"
        case None:
            found.setdefault(path, "nothing")
        case _ if found.get(path) != "text":
            found[path] = type(value).__name__


def _compare(found: Columns, wanted: Wanted, path: str) -> None:
    there = ", ".join(sorted(found)[:SHOWN]) + (" and more" if len(found) > SHOWN else "")
    if missing := [column for column in wanted.columns if column not in found]:
        raise ContractError(f"{path} has no column {', '.join(missing)}; it has {there}", fix=wanted.fix)
    if other := [column for column in wanted.columns if found[column] not in {"text", "nothing"}]:
        kinds = ", ".join(f"{column} holds {found[column]}" for column in other)
        raise ContractError(f"{path}: {kinds}, not text", fix=wanted.fix)
