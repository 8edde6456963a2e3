"""Where a stage runs: the `executor:` of its YAML, as a datatrove executor.

The same phases run on this machine, on a Ray cluster, on Slurm or as Jobs of the Hub. What they write does not depend
on it: a task reads one shard and writes one, and the number of tasks is that of the shards, never that of the workers.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from datatrove.executor.base import PipelineExecutor
from pydantic import Field

from hala_release.errors import EngineMissing, HalaError, Unfinished
from hala_release.manifest import Record
from hala_release.talk import Talk
from pipeline.storage import join


class Phase(NamedTuple):
    """Tasks that may run side by side; a phase starts when the one before it is done."""

    name: str
    steps: list[Any]
    """A datatrove pipeline: a reader, what it does to rows, a writer."""
    tasks: int
    around: Callable[[Talk], AbstractContextManager[object]] | None = None
    """What is there while tasks run, for example a server that they share; it is told how to speak to the user, and
    only entered when tasks are left. With Slurm the tasks run later, and find nothing of it."""


class Local(Record):
    """Processes on this machine."""

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    """Tasks that run at a time."""


class Ray(Record):
    """Tasks on a Ray cluster that reaches the same files."""

    kind: Literal["ray"]
    address: str | None = None
    """The cluster, as `ray.init` takes it; none starts one on this machine."""
    workers: Annotated[int, Field(ge=1)] = 1
    cpus_per_task: Annotated[int, Field(ge=1)] = 1
    gpus_per_task: Annotated[int, Field(ge=0)] = 0
    mem_per_cpu_gb: Annotated[float, Field(gt=0)] = 2


class Slurm(Record):
    """An array job of Slurm per phase, on nodes that see the same files."""

    kind: Literal["slurm"]
    partition: str
    time: str
    """The limit of a task, as Slurm writes it: `12:00:00`."""
    workers: Annotated[int, Field(ge=1)] = 1
    cpus_per_task: Annotated[int, Field(ge=1)] = 1
    gpus_per_task: Annotated[int, Field(ge=0)] = 0
    mem_per_cpu_gb: Annotated[int, Field(ge=1)] = 2
    qos: str = "normal"
    environment: str | None = None
    """A command that each job runs first, for example `source .venv/bin/activate`."""
    sbatch: Mapping[str, str] = {}
    """More arguments of sbatch."""


class Jobs(Record):
    """Jobs of the Hub, with a bucket or repository that this machine and the Jobs both reach."""

    kind: Literal["jobs"]
    storage: Annotated[str, Field(pattern=r"^(hf|s3)://")]
    """Where the Jobs read and write: `hf://buckets/ORGANIZATION/NAME`."""
    workers: Annotated[int, Field(ge=1)] = 1
    flavor: str = "cpu-basic"
    image: str | None = None
    namespace: str | None = None
    timeout: str = "6h"
    dependencies: tuple[str, ...] = ()
    """Requirements that a Job installs first."""


Executor = Annotated[Local | Ray | Slurm | Jobs, Field(discriminator="kind")]


def run(phases: Sequence[Phase], executor: Executor, work: str, console: Path) -> None:
    """Run the phases in order; tasks that are done already are skipped.

    Args:
        work: where datatrove keeps logs, statistics and which tasks are done.
        console: a file of this machine that takes what datatrove and the tasks print.

    Raises:
        Unfinished: tasks failed, or a scheduler has them and they are not done yet.
        EngineMissing: the executor's library is not installed.
    """
    before: PipelineExecutor | None = None
    with _quiet(console) as talk:
        for phase in phases:
            engine = _engine(phase, executor, join(work, phase.name), before)
            left = _undone(engine)
            if left:
                talk(f"{phase.name}: {left} of {phase.tasks} task{'s' * (phase.tasks > 1)} to do")
                with phase.around(talk) if phase.around else nullcontext():
                    before = _perform(engine, phase, executor, work)
    if before is not None:
        raise Unfinished(
            "the tasks are with the scheduler",
            fix="run the same command again when its jobs are done; it seals the result",
        )


def _perform(engine: PipelineExecutor, phase: Phase, executor: Executor, work: str) -> PipelineExecutor | None:
    """Run a phase, and return its executor where a scheduler has the tasks now."""
    fix = f"read {join(work, phase.name, 'logs')}, mend the cause, and run the same command again"
    try:
        engine.run()
    except HalaError:
        raise
    except Exception as error:  # a task may raise anything, and it comes out here as it was
        raise Unfinished(f"{phase.name}: {type(error).__name__}: {error}", fix=fix) from error
    left = _undone(engine)
    if left and executor.kind != "slurm":
        raise Unfinished(f"{phase.name}: {left} of {phase.tasks} tasks failed", fix=fix)
    return engine if left else None


def _undone(engine: PipelineExecutor) -> int:
    return len(engine.get_incomplete_ranks(skip_completed=True))


@contextmanager
def _quiet(console: Path) -> Iterator[Talk]:
    """Send what datatrove and its tasks print to a file, and give a way to speak past it."""
    with os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8") as terminal:

        def talk(sentence: str) -> None:
            terminal.write(f"{sentence}\n")

        console.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.flush()
        with console.open("ab") as file:
            os.dup2(file.fileno(), 2)
        try:
            yield talk
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)


def _engine(phase: Phase, executor: Executor, logs: str, before: PipelineExecutor | None) -> PipelineExecutor:
    """Return the datatrove executor of a phase; `before` is that of an unfinished phase that it has to wait for."""
    shared = {"pipeline": phase.steps, "tasks": phase.tasks, "logging_dir": logs, "workers": executor.workers}
    match executor:
        case Local():
            from pipeline.processes import Processes

            return Processes(**shared)
        case Ray():
            from datatrove.executor.ray import RayPipelineExecutor

            _start_ray(executor)
            return RayPipelineExecutor(
                **shared,
                cpus_per_task=executor.cpus_per_task,
                gpus_per_task=executor.gpus_per_task,
                mem_per_cpu_gb=executor.mem_per_cpu_gb,
            )
        case Slurm():
            from datatrove.executor.slurm import SlurmPipelineExecutor

            return SlurmPipelineExecutor(
                **shared,
                depends=before,
                job_name=phase.name,
                time=executor.time,
                partition=executor.partition,
                cpus_per_task=executor.cpus_per_task,
                gpus_per_task=executor.gpus_per_task,
                mem_per_cpu_gb=executor.mem_per_cpu_gb,
                qos=executor.qos,
                env_command=executor.environment,
                sbatch_args=dict(executor.sbatch),
            )
        case Jobs():
            from datatrove.executor.jobs import JobsPipelineExecutor

            return JobsPipelineExecutor(
                **shared,
                depends=before,
                job_name=phase.name,
                flavor=executor.flavor,
                image=executor.image,
                namespace=executor.namespace,
                timeout=executor.timeout,
                dependencies=list(executor.dependencies),
            )


def _start_ray(executor: Ray) -> None:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise EngineMissing("ray is not installed here", fix="pip install 'datatrove[ray]'") from error
    if not ray.is_initialized():
        ray.init(address=executor.address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
