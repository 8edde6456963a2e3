"""`pack`: rows in the schema that is released, in a stable order, in shards of which a later version moves few bytes.

    sort     a task a shard: the rows that are released, as runs in the order of their ids
    plan     one task: where the runs are cut into shards
    merge    the shards, spread over the tasks
    report   one task: `reports/pack.json` and ATTRIBUTION.md

Memory: `sort` holds `run_bytes` of rows twice, `merge` a row group of the result and one of each run.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from pydantic import AfterValidator, Field

from hala_release.errors import ContractError
from hala_release.payload import shards as released_shards
from hala_release.payload.jsonl import natural_key
from pipeline import prompts, tables
from pipeline.executor import Phase
from pipeline.row_stage import RowConfig, row_stage
from pipeline.stage import write_report
from pipeline.storage import join, names, read_json, reading, write_json, writing
from pipeline.words import folded, hashes

FROM = {"system": "system", "user": "human", "assistant": "gpt"}
"""How `conversations` calls the roles of `messages`."""

_SAID = [("conversations", "from", "value"), ("messages", "role", "content")]
_BEFORE = [pa.field("id", pa.string())]
_AFTER = [
    pa.field("source", pa.string()),
    pa.field("license", pa.string()),
    pa.field("copies", pa.int32()),
    pa.field("flags", pa.list_(pa.string())),
]
RUN_GROUP_BYTES = 4_000_000
"""Bytes of a row group of a run; a merge holds one of each run."""


def _whole(splits: Mapping[str, float]) -> Mapping[str, float]:
    if abs(sum(splits.values()) - 1) > 1e-9:
        raise ValueError("the shares of the splits do not add up to 1")
    if "all" in splits:
        raise ValueError("`all` is the word of `datasets` for every split; call it otherwise")
    return splits


class PackConfig(RowConfig):
    """What is released, and in which form."""

    format: Literal["chat", "pairs"] = "chat"
    """`chat`: the Arabic conversations. `pairs`: what a translator is trained on, a row a turn."""
    prompt: Literal["teacher", "translator"] = "translator"
    """Which of HALA's prompts asks for a translation, in `pairs`."""
    messages: bool = True
    """Whether rows have `messages` (role, content) beside `conversations` (from, value)."""
    exclude_flags: tuple[str, ...] = ("C1",)
    """Rows with one of these flags are not released."""
    exclude_rejected: bool = True
    """Whether rows that the judge rejected are not released."""
    splits: Annotated[
        Mapping[Annotated[str, Field(pattern=r"^\w+$")], Annotated[float, Field(gt=0, le=1)]], AfterValidator(_whole)
    ] = {
        "train": 0.99,
        "validation": 0.01,
    }
    """The share of each split. The English prompt chooses, so that rows which ask the same stay together."""
    shard_bytes: Annotated[int, Field(gt=0)] = 500_000_000
    """Bytes of rows in a shard, before compression."""
    run_bytes: Annotated[int, Field(gt=0)] = 100_000_000
    """Bytes of rows that are sorted at a time."""


