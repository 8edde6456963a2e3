"""JSON lines -> sorted Parquet shards, cut where the content says, so that a later version moves few bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from hala_release.errors import PayloadInvalid
from hala_release.payload import jsonl
from hala_release.talk import Talk, silence

# Pages a quarter as long as those of `datasets` 5.2, zstd instead of its snappy, and no dictionaries, whose one page
# changes with any row. `make bench` measures what a second version then moves, beside the settings of `datasets`.
CHUNKING = {"min_chunk_size": 64 * 1024, "max_chunk_size": 256 * 1024, "norm_level": 0}
WRITING = {"compression": "zstd", "use_dictionary": False, "write_page_index": True}
SHARD_BYTES = 500_000_000
ROW_GROUP_BYTES = 100_000_000
"""Bytes of rows in memory; they wait for their row group to be full."""


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
    target = out / stem
    target.parent.mkdir(parents=True, exist_ok=True)
    with jsonl.unpacked(source, scratch).open("rb") as lines:
        survey = jsonl.survey(lines, source.name, sort_by, talk)
        partials = _write(lines, source.name, survey, target, shard_bytes, talk)
    shards = []
    for index, partial in enumerate(partials):
        shard = target.with_name(f"{target.name}-{index:05d}-of-{len(partials):05d}.parquet")
        shards.append(partial.rename(shard))
    return shards, None if survey.keys is None else sort_by or "id"


def _write(lines: IO[bytes], name: str, survey: jsonl.Survey, target: Path, shard_bytes: int, talk: Talk) -> list[Path]:
    partials: list[Path] = []
    writer: pq.ParquetWriter | None = None
    group: list[pa.RecordBatch] = []
    done = 0
    for rows in jsonl.batches_in_order(lines, survey):
        if writer is None:
            partials.append(target.with_name(f"{target.name}.{len(partials)}.partial"))
            writer = new_writer(partials[-1], survey.schema)
        try:
            group.append(pa.RecordBatch.from_pylist(rows, schema=survey.schema))
        except pa.ArrowException as error:  # the type that holds all rows does not hold each exactly
            raise PayloadInvalid(f"{name}: {error}", fix="write the column with one type in every row") from error
        done += len(rows)
        if done // jsonl.TALK_ROWS > (done - len(rows)) // jsonl.TALK_ROWS:
            talk(f"wrote {done:,} of {len(survey.offsets):,} rows of {name}")
        if sum(batch.nbytes for batch in group) >= min(ROW_GROUP_BYTES, shard_bytes):
            writer.write_table(pa.Table.from_batches(group))
            group = []
            if partials[-1].stat().st_size >= shard_bytes:
                finish(writer)
                writer = None
    if writer is not None:
        if group:
            writer.write_table(pa.Table.from_batches(group))
        finish(writer)
    return partials


def new_writer(target: Path | IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """Begin a shard that is cut where the content says.

    Raises:
        PayloadInvalid: Parquet has no form for these columns.
    """
    try:
        return pq.ParquetWriter(target, schema, use_content_defined_chunking=CHUNKING, **WRITING)
    except pa.ArrowNotImplementedError as error:
        raise PayloadInvalid(
            f"Parquet cannot hold these columns: {error}", fix="drop objects that are always empty"
        ) from error


def finish(writer: pq.ParquetWriter) -> None:
    """End a shard, saying in it how it was cut."""
    writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CHUNKING)})
    writer.close()
