"""Stages that work on rows: a list of datatrove phases, and the `executor:` that says where they run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import field_validator

from hala_release.manifest import DatasetFacts
from hala_release.payload.parquet import dataset_facts
from pipeline import executor as executors
from pipeline import rows, storage
from pipeline.executor import Executor, Jobs, Local, Phase
from pipeline.stage import Job, Stage, StageConfig, Takes
from pipeline.storage import join

TOOLS = ("datatrove", "datasets", "pyarrow")
"""Recorded with every result; a stage adds its own."""


class RowConfig(StageConfig):
    """What the YAML of every stage may say that works on rows."""

    executor: Executor = Local()

    unhashed: ClassVar[frozenset[str]] = StageConfig.unhashed | {"executor"}

    @field_validator("executor", mode="before")
    @classmethod
    def _here_unless_told_otherwise(cls, given: object) -> object:
        return {"kind": "local", **given} if isinstance(given, dict) else given


Config = TypeVar("Config", bound=RowConfig)

Phases = Callable[[Config, Sequence[str], str, str], list[Phase]]
"""(config, shards, files, work) -> phases that read the shards and leave Parquet, and what else is to be published, in
`files`; `work` is theirs. All are paths, or URLs where the executor needs them."""


def row_stage(
    name: str,
    config: type[Config],
    phases: Phases[Config],
    *,
    tools: tuple[str, ...] = (),
    needs_rows: bool = True,
    serves: bool = False,
    version: int = 1,
) -> Stage[Config]:
    """Return a stage that reads rows, in the role `rows`, and leaves rows.

    Args:
        tools: distributions that it needs beside those of every such stage.
        needs_rows: whether it works on bundles of an earlier stage.
        serves: whether it asks a model, which may be a bundle in the role `model` instead of one in the YAML.
    """
    takes = {"rows": Takes("dataset", many=True)} if needs_rows else {}
    if serves:
        takes["model"] = Takes("model", optional=True, key="server.model")
    return Stage(
        name,
        config,
        functools.partial(_make, phases),
        takes=takes,
        tools=(*TOOLS, *tools),
        carries=("rows",),
        version=version,
    )


def _make(phases: Phases[Config], config: Config, job: Job) -> DatasetFacts:
    with placed(config.executor, rows.shards(job.inputs.get("rows", ())), job.root) as (shards, place):
        steps = phases(config, shards, join(place, "files"), join(place, "work"))
        executors.run(steps, config.executor, join(place, "work"), job.work / "console.log")
    paths = sorted(path.relative_to(job.files).as_posix() for path in job.files.rglob("*.parquet"))
    return dataset_facts(job.files, paths)


@contextmanager
def placed(executor: Executor, shards: list[str], root: Path) -> Iterator[tuple[list[str], str]]:
    """Give the shards and the result's place as the tasks see them: here, or in the storage of the executor."""
    if not isinstance(executor, Jobs):
        yield shards, str(root)
        return
    place = join(executor.storage, root.parent.name, root.name)
    there = [join(place, "inputs", f"{number:05d}.parquet") for number in range(len(shards))]
    copied = set(storage.names(join(place, "inputs")))
    for shard, target in zip(shards, there, strict=True):
        if target.rpartition("/")[2] not in copied:
            storage.copy(shard, target)
    yield there, place
    storage.copy_tree(join(place, "files"), str(root / "files"))