def phases(config: PackConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    """Sort the rows that are released, and merge them into shards."""
    tasks = len(shards)
    return [
        Phase("sort", [Sort(config, list(shards), work)], tasks),
        Phase("plan", [Plan(config, tasks, work)], 1),
        Phase("merge", [Merge(config, files, work)], tasks),
        Phase("report", [Report(config, tasks, files, work)], 1),
    ]


STAGE = row_stage("pack", PackConfig, phases, tools=("numba", "numpy"))


class Group(NamedTuple):
    """A row group of a run: where it lies, between which keys, and the bytes of its rows."""

    run: str
    number: int
    first: str
    last: str
    size: int


class Shard(NamedTuple):
    """A shard to be written: the keys from `low` up to, and without, `high`; no `high` is to the end."""

    split: str
    number: int
    of: int
    low: str
    high: str | None


class Sort(PipelineStep):
    """Write the rows that are released, in `work/runs`."""

    type = "PACK"
    name = "sort"

    def __init__(self, config: PackConfig, shards: list[str], work: str) -> None:
        super().__init__()
        self.config = config
        self.shards = shards
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Sort the rows of shard number `rank`, as many at a time as memory may hold."""
        counted: Counter[tuple[str, ...]] = Counter()
        groups: dict[str, list[Group]] = defaultdict(list)
        held: list[pa.Table] = []
        runs = 0
        for table in itertools.chain(tables.read_tables(self.shards[rank]), [None]):
            if table is not None:
                held.append(self._released(table, counted))
            if held and (table is None or sum(one.nbytes for one in held) >= self.config.run_bytes):
                for split, found in self._run(pa.concat_tables(held), f"{rank:05d}-{runs:05d}"):
                    groups[split] += found
                held = []
                runs += 1
        write_json(join(self.work, "groups", f"{rank:05d}.json"), groups)
        write_json(join(self.work, "counts", f"{rank:05d}.json"), [[key, count] for key, count in counted.items()])
        self.stat_update("runs", value=runs)

    def _released(self, table: pa.Table, counted: Counter[tuple[str, ...]]) -> pa.Table:
        """Return the rows of a table that are released, in the schema of a run."""
        reasons = excluded(table, self.config)
        counted.update(("excluded", reason) for reason in reasons[reasons != ""].tolist())
        table = table.filter(pa.array(reasons == ""))
        packed, rows = chats(table) if self.config.format == "chat" else pairs(table, self.config.prompt)
        splits = _splits(table if self.config.format == "chat" else None, packed, self.config.splits)
        owner = table.select(["source", "revision", "license"]).take(pa.array(rows))
        origins = zip(*(column.to_pylist() for column in owner.columns), splits.tolist(), strict=True)
        counted.update(("rows", *map(str, origin)) for origin in origins)
        for kind in ("flags", "repairs"):
            marks = table.column(kind).combine_chunks().flatten().to_pylist()
            counted.update((kind, mark) for mark in marks)
        keys = pa.array([natural_key(name) for name in packed.column("id").to_pylist()], pa.string())
        return packed.drop_columns("english").append_column("key", keys).append_column("split", pa.array(splits))

    def _run(self, table: pa.Table, name: str) -> Iterator[tuple[str, list[Group]]]:
        for split in self.config.splits:
            mine = table.filter(pc.equal(table.column("split"), split)).drop_columns("split").combine_chunks()
            if not len(mine):
                continue
            mine = mine.take(pc.sort_indices(mine.column("key")))
            path = join(self.work, "runs", f"{split}-{name}.parquet")
            step = max(1, len(mine) * RUN_GROUP_BYTES // max(mine.nbytes, 1))
            found = []
            with writing(path) as file, pq.ParquetWriter(file, mine.schema, compression="lz4") as writer:
                for number, start in enumerate(range(0, len(mine), step)):
                    part = mine.slice(start, step)
                    writer.write_table(part)
                    first, last = part.column("key")[0].as_py(), part.column("key")[-1].as_py()
                    found.append(Group(path, number, first, last, part.nbytes))
            yield split, found


def excluded(table: pa.Table, config: PackConfig) -> np.ndarray[Any, np.dtype[np.str_]]:
    """Return why each row is not released; an empty text where it is."""
    reasons = np.full(len(table), "", dtype=object)

    def exclude(reason: str, which: np.ndarray[Any, Any]) -> None:
        reasons[which & (reasons == "")] = reason

    turns, target = (table.column(name).combine_chunks() for name in ("turns", "target"))
    counts = [pc.fill_null(pc.list_value_length(listed), 0).to_numpy() for listed in (turns, target)]
    exclude("untranslated", pc.is_null(target).to_numpy(zero_copy_only=False) | (counts[0] == 0))
    exclude("turns differ", counts[0] != counts[1])
    exclude("unfinished", _any_in(target, pc.not_equal(target.flatten().field("finish_reason"), "stop")))
    if config.exclude_rejected:
        accepted = pc.struct_field(table.column("verdict").combine_chunks(), "accept")
        exclude("rejected", pc.fill_null(pc.invert(accepted), False).to_numpy(zero_copy_only=False))
    flags = table.column("flags").combine_chunks()
    for flag in config.exclude_flags:
        exclude(f"flag {flag}", _any_in(flags, pc.equal(flags.flatten(), flag)))
    return reasons.astype(str)


def _any_in(listed: pa.ListArray, which: pa.BooleanArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return in which lists some item is one of `which`."""
    found = np.zeros(len(listed), dtype=bool)
    parents = pc.list_parent_indices(listed).to_numpy()
    found[parents[pc.fill_null(which, True).to_numpy(zero_copy_only=False)]] = True
    return found


def chats(table: pa.Table) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """Return the Arabic conversations, and the number of the row each comes from."""
    said = tables.texts(table, "target")
    names = pa.array([FROM[role] for role in tables.ROLES]).take(pa.array(said.roles))
    spoken = pa.StructArray.from_arrays([names, said.values], ["from", "value"])
    conversations = pa.ListArray.from_arrays(pa.array(said.bounds, pa.int32()), spoken)
    english = pa.nulls(len(table), pa.string())
    return _packed(table, table.column("id"), conversations, english), np.arange(len(table))


def pairs(table: pa.Table, prompt: str) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """Return a row for each turn: the prompt with the English text, and the Arabic text."""
    source, target = tables.texts(table, "source"), tables.texts(table, "target")
    rows = np.repeat(np.arange(len(table)), np.diff(source.bounds))
    place = np.arange(len(rows)) - source.bounds[:-1][rows]
    before, _, after = prompts.HALA[prompt].partition("{text}")
    asked = pc.binary_join_element_wise(before, source.values, after, "")
    values = pa.concat_arrays([asked, target.values]).take(pa.array(np.arange(2 * len(rows)).reshape(2, -1).T.ravel()))
    names = pa.array(["human", "gpt"] * len(rows), pa.string())
    spoken = pa.StructArray.from_arrays([names, values], ["from", "value"])
    conversations = pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * len(rows) + 1, 2), pa.int32()), spoken)
    taken = table.take(pa.array(rows))
    ids = pc.binary_join_element_wise(taken.column("id"), pa.array(place).cast(pa.string()), "-")
    return _packed(taken, ids, conversations, source.values), rows


def _packed(table: pa.Table, ids: Any, conversations: pa.ListArray, english: pa.Array) -> pa.Table:  # noqa: ANN401
    columns = {"id": ids, "conversations": conversations, "english": english}
    return pa.table({**columns, **{field.name: table.column(field.name) for field in _AFTER}})


def _splits(table: pa.Table | None, packed: pa.Table, shares: Mapping[str, float]) -> np.ndarray[Any, Any]:
    """Return the split of each row, chosen by its English prompt: that of the conversation, or the text translated."""
    if table is None:
        english = packed.column("english").combine_chunks()
    else:
        said = tables.texts(table, "source")
        asked = np.append(np.flatnonzero(said.roles == tables.ROLES.index("user")), len(said.values))
        first = asked[np.searchsorted(asked, said.bounds[:-1])]
        english = said.values.take(pa.array(np.where(first < said.bounds[1:], first, said.bounds[:-1])))
    if isinstance(english, pa.ChunkedArray):
        english = english.combine_chunks()
    drawn = hashes(*folded(english, "words")).astype(np.float64) / 2.0**64
    edges = np.cumsum(list(shares.values()))[:-1]
    return np.array(list(shares))[np.searchsorted(edges, drawn, side="right")]


class Plan(PipelineStep):
    """Decide where shards begin, in `work/shards.json`."""

    type = "PACK"
    name = "plan"

    def __init__(self, config: PackConfig, tasks: int, work: str) -> None:
        super().__init__()
        self.config = config
        self.tasks = tasks
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Cut each split into shards of much the same size."""
        planned: list[Shard] = []
        for split in self.config.splits:
            groups = sorted((group.first, group.size) for group in _groups(self.work, split))
            total = sum(size for _, size in groups)
            count = max(1, -(-total // self.config.shard_bytes))
            lows, before = [""], 0
            for first, size in groups:
                if before >= len(lows) * total / count and first > lows[-1]:
                    lows.append(first)
                before += size
            ends = [*lows[1:], None]
            planned += [
                Shard(split, number, len(lows), low, high)
                for number, (low, high) in enumerate(zip(lows, ends, strict=True))
                if groups
            ]
        if not planned:
            left_out: Counter[str] = Counter()
            for name in names(join(self.work, "counts")):
                counted = read_json(join(self.work, "counts", name))
                left_out.update({key[1]: count for key, count in counted if key[0] == "excluded"})
            raise ContractError(
                f"no row is left to release; left out{_listed(left_out)}",
                fix="read the reports of earlier stages, or change `exclude_flags:` and `exclude_rejected:`",
            )
        write_json(join(self.work, "shards.json"), planned)


class Merge(PipelineStep):
    """Write shards: of those that were planned, every so many-th."""

    type = "PACK"
    name = "merge"

    def __init__(self, config: PackConfig, files: str, work: str) -> None:
        super().__init__()
        self.config = config
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Merge the runs between two keys, shard after shard."""
        planned = [Shard(*one) for one in read_json(join(self.work, "shards.json"))]
        for shard in planned[rank::world_size]:
            name = f"{shard.split}-{shard.number:05d}-of-{shard.of:05d}.parquet"
            with writing(join(self.files, "data", name)) as file:
                writer = released_shards.new_writer(file, schema(self.config))
                held: list[pa.Table] = []
                for table in merged(_groups(self.work, shard.split), shard.low, shard.high):
                    held.append(finished(table, self.config))
                    if sum(one.nbytes for one in held) >= released_shards.ROW_GROUP_BYTES:
                        writer.write_table(pa.concat_tables(held))
                        held = []
                    self.stat_update("rows", value=len(table))
                if held:
                    writer.write_table(pa.concat_tables(held))
                released_shards.finish(writer)


def merged(groups: Sequence[Group], low: str, high: str | None) -> Iterator[pa.Table]:
    """Yield the rows of all runs with keys from `low` up to `high`, in order, a group of each run in memory.

    Rows with one key come in the order of their runs.
    """
    waiting: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        if group.last >= low and (high is None or group.first < high):
            waiting[group.run].append(group)
    runs = [_Run(path, left, low, high) for path, left in waiting.items()]
    while runs := [run for run in runs if run.fill()]:
        # What comes later in a run is not below the last key that it shows now, so all up to the least of these can go.
        ready = min((run.keys[-1] for run in runs if run.left), default=None)
        parts = pa.concat_tables([run.take(ready) for run in runs]).combine_chunks()
        if len(parts):
            yield parts.take(pc.sort_indices(parts.column("key"))).drop_columns("key")


class _Run:
    """One run, read group by group."""

    def __init__(self, path: str, left: list[Group], low: str, high: str | None) -> None:
        self.path = path
        self.left = left
        self.low = low
        self.high = high
        self.keys: list[str] = []
        self.table: pa.Table | None = None

    def fill(self) -> bool:
        """Read on where nothing is left or the last key goes on, and tell whether there is something."""
        while self.left and (not self.keys or self.left[0].first == self.keys[-1]):
            with reading(self.path) as handle, pq.ParquetFile(handle) as file:
                table = file.read_row_group(self.left.pop(0).number)
            keys = table.column("key").to_pylist()
            start = bisect_left(keys, self.low)
            end = len(keys) if self.high is None else bisect_left(keys, self.high)
            table = table.slice(start, max(0, end - start))
            self.table = pa.concat_tables([self.table, table]) if self.table is not None else table
            self.keys += keys[start:end]
        return bool(self.keys)

    def take(self, ready: str | None) -> pa.Table:
        """Return the rows up to a key, it included."""
        assert self.table is not None  # noqa: S101 (`fill` said so)
        count = len(self.keys) if ready is None else bisect_right(self.keys, ready)
        part, self.table, self.keys = self.table.slice(0, count), self.table.slice(count), self.keys[count:]
        return part


def finished(table: pa.Table, config: PackConfig) -> pa.Table:
    """Return rows of runs in the schema that is released."""
    if config.messages:
        said = table.column("conversations").combine_chunks()
        spoken = said.flatten()
        roles = pa.array(list(FROM)).take(pc.index_in(spoken.field("from"), value_set=pa.array(list(FROM.values()))))
        messages = pa.StructArray.from_arrays([roles, spoken.field("value")], ["role", "content"])
        bounds = np.concatenate([[0], np.cumsum(pc.list_value_length(said).to_numpy())])
        table = table.append_column("messages", pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), messages))
    target = schema(config)
    return table.select(target.names).cast(target)


def schema(config: PackConfig) -> pa.Schema:
    """Return the schema that is released."""
    lists = [
        pa.field(name, pa.list_(pa.struct([(who, pa.string()), (what, pa.string())])))
        for name, who, what in _SAID
        if name != "messages" or config.messages
    ]
    return pa.schema([*_BEFORE, *lists, *_AFTER])


class Report(PipelineStep):
    """Write `reports/pack.json` and ATTRIBUTION.md."""

    type = "PACK"
    name = "report"

    def __init__(self, config: PackConfig, tasks: int, files: str, work: str) -> None:
        super().__init__()
        self.config = config
        self.tasks = tasks
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Add up what the tasks counted."""
        counted: Counter[tuple[str, ...]] = Counter()
        for shard in range(self.tasks):
            for key, count in read_json(join(self.work, "counts", f"{shard:05d}.json")):
                counted[tuple(key)] += count
        found: dict[str, Counter[str]] = {name: Counter() for name in ("excluded", "flags", "repairs", "splits")}
        sources: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for (kind, *key), count in sorted(counted.items()):
            if kind == "rows":
                sources[tuple(key[:3])][key[3]] += count
                found["splits"][key[3]] += count
            else:
                found[kind][key[0]] += count
        report = {
            **found,
            "rows": found["splits"].total(),
            "sources": [
                {"source": source, "revision": revision, "license": terms, "rows": rows.total(), "splits": rows}
                for (source, revision, terms), rows in sources.items()
            ],
            "parameters": self.config.identity(),
        }
        write_report(self.files, "pack", report)
        with writing(join(self.files, "ATTRIBUTION.md")) as file:
            file.write(attribution(report, self.config).encode())


def attribution(report: Mapping[str, Any], config: PackConfig) -> str:
    """Return, for a reader, where the rows come from, on which terms, and what was changed."""
    form = {
        "chat": "Each row is a conversation in Arabic, translated from the English row of its source by a model.",
        "pairs": "Each row is one English text and its Arabic translation.",
    }
    lines = [
        "# Attribution",
        "",
        f"{form[config.format]} The column `source` names the source of a row, and `license` its terms.",
        "",
        "| source | revision | licence | rows |",
        "|---|---|---|---:|",
        *(f"| {one['source']} | {one['revision']} | {one['license']} | {one['rows']:,} |" for one in report["sources"]),
        "",
        "## What was changed",
        "",
        f"- Of the rows that came this far, {sum(report['excluded'].values()):,} are left out"
        + _listed(report["excluded"]),
        f"- Repairs of Arabic texts: {sum(report['repairs'].values()):,}" + _listed(report["repairs"]),
        "- A row with `copies` above 1 stands for so many rows, itself included: the same, nearly the same, or rows "
        "that ask the same.",
        "",
        "What earlier stages dropped, and why, stands in `reports/`.",
        "",
    ]
    return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    found = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    return f": {found}." if found else "."


def _groups(work: str, split: str) -> list[Group]:
    """Return the row groups of all runs of a split, in the order of the input."""
    folder = join(work, "groups")
    return [Group(*one) for name in names(folder) for one in read_json(join(folder, name)).get(split, [])]
