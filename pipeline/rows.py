"""The one row that flows through every stage, and the datatrove steps that read and write it.

    id         SOURCE-ROW-HASH; a row keeps its id while its number and its text stay as they are
    source     the adapter that read it
    revision   the commit of the source
    row        its number there
    license    the licence of the source, as the Hub spells it
    turns      the conversation in the source language: role (system, user, assistant) and text
    target     the same turns in Arabic, with why the model stopped; none before `translate`
    verdict    what the judge said; none before `judge`
    flags      rules that found something, and kept the row
    repairs    rules that changed the target
    copies     near duplicates that this row stands for, itself included; none before `dedup`

A row that a stage drops goes, with the rule and the reason, to the configuration `dropped` of the same bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypedDict

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from hala_release.bundle import Bundle
from hala_release.errors import ContractError
from pipeline.storage import join, reading, writing

Role = Literal["system", "user", "assistant"]


class Turn(TypedDict):
    """What one side says, in the source language."""

    role: Role
    text: str


class Target(TypedDict):
    """One turn in Arabic."""

    text: str
    finish_reason: str
    """`stop`: the model ended by itself. Anything else is not a whole translation: `length`, or why there is none."""


class Verdict(TypedDict):
    """What the judge said of a row."""

    accept: bool
    reason: str


class Row(TypedDict):
    """One conversation; the module says what its fields mean."""

    id: str
    source: str
    revision: str
    row: int
    license: str
    turns: list[Turn]
    target: list[Target] | None
    verdict: Verdict | None
    flags: list[str]
    repairs: list[str]
    copies: int | None


TURN = pa.struct([("role", pa.string()), ("text", pa.string())])
TARGET = pa.struct([("text", pa.string()), ("finish_reason", pa.string())])
ROW = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("revision", pa.string()),
        ("row", pa.int64()),
        ("license", pa.string()),
        ("turns", pa.list_(TURN)),
        ("target", pa.list_(TARGET)),
        ("verdict", pa.struct([("accept", pa.bool_()), ("reason", pa.string())])),
        ("flags", pa.list_(pa.string())),
        ("repairs", pa.list_(pa.string())),
        ("copies", pa.int32()),
    ]
)
DROPPED = pa.schema([*ROW, ("rule", pa.string()), ("reason", pa.string())])
"""A row that was dropped; `turns` and `target` are cut to `DROPPED_CHARACTERS` a text."""

DROPPED_CHARACTERS = 4_000
GROUP_ROWS = 2_000
GROUP_CHARACTERS = 8_000_000
"""A row group is written when it has so many rows, or characters: one group is what a task holds in memory."""


def new_row(
    source: str, revision: str, number: int, terms: str, turns: list[Turn], target: list[Target] | None = None
) -> Row:
    """Make a row as `ingest` leaves it, with its stable id; `terms` is the licence."""
    return Row(
        id=row_id(source, number, turns),
        source=source,
        revision=revision,
        row=number,
        license=terms,
        turns=turns,
        target=target,
        verdict=None,
        flags=[],
        repairs=[],
        copies=None,
    )


def row_id(source: str, number: int, turns: list[Turn]) -> str:
    """Name a row after its source, its number there and its content: the revision may move on, the row stays."""
    content = orjson.dumps([[turn["role"], turn["text"]] for turn in turns])
    return f"{source}-{number}-{hashlib.sha256(content).hexdigest()[:12]}"


def shards(inputs: Sequence[Bundle], config: str = "default") -> list[str]:
    """Return the Parquet files of a configuration over all inputs, in order; a task reads one.

    Raises:
        ContractError: an input that is no dataset, or does not hold rows.
    """
    found = []
    for bundle in inputs:
        facts = bundle.manifest.facts
        if facts.kind != "dataset":
            raise ContractError(f"{bundle.root} is a {facts.kind}, not rows", fix="give bundles that a stage made")
        for one in facts.configs:
            names = {feature["name"] for feature in one.features}
            if one.name == config and not names >= set(ROW.names):
                raise ContractError(
                    f"{bundle.root} does not hold rows: it lacks {', '.join(sorted(set(ROW.names) - names))}",
                    fix="read it with the stage `ingest` first",
                )
            if one.name == config:
                found += [str(bundle.files / file) for split in one.splits for file in split.files]
    if inputs and not found and config == "default":
        raise ContractError("the inputs have no rows", fix="give bundles that a stage made")
    return found


class ReadRows(PipelineStep):
    """Read one shard per task; the row lies in `metadata` of the document."""

    type = "READER"
    name = "rows"

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self.paths = list(paths)

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the rows of shard number `rank`."""
        for row in read_rows(self.paths[rank]):
            self.stat_update("rows")
            yield document(row)


class WriteRows(PipelineStep):
    """Write what arrives as `FILES/CONFIG/train-RANK-of-TASKS.parquet`: whole, or not at all."""

    type = "WRITER"
    name = "rows"

    def __init__(self, files: str, config: str = "data", schema: pa.Schema = ROW) -> None:
        super().__init__()
        self.folder = join(files, config)
        self.schema = schema

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Write every row and pass it on."""
        with writing_rows(self.folder, rank, world_size, self.schema) as write:
            for one in data or ():
                write(one.metadata)
                self.stat_update("rows")
                yield one


@contextmanager
def writing_rows(
    folder: str, rank: int, world_size: int, schema: pa.Schema = ROW
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give a function that adds a row to one shard; the file is there when the block is left.

    Its bytes depend on the rows only.
    """
    held: list[Mapping[str, Any]] = []
    weight = 0

    path = join(folder, f"train-{rank:05d}-of-{world_size:05d}.parquet")
    with writing(path) as file, pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=["source"]) as writer:

        def flush() -> None:
            nonlocal weight
            if held:
                writer.write_table(pa.Table.from_pylist(held, schema=schema))
                held.clear()
                weight = 0

        def write(row: Mapping[str, Any]) -> None:
            nonlocal weight
            held.append(row)
            weight += characters(row)
            if len(held) >= GROUP_ROWS or weight >= GROUP_CHARACTERS:
                flush()

        yield write
        flush()


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one Parquet file, a row group in memory at a time."""
    with reading(path) as handle, pq.ParquetFile(handle) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()


def document(row: Row | dict[str, Any]) -> Document:
    """Wrap a row for datatrove."""
    return Document(text="", id=row["id"], metadata=row)


def characters(row: Row | Mapping[str, Any]) -> int:
    """Count the characters of all texts of a row."""
    total = sum(len(turn["text"]) for turn in row["turns"])
    return total + sum(len(turn["text"]) for turn in row["target"] or ())


def dropped(row: Row, rule: str, reason: str) -> dict[str, Any]:
    """Return a row as the configuration `dropped` keeps it: with the rule and the reason, long texts cut."""
    return {
        **row,
        "turns": [{**turn, "text": turn["text"][:DROPPED_CHARACTERS]} for turn in row["turns"]],
        "target": row["target"] and [{**turn, "text": turn["text"][:DROPPED_CHARACTERS]} for turn in row["target"]],
        "rule": rule,
        "reason": reason,
    }
