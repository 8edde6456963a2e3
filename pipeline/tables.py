"""Rows as Arrow tables: what a stage does to whole columns at a time, where `pipeline.rows` goes row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import rows
from pipeline.storage import join, reading, writing

Side = Literal["source", "target", "latest"]
"""Which texts of a row: those in the source language, those in Arabic, or the Arabic ones where a row has them."""

ROLES = ("system", "user", "assistant")
"""The code of a role is its place here."""


class Texts(NamedTuple):
    """The texts of some rows, one after the other."""

    values: pa.StringArray
    roles: np.ndarray[Any, np.dtype[np.uint8]]
    """The code of the role of each text."""
    bounds: np.ndarray[Any, np.dtype[np.int64]]
    """Row `i` has the texts `bounds[i]` to `bounds[i + 1]`."""


def read_tables(path: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of one Parquet file, one in memory at a time."""
    with reading(path) as handle, pq.ParquetFile(handle) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns)


@contextmanager
def writing_tables(
    folder: str, rank: int, world_size: int, schema: pa.Schema = rows.ROW
) -> Iterator[Callable[[pa.Table], None]]:
    """Give a function that adds rows to one shard: the same bytes as `rows.writing_rows` makes of the same rows."""
    held = schema.empty_table()
    weights = np.zeros(0, np.int64)

    path = join(folder, f"train-{rank:05d}-of-{world_size:05d}.parquet")
    with writing(path) as file, pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=["source"]) as writer:

        def write(table: pa.Table) -> None:
            nonlocal held, weights
            held = pa.concat_tables([held, table.select(schema.names).cast(schema)])
            weights = np.concatenate([weights, characters(table)])
            start = 0
            for end in _cuts(weights):
                writer.write_table(held.slice(start, end - start).combine_chunks())
                start = end
            held, weights = held.slice(start), weights[start:]

        yield write
        if len(held):
            writer.write_table(held.combine_chunks())


def _cuts(weights: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[int]:
    """Yield where full row groups end, as `rows.writing_rows` fills them."""
    total = np.concatenate([[0], np.cumsum(weights)])
    start = 0
    while start < len(weights):
        heavy = int(np.searchsorted(total, total[start] + rows.GROUP_CHARACTERS, side="left"))
        end = min(start + rows.GROUP_ROWS, max(heavy, start + 1))
        if end > len(weights):
            return
        yield end
        start = end


def characters(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Count the characters of all texts of each row."""
    total = np.zeros(len(table), dtype=np.int64)
    for column in ("turns", "target"):
        listed = _array(table, column)
        lengths = pc.utf8_length(pc.fill_null(listed.flatten().field("text"), "")).to_numpy(zero_copy_only=False)
        sums = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        bounds = _bounds(listed)
        total += sums[bounds[1:]] - sums[bounds[:-1]]
    return total


def texts(table: pa.Table, side: Side) -> Texts:
    """Return the texts of the rows; a text that is missing is an empty one.

    A turn in Arabic has the role of the source turn at its place, and `assistant` where there is none.
    """
    source, target = _array(table, "turns"), _array(table, "target")
    turns = source.flatten()
    spoken = pc.index_in(turns.field("role"), value_set=pa.array(ROLES))
    role = pc.fill_null(spoken, ROLES.index("assistant")).to_numpy(zero_copy_only=False).astype(np.uint8)
    in_source, in_target = _bounds(source), _bounds(target)
    counts = np.diff(in_source), np.diff(in_target)
    take_target = np.zeros(len(table), dtype=bool)
    if side != "source":
        take_target = pc.is_valid(target).to_numpy(zero_copy_only=False)
    lengths = np.where(take_target, counts[1], counts[0] if side != "target" else 0)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    roles = np.full(bounds[-1], ROLES.index("assistant"), dtype=np.uint8)
    known = place < np.repeat(counts[0], lengths)
    roles[known] = role[(np.repeat(in_source[:-1], lengths) + place)[known]]
    start = np.where(take_target, in_target[:-1] + len(turns), in_source[:-1])
    values = pa.concat_arrays([turns.field("text"), target.flatten().field("text")])
    chosen = values.take(pa.array(np.repeat(start, lengths) + place))
    return Texts(pc.fill_null(chosen, ""), roles, bounds)


def dropped(table: pa.Table, rules: pa.Array, reasons: pa.Array) -> pa.Table:
    """Return rows as the configuration `dropped` keeps them: `rows.dropped` for a whole table."""
    for column in ("turns", "target"):
        listed = _array(table, column)
        flat = listed.flatten()
        cut = pc.utf8_slice_codeunits(flat.field("text"), 0, rows.DROPPED_CHARACTERS)
        fields = [cut if field.name == "text" else flat.field(field.name) for field in flat.type]
        offsets = pa.array(_bounds(listed), pa.int32(), mask=_offset_mask(listed))
        short = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, fields=list(flat.type)))
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(place), short.cast(table.schema.field(place).type))
    return table.append_column("rule", rules).append_column("reason", reasons).cast(rows.DROPPED)


def _offset_mask(listed: pa.ListArray) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Return what makes `ListArray.from_arrays` give nulls where `listed` has them."""
    missing = pc.is_null(listed).to_numpy(zero_copy_only=False)
    return np.concatenate([missing, [False]]) if missing.any() else None


def _array(table: pa.Table, column: str) -> pa.ListArray:
    whole = table.column(column).combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole


def _bounds(listed: pa.ListArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where the items of each list begin in `listed.flatten()`, which leaves out those of nulls."""
    lengths = pc.fill_null(pc.list_value_length(listed), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
