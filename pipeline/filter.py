"""`filter`: every rule of the table on every row; what is repaired, dropped or flagged, and a report of it.

judge     a task a shard: rows kept in `files/data`, dropped ones in `files/dropped`, repairs in `files/repairs`
report    one task: `reports/quality_report.json` and the chart `reports/quality.png`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from pydantic import Field, model_validator

from pipeline import quality, rows
from pipeline.executor import Phase
from pipeline.quality import Drift, Tally
from pipeline.row_stage import RowConfig, row_stage
from pipeline.rows import DROPPED, ReadRows, Row, dropped, writing_rows
from pipeline.rules.table import RULES, Judge, Judged, Rules
from pipeline.storage import join, writing

REPAIRS = pa.schema(
    [("id", pa.string()), ("turn", pa.int32()), ("rule", pa.string()), ("before", pa.string()), ("after", pa.string())]
)
"""One repair of a kept row: what lay around the first change, and what lies there now."""

EXCERPT = 60
"""Characters of a repair that are logged on each side of the first change."""
LOG_GROUP = 10_000
BATCH_ROWS = 500
BATCH_CHARACTERS = 2_000_000
"""Rows are counted together up to so many; what comes out does not depend on it."""


class FilterConfig(RowConfig):
    """The rules and their limits, and how much a rule may move from one release to the next."""

    rules: Rules = Rules()
    """By id: `enabled`, `action` and limits; a rule that is not named has its defaults."""
    drift: Drift | None = None
    """A gate: compare with an earlier report, and fail where the drop rate of a rule moved too far."""
    examples: Annotated[int, Field(ge=0, le=20)] = 3
    """Short redacted examples of each rule in the report."""

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on: the earlier report by its digest, wherever it lies."""
        found = super().identity()
        if found["drift"]:
            del found["drift"]["report"]
        return found

    @model_validator(mode="after")
    def _actions_exist(self) -> FilterConfig:
        for name, limits in self.rules:
            if limits.action == "repair" and RULES[name].repair is None:
                raise ValueError(f"rules.{name}.action: {name} repairs nothing; choose drop, flag or report")
        return self


def phases(config: FilterConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    """Judge each shard, then sum up."""
    paths, tasks = list(shards), len(shards)
    return [
        Phase("judge", [ReadRows(paths), ApplyRules(config, files, work)], tasks),
        Phase("report", [quality.Report(config.identity(), config.drift, config.examples, tasks, files, work)], 1),
    ]


STAGE = row_stage("filter", FilterConfig, phases, tools=("numba", "numpy", "matplotlib", "pycld2"))


class ApplyRules(PipelineStep):
    """Write what is kept, what is dropped, what was repaired, and a tally for the report."""

    type = "FILTER"
    name = "rules"

    def __init__(self, config: FilterConfig, files: str, work: str) -> None:
        super().__init__()
        self.config = config.model_dump(mode="json", include={"rules", "examples"})
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> None:
        """Judge the rows of one shard."""
        config = FilterConfig.model_validate(self.config)
        judge, tally = Judge(config.rules), Tally(config.examples)
        with ExitStack() as stack:
            keep, drop = (
                stack.enter_context(writing_rows(join(self.files, name), rank, world_size, schema))
                for name, schema in (("data", rows.ROW), ("dropped", DROPPED))
            )
            log = stack.enter_context(_logging(join(self.files, "repairs"), rank, world_size))
            for batch in _batches(one.metadata for one in data or ()):
                judged, pairs = judge.judge(batch)
                tally.add(judged, pairs)
                for one in judged:
                    if out := one.dropped:
                        drop(dropped(one.row, out.rule, out.reason))
                        continue
                    keep(kept(one))
                    for mend in one.mends:
                        log(
                            {
                                "id": one.row["id"],
                                "turn": mend.turn,
                                "rule": mend.rule,
                                **excerpts(mend.before, mend.after),
                            }
                        )
                self.stat_update("rows", value=len(batch))
                self.stat_update("dropped", value=sum(one.dropped is not None for one in judged))
        with writing(join(self.work, "tally", f"{rank:05d}.json")) as file:
            file.write(orjson.dumps(tally.partial(), option=orjson.OPT_SORT_KEYS))


@contextmanager
def _logging(folder: str, rank: int, world_size: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that logs a repair; the file is there when the block is left."""
    held: list[dict[str, Any]] = []
    path = join(folder, f"train-{rank:05d}-of-{world_size:05d}.parquet")
    with writing(path) as file, pq.ParquetWriter(file, REPAIRS, compression="zstd") as writer:

        def log(entry: dict[str, Any]) -> None:
            held.append(entry)
            if len(held) >= LOG_GROUP:
                flush()

        def flush() -> None:
            if held:
                writer.write_table(pa.Table.from_pylist(held, schema=REPAIRS))
                held.clear()

        yield log
        flush()


def kept(one: Judged) -> Row:
    """Return the row with its repairs, and with what the rules say of it."""
    if not one.found:
        return one.row
    flags = [found.rule for found in one.found if found.action == "flag"]
    repairs = list(dict.fromkeys(mend.rule for mend in one.mends))
    row = one.row
    return {
        **row,
        "target": one.target,
        "flags": list(dict.fromkeys([*row["flags"], *flags])),
        "repairs": list(dict.fromkeys([*row["repairs"], *repairs])),
    }


def excerpts(before: str, after: str) -> dict[str, str]:
    """Return what lies around the first change, before and after."""
    low, high = 0, min(len(before), len(after))
    while low < high:  # the longest common start, by halves: texts are long and the change may be at the end
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    start = max(0, low - EXCERPT)
    return {"before": _whole(before[start : low + EXCERPT]), "after": _whole(after[start : low + EXCERPT])}


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _batches(some: Iterator[Any]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    weight = 0
    for row in some:
        batch.append(row)
        weight += rows.characters(row)
        if len(batch) >= BATCH_ROWS or weight >= BATCH_CHARACTERS:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch
