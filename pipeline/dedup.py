"""`dedup`: of rows that say the same, one stays and counts the others.

    sign      a task a shard: a digest of each row's folded conversation and one of its prompt, and its MinHash bands
    cluster   one task: exact, then near, then prompt-only duplicates; which row stays
    keep      a task a shard: the rows that stay, with `copies`; the others, with the rule and the id of who stays
    report    one task: `reports/dedup.json`

Memory: `sign` and `keep` hold a row group. `cluster` holds some numbers a row and one band at a time: about 100 bytes a
row, so that 10 million rows need 1 GB.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from pydantic import Field

from pipeline import rows, tables
from pipeline.compiled import compiled
from pipeline.executor import Phase
from pipeline.minhash import MinHash, band_keys, signatures
from pipeline.row_stage import RowConfig, row_stage
from pipeline.rows import Role
from pipeline.stage import write_report
from pipeline.storage import join, read_json, reading, write_json, writing
from pipeline.tables import ROLES, Side, Texts
from pipeline.words import Folded, Hashes, Places, folded

Action = Literal["drop", "flag", "keep"]
Criterion = Literal["accepted", "fewest_flags", "fewest_repairs", "longest"]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

RULES = ("exact", "near", "prompt")
DECISION = pa.schema(
    [("rule", pa.int8()), ("flagged", pa.int8()), ("copies", pa.int32()), ("keeper", pa.string())],
)
"""What becomes of a row: the number of the rule that drops it, from 1, or 0; a bit for each rule that flags it; how
many rows it stands for; and the id of the row that stays instead of it."""


class DedupConfig(RowConfig):
    """What counts as a duplicate, and what is done about it."""

    compare: Side = "latest"
    """Which texts are compared: `source`, `target`, or `latest`: the Arabic ones where a row has them."""
    near: MinHash = MinHash()
    near_action: Action = "drop"
    """What is done with near duplicates of the row that stays; `keep` does not look for them."""
    near_roles: tuple[Role, ...] = ("user", "assistant")
    """Whose turns make near duplicates: many rows share a long system prompt and nothing else."""
    prompt_action: Action = "drop"
    """What is done with rows that ask the same and are answered otherwise."""
    prompt_roles: Annotated[tuple[Role, ...], Field(min_length=1)] = ("system", "user")
    """Whose turns, over the whole conversation, are the prompt."""
    best: tuple[Criterion, ...] = ("accepted", "fewest_flags")
    """Which row stays, the first criterion first; after all of them the one that comes first."""


def phases(config: DedupConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    """Sign each shard, cluster all rows, and write what stays and what does not."""
    paths, tasks = list(shards), len(shards)
    return [
        Phase("sign", [Sign(config, paths, work)], tasks),
        Phase("cluster", [Cluster(config, paths, work)], 1),
        Phase("keep", [Keep(paths, files, work)], tasks),
        Phase("report", [Report(config, tasks, files, work)], 1),
    ]


STAGE = row_stage("dedup", DedupConfig, phases, tools=("numba", "numpy"))


class Sign(PipelineStep):
    """Write what duplicates are found by, in `work/keys`."""

    type = "DEDUP"
    name = "sign"

    def __init__(self, config: DedupConfig, shards: list[str], work: str) -> None:
        super().__init__()
        self.config = config
        self.shards = shards
        self.keys = join(work, "keys")

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Sign the rows of shard number `rank`."""
        config = self.config
        exact, prompt, bands, best = [_NO_DIGESTS], [_NO_DIGESTS], [np.zeros((0, config.near.bands), np.uint64)], []
        asking = [ROLES.index(role) for role in config.prompt_roles]
        for table in tables.read_tables(self.shards[rank], ["turns", "target", "verdict", "flags", "repairs"]):
            found = tables.texts(table, config.compare)
            plain = folded(found.values, "exact")
            exact.append(digests(plain, found, np.ones(len(found.values), dtype=bool)))
            prompt.append(digests(plain, found, np.isin(found.roles, asking)))
            if config.near_action != "keep":
                bands.append(_bands(found, config))
            best.append(_merits(table, config.best))
            self.stat_update("rows", value=len(table))
        _save(self.keys, "exact", rank, np.concatenate(exact))
        _save(self.keys, "prompt", rank, np.concatenate(prompt))
        _save(self.keys, "bands", rank, np.ascontiguousarray(np.concatenate(bands).T))
        _save(self.keys, "best", rank, np.concatenate([np.zeros((0, len(config.best)), np.int32), *best]))


