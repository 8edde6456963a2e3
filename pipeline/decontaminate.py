"""`decontaminate`: rows that hold items of benchmarks are dropped, and what was found is published.

    index    one task: hashed word n-grams of all items, and its digest
    search   a task a shard: the rows without, and those with, an item
    report   one task: `reports/contamination-SIDE.json`

A row holds an item when its n-grams cover more than a share of the words of the question; a question with fewer words
than an n-gram has must stand in the row as it is, and its answer too. After Tülu 3 (8-grams, half the words).

Memory: the index, some 25 bytes an n-gram, mapped and shared by the tasks of a machine; and a row group a task.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from pydantic import Field, field_validator

from pipeline import benchmarks, ngrams, rows, tables
from pipeline.benchmarks import Benchmark
from pipeline.executor import Phase
from pipeline.row_stage import RowConfig, row_stage
from pipeline.stage import write_report
from pipeline.storage import join, read_json, write_json

RULE = "contaminated"


class DecontaminateConfig(RowConfig):
    """Which benchmarks a corpus must not hold."""

    side: Literal["source", "target"]
    """Which texts of a row are searched: those in the source language, or those in Arabic."""
    benchmarks: Annotated[tuple[Benchmark, ...], Field(min_length=1)]
    ngram: Annotated[int, Field(ge=1)] = 8
    """Words of a run that is looked for."""
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """A row is dropped when it holds more than this share of the words of a question."""
    short_words: Annotated[int, Field(ge=1)] = 5
    """An item with fewer words, question and answer together, is not looked for: it would be found everywhere."""

    @field_validator("benchmarks")
    @classmethod
    def _by_name(cls, found: tuple[Benchmark, ...]) -> tuple[Benchmark, ...]:
        if len({one.name for one in found}) < len(found):
            raise ValueError("two benchmarks have one name")
        return found

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on: files by what they hold, branches by the commit that they name."""
        found = super().identity()
        for one, given in zip(found["benchmarks"], self.benchmarks, strict=True):
            one["files"] = given.digests()
            one["revision"] = benchmarks.commit(given)
        return found


def phases(config: DecontaminateConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    """Index the benchmarks, search each shard, and report."""
    paths, tasks = list(shards), len(shards)
    return [
        Phase("index", [BuildIndex(config, work)], 1),
        Phase("search", [Search(config, paths, files, work)], tasks),
        Phase("report", [Report(config, tasks, files, work)], 1),
    ]


STAGE = row_stage("decontaminate", DecontaminateConfig, phases, tools=("numba", "numpy"))


class BuildIndex(PipelineStep):
    """Read the benchmarks, and write `work/ngrams` and `work/benchmarks.json`."""

    type = "DECONTAMINATE"
    name = "index"

    def __init__(self, config: DecontaminateConfig, work: str) -> None:
        super().__init__()
        self.config = config
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Index every item."""
        config = self.config
        found = [list(benchmarks.items(one)) for one in config.benchmarks]
        index = ngrams.build(found, config.ngram, config.short_words)
        told: dict[str, Any] = {"index_sha256": ngrams.save(index, join(self.work, "ngrams")), "benchmarks": {}}
        for number, one in enumerate(config.benchmarks):
            lengths = index.lengths[index.owners == number]
            told["benchmarks"][one.name] = {
                "language": one.language,
                "dataset": one.dataset,
                "revision": benchmarks.commit(one),
                "files": one.digests(),
                "items": len(lengths),
                "items_short": int(((lengths > 0) & (lengths < config.ngram)).sum()),
                "items_not_looked_for": int((lengths == 0).sum()),
            }
        write_json(join(self.work, "benchmarks.json"), told)
        self.stat_update("items", value=len(index.names))


class Search(PipelineStep):
    """Write the rows without an item, and those with one."""

    type = "DECONTAMINATE"
    name = "search"

    def __init__(self, config: DecontaminateConfig, shards: list[str], files: str, work: str) -> None:
        super().__init__()
        self.config = config
        self.shards = shards
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Search the rows of shard number `rank`."""
        index = ngrams.load(join(self.work, "ngrams"))
        sources: dict[str, Counter[str]] = defaultdict(Counter)
        items: Counter[int] = Counter()
        owners: Counter[int] = Counter()
        with (
            tables.writing_tables(join(self.files, "data"), rank, world_size) as keep,
            tables.writing_tables(join(self.files, "dropped"), rank, world_size, rows.DROPPED) as drop,
        ):
            for table in tables.read_tables(self.shards[rank]):
                found: dict[int, list[ngrams.Hit]] = defaultdict(list)
                for hit in ngrams.hits(index, tables.texts(table, self.config.side), self.config.share):
                    found[hit.row].append(hit)
                clean = np.ones(len(table), dtype=bool)
                clean[list(found)] = False
                for row in sorted(found):
                    items.update(hit.item for hit in found[row])
                    owners.update({int(index.owners[hit.item]) for hit in found[row]})
                for source, well in zip(table.column("source").to_pylist(), clean.tolist(), strict=True):
                    sources[source]["kept" if well else "dropped"] += 1
                reasons = pa.array([self._reason(index, found[row]) for row in sorted(found)], pa.string())
                keep(table.filter(pa.array(clean)))
                drop(tables.dropped(table.filter(pa.array(~clean)), pa.array([RULE] * len(reasons)), reasons))
                self.stat_update("kept", value=int(clean.sum()))
                self.stat_update("dropped", value=int((~clean).sum()))
        counted = {"sources": sources, "items": sorted(items.items()), "benchmarks": sorted(owners.items())}
        write_json(join(self.work, "counts", f"{rank:05d}.json"), counted)

    def _reason(self, index: ngrams.Index, found: list[ngrams.Hit]) -> str:
        most = max(found, key=lambda hit: (hit.share, -hit.item))
        name = self.config.benchmarks[index.owners[most.item]].name
        words = int(index.lengths[most.item])
        what = f"{most.share:.0%} of {words} words" if words >= index.ngram else "question and answer"
        return f"{name} {index.names[most.item]}: {what}"


class Report(PipelineStep):
    """Write `reports/contamination-SIDE.json`: which items were hit and how often, never what they say."""

    type = "DECONTAMINATE"
    name = "report"

    def __init__(self, config: DecontaminateConfig, tasks: int, files: str, work: str) -> None:
        super().__init__()
        self.config = config
        self.tasks = tasks
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Add up what the tasks found."""
        index = ngrams.load(join(self.work, "ngrams"))
        told = read_json(join(self.work, "benchmarks.json"))
        sources: dict[str, Counter[str]] = defaultdict(Counter)
        items: Counter[int] = Counter()
        owners: Counter[int] = Counter()
        for shard in range(self.tasks):
            counted = read_json(join(self.work, "counts", f"{shard:05d}.json"))
            items.update(dict(counted["items"]))
            owners.update(dict(counted["benchmarks"]))
            for source, counts in counted["sources"].items():
                sources[source].update(counts)
        for number, one in enumerate(self.config.benchmarks):
            hit = {index.names[item]: count for item, count in items.items() if index.owners[item] == number}
            told["benchmarks"][one.name] |= {"rows_dropped": owners[number], "items_hit": len(hit), "hits": hit}
        total = sum(sources.values(), Counter[str]())
        report = {
            **told,
            "side": self.config.side,
            "ngram": self.config.ngram,
            "share": self.config.share,
            "short_words": self.config.short_words,
            "rows": total.total(),
            "rows_dropped": total["dropped"],
            "sources": sources,
        }
        write_report(self.files, f"contamination-{self.config.side}", report)