def digests(texts: Folded, found: Texts, used: Mask) -> Hashes:
    """Return half the sha256 of who says what in each row, two numbers a row; zeros where nobody says anything."""
    heads = np.empty(len(used), np.dtype([("role", "u1"), ("size", "<i8")]))
    heads["role"], heads["size"] = found.roles, texts.ends - texts.starts
    said = np.concatenate([[0], np.cumsum(np.where(used, heads["size"], 0))])[found.bounds]
    rows = np.flatnonzero(said[1:] > said[:-1])
    # One text after the other, of those that count.
    bounds = np.concatenate([[0], np.cumsum(used)])[found.bounds]
    starts, ends = texts.starts[used].tolist(), texts.ends[used].tolist()
    head, width, data = heads[used].tobytes(), heads.itemsize, texts.data.tobytes()
    pieces = [
        hashlib.sha256(
            head[first * width : last * width] + b"".join([data[starts[one] : ends[one]] for one in range(first, last)])
        ).digest()
        for first, last in zip(bounds[rows].tolist(), bounds[rows + 1].tolist(), strict=True)
    ]
    out = np.zeros((len(found.bounds) - 1, 2), np.uint64)
    out[rows] = np.frombuffer(b"".join(pieces), np.uint64).reshape(-1, 4)[:, :2]
    return out


_NO_DIGESTS: Hashes = np.zeros((0, 2), np.uint64)


def _bands(found: Texts, config: DedupConfig) -> Hashes:
    used = np.isin(found.roles, [ROLES.index(role) for role in config.near_roles])
    signed = signatures(folded(found.values, "words"), found.bounds, used, config.near)
    keys, any_shingle = band_keys(signed, config.near)
    keys[~any_shingle] = 0
    return keys


def _merits(table: pa.Table, criteria: Sequence[Criterion]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return a number a criterion for each row, less for better."""
    out = np.zeros((len(table), len(criteria)), np.int32)
    for place, criterion in enumerate(criteria):
        match criterion:
            case "accepted":
                accepted = pc.struct_field(table.column("verdict").combine_chunks(), "accept")
                said = pc.if_else(accepted, 0, 2)
                out[:, place] = pc.fill_null(said, 1).to_numpy(zero_copy_only=False)
            case "fewest_flags" | "fewest_repairs":
                listed = table.column(criterion.removeprefix("fewest_"))
                out[:, place] = pc.fill_null(pc.list_value_length(listed), 0).to_numpy()
            case "longest":
                out[:, place] = -tables.characters(table)
    return out


class Cluster(PipelineStep):
    """Decide what becomes of each row, in `work/decisions`."""

    type = "DEDUP"
    name = "cluster"

    def __init__(self, config: DedupConfig, shards: list[str], work: str) -> None:
        super().__init__()
        self.config = config
        self.shards = shards
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Find the duplicates among the rows of all shards."""
        keys = join(self.work, "keys")
        every = range(len(self.shards))
        best = [_load(keys, "best", shard) for shard in every]
        bounds = np.concatenate([[0], np.cumsum([len(one) for one in best])])
        decided = Decisions(np.concatenate(best), self._copies())
        del best
        decided.settle("exact", *_by_digest(keys, "exact", every), "drop")
        if self.config.near_action != "keep":
            decided.settle("near", *self._near(keys, decided.stays), self.config.near_action)
        if self.config.prompt_action != "keep":
            decided.settle("prompt", *_by_digest(keys, "prompt", every, decided.stays), self.config.prompt_action)
        self._write(decided, bounds)
        write_json(join(self.work, "clusters.json"), decided.sizes)

    def _copies(self) -> Places:
        """Return how many rows each row stands for already, where it went through `dedup` before."""
        found = [np.zeros(0, np.int64)]
        for shard in self.shards:
            copies = (table.column("copies") for table in tables.read_tables(shard, ["copies"]))
            found += [pc.fill_null(one, 1).to_numpy().astype(np.int64) for one in copies]
        return np.concatenate(found)

    def _near(self, keys: str, stays: Mask) -> tuple[Places, list[Places]]:
        """Return the rows with a near duplicate, and the number of the cluster of each."""
        members = np.flatnonzero(stays)
        parent = np.arange(len(members))
        for band in range(self.config.near.bands):
            column = np.concatenate([_load(keys, "bands", shard, band) for shard in range(len(self.shards))])[members]
            join_equal(parent, column, np.argsort(column))
        roots = find_roots(parent)
        shared = np.bincount(roots, minlength=len(roots))[roots] > 1
        return members[shared], [roots[shared]]

    def _write(self, decided: Decisions, bounds: Places) -> None:
        gone = np.flatnonzero(~decided.stays)
        by_keeper = gone[np.argsort(decided.keeper[gone], kind="stable")]
        wanted = decided.keeper[by_keeper]
        edges = np.searchsorted(wanted, bounds)
        found = []
        for shard, path in enumerate(self.shards):
            if edges[shard] < edges[shard + 1]:
                with reading(path) as handle, pq.ParquetFile(handle) as file:
                    ids = file.read(["id"]).column("id").combine_chunks()
                found.append(ids.take(pa.array(wanted[edges[shard] : edges[shard + 1]] - bounds[shard])))
        names = pa.chunked_array(found, pa.string()).take(pa.array(np.argsort(by_keeper))).combine_chunks()
        edges = np.searchsorted(gone, bounds)
        for shard in range(len(self.shards)):
            mine = slice(bounds[shard], bounds[shard + 1])
            place = np.zeros(bounds[shard + 1] - bounds[shard], np.int64)
            missing = decided.stays[mine]
            place[~missing] = np.arange(edges[shard], edges[shard + 1])
            columns = [
                pa.array(decided.rule[mine]),
                pa.array(decided.flagged[mine]),
                pa.array(decided.copies[mine], pa.int32()),
                names.take(pa.array(place, mask=missing)),
            ]
            with writing(join(self.work, "decisions", f"{shard:05d}.parquet")) as file:
                pq.write_table(pa.table(columns, schema=DECISION), file, compression="zstd")


class Decisions:
    """What becomes of each row, decided rule by rule: a rule sees the rows that those before it left."""

    def __init__(self, merits: np.ndarray[Any, np.dtype[np.int32]], copies: Places) -> None:
        count = len(merits)
        order = np.lexsort(merits.T[::-1]) if merits.shape[1] else np.arange(count)
        self.rank = np.empty(count, np.int64)
        self.rank[order] = np.arange(count)
        self.copies = copies
        self.keeper = np.arange(count)
        self.rule = np.zeros(count, np.int8)
        self.flagged = np.zeros(count, np.int8)
        self.sizes: dict[str, dict[int, int]] = {}

    @property
    def stays(self) -> Mask:
        """The rows that no rule has dropped."""
        return np.equal(self.rule, 0)

    def settle(self, rule: str, members: Places, labels: Sequence[Hashes | Places], action: Action) -> None:
        """Let one of the members that have the same labels stay, and act on the others."""
        order = np.lexsort([self.rank[members], *labels])
        new = np.ones(len(members), dtype=bool)
        if len(members):
            new[1:] = np.any([label[order][1:] != label[order][:-1] for label in labels], axis=0)
        members = members[order]
        starts = np.flatnonzero(new)
        lengths = np.diff(np.append(starts, len(members)))
        best, others = np.repeat(members[starts], lengths)[~new], members[~new]
        sizes, counts = np.unique(lengths[lengths > 1], return_counts=True)
        self.sizes[rule] = dict(zip(sizes.tolist(), counts.tolist(), strict=True))
        if action == "flag":
            self.flagged[others] |= 1 << RULES.index(rule)
            return
        self.rule[others] = 1 + RULES.index(rule)
        np.add.at(self.copies, best, self.copies[others])
        self.keeper[others] = best
        self.keeper = self.keeper[self.keeper]  # who stayed for an earlier rule may go for this one


def _by_digest(keys: str, name: str, shards: Sequence[int], stays: Mask | None = None) -> tuple[Places, list[Hashes]]:
    """Return the rows that have a digest, and the digests in two parts."""
    found = np.concatenate([_NO_DIGESTS, *(_load(keys, name, shard) for shard in shards)])
    there = found.any(axis=1)
    members = np.flatnonzero(there if stays is None else there & stays)
    return members, [found[members, 0], found[members, 1]]


@compiled
def join_equal(parent: Places, keys: Hashes, order: Places) -> None:
    """Put rows with equal keys into one set; `order` sorts the keys, and 0 is no key."""
    for place in range(1, len(order)):
        if keys[order[place]] == keys[order[place - 1]] and keys[order[place]] != 0:
            one, other = _root(parent, order[place]), _root(parent, order[place - 1])
            parent[max(one, other)] = min(one, other)


@compiled
def find_roots(parent: Places) -> Places:
    """Return the first row of the set of each row."""
    roots = np.empty_like(parent)
    for row in range(len(parent)):
        roots[row] = _root(parent, row)
    return roots


@compiled
def _root(parent: Places, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


class Keep(PipelineStep):
    """Write the rows that stay, and those that do not."""

    type = "DEDUP"
    name = "keep"

    def __init__(self, shards: list[str], files: str, work: str) -> None:
        super().__init__()
        self.shards = shards
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Carry out what was decided of the rows of shard number `rank`."""
        with reading(join(self.work, "decisions", f"{rank:05d}.parquet")) as file:
            decisions = pq.read_table(file).combine_chunks()
        counted: Counter[tuple[str, str]] = Counter()
        done = 0
        with (
            tables.writing_tables(join(self.files, "data"), rank, world_size) as keep,
            tables.writing_tables(join(self.files, "dropped"), rank, world_size, rows.DROPPED) as drop,
        ):
            for table in tables.read_tables(self.shards[rank]):
                decided = decisions.slice(done, len(table))
                done += len(table)
                rule = decided.column("rule").to_numpy()
                _count(counted, table, rule, decided.column("flagged").to_numpy())
                stays, goes = pa.array(rule == 0), pa.array(rule != 0)
                keep(_marked(table.filter(stays), decided.filter(stays)))
                names = pa.array(RULES).take(pa.array(rule[rule != 0] - 1))
                drop(tables.dropped(table.filter(goes), names, decided.column("keeper").filter(goes)))
                self.stat_update("kept", value=int((rule == 0).sum()))
                self.stat_update("dropped", value=int((rule != 0).sum()))
        told = [[*key, count] for key, count in sorted(counted.items())]
        write_json(join(self.work, "counts", f"{rank:05d}.json"), told)


def _marked(table: pa.Table, decided: pa.Table) -> pa.Table:
    """Set `copies`, and add the rules that flag a row to its `flags`."""
    table = table.set_column(table.schema.get_field_index("copies"), rows.ROW.field("copies"), decided.column("copies"))
    bits = decided.column("flagged").to_numpy()
    if not bits.any():
        return table
    flags = [
        [*before, *(rule for number, rule in enumerate(RULES) if bit >> number & 1 and rule not in before)]
        for before, bit in zip(table.column("flags").to_pylist(), bits.tolist(), strict=True)
    ]
    place = table.schema.get_field_index("flags")
    return table.set_column(place, rows.ROW.field("flags"), pa.array(flags, pa.list_(pa.string())))


def _count(counted: Counter[tuple[str, str]], table: pa.Table, rule: Any, flagged: Any) -> None:  # noqa: ANN401
    source = table.column("source").to_numpy()
    outcome = np.array(["kept", *RULES])[rule]
    for bits, name in [(outcome, None), *(((flagged >> one) & 1, f"flagged {what}") for one, what in enumerate(RULES))]:
        if name is None:
            counted.update(zip(source.tolist(), bits.tolist(), strict=True))
        elif bits.any():
            counted.update((one, name) for one in source[bits == 1].tolist())


class Report(PipelineStep):
    """Write `reports/dedup.json`."""

    type = "DEDUP"
    name = "report"

    def __init__(self, config: DedupConfig, tasks: int, files: str, work: str) -> None:
        super().__init__()
        self.config = config
        self.tasks = tasks
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Add up what the tasks counted."""
        sources: dict[str, Counter[str]] = defaultdict(Counter)
        for shard in range(self.tasks):
            for source, outcome, count in read_json(join(self.work, "counts", f"{shard:05d}.json")):
                sources[source][outcome] += count
        total = sum(sources.values(), Counter[str]())
        report = {
            "rows": sum(total[name] for name in ("kept", *RULES)),
            "total": total,
            "sources": sources,
            "cluster_sizes": read_json(join(self.work, "clusters.json")),
            "parameters": self.config.identity(),
        }
        write_report(self.files, "dedup", report)


def _save(folder: str, name: str, shard: int, values: np.ndarray[Any, Any]) -> None:
    with writing(join(folder, f"{name}-{shard:05d}.npy")) as file:
        np.save(file, values, allow_pickle=False)


def _load(folder: str, name: str, shard: int, line: int | None = None) -> Any:  # noqa: ANN401
    """Return an array, or one line of it without reading the others."""
    with reading(join(folder, f"{name}-{shard:05d}.npy")) as file:
        if line is None:
            return np.load(file, allow_pickle=False)
        np.lib.format.read_magic(file)
        (_, width), _, kind = np.lib.format.read_array_header_1_0(file)
        file.seek(line * width * kind.itemsize, 1)
        return np.frombuffer(file.read(width * kind.itemsize), kind)
