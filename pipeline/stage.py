"""Run a stage: find or make the directory of its result, run its phases there, seal it.

    out/STAGE/DIGEST/files/…         the result
    out/STAGE/DIGEST/manifest.json   written last: the stage is done
    out/STAGE/DIGEST/work/…          logs, statistics, and which tasks are done; never published

The digest is that of the configuration and of the inputs, so the same question finds the same answer, and a run that
was cut off goes on where it stopped. Where and how fast a stage runs is not part of the question.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError, field_validator

from hala_release.bundle import Bundle, seal
from hala_release.errors import ConfigError, Unfinished
from hala_release.located import Document, Mistake, Models, explain
from hala_release.manifest import Input, Provenance, Record
from hala_release.payload.parquet import dataset_facts
from pipeline import executor as executors
from pipeline import rows, storage
from pipeline.executor import Executor, Jobs, Local, Phase
from pipeline.storage import join

TOOLS = ("datatrove", "datasets", "pyarrow")
"""Recorded with every result; a stage adds its own."""
REPORTS = "reports"
"""Folder of a bundle with what stages report; the next stage takes it over."""


class StageConfig(Record):
    """What the YAML of every stage may say."""

    executor: Executor = Local()

    unhashed: ClassVar[frozenset[str]] = frozenset({"executor"})
    """Keys that do not change what comes out: where the stage runs, and how fast."""

    @field_validator("executor", mode="before")
    @classmethod
    def _here_unless_told_otherwise(cls, given: object) -> object:
        return {"kind": "local", **given} if isinstance(given, dict) else given

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on, as JSON."""
        return self.model_dump(mode="json", exclude=set(self.unhashed))


Config = TypeVar("Config", bound=StageConfig)


@dataclass(frozen=True)
class Stage(Generic[Config]):
    """A pipeline step: what it is called, its configuration, and its phases."""

    name: str
    config: type[Config]
    phases: Callable[[Config, Sequence[str], str, str], list[Phase]]
    """(config, shards, files, work) -> phases that read the shards and leave Parquet, and what else is to be published,
    in `files`; `work` is theirs. All are paths, or URLs where the executor needs them."""
    tools: tuple[str, ...] = ()
    """Distributions whose versions are recorded beside those of `TOOLS`."""
    needs_rows: bool = True
    """Whether it works on bundles of an earlier stage."""
    version: int = 1
    """Raised when the code comes to give other rows for the same question, so that old results are not taken for it."""


def load(path: Path, config: type[Config], overrides: dict[str, Any]) -> Config:
    """Read a stage's YAML; `overrides` from the command line win, by dotted key.

    Raises:
        ConfigError: lists every problem with its line.
    """
    try:
        document = Document(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", fix="see pipeline/configs") from error
    except (Mistake, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a configuration:\n  {error}", fix="see pipeline/configs") from error
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        raise ConfigError(f"{path} has to hold `key: value` lines", fix="see pipeline/configs")
    for key, value in overrides.items():
        *outer, last = key.split(".")
        place = data
        for step in outer:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {key}: {step} is no group of keys", fix=f"give all of it: --set {step}=VALUE")
        place[last] = value
    try:
        return config.model_validate(data)
    except ValidationError as error:
        problems = explain(error, document, Models({}, {"": config}))
        raise ConfigError(
            f"{path} is not a configuration:\n" + "\n".join(f"  {problem}" for problem in problems),
            fix="see pipeline/configs",
        ) from error


def run_stage(
    stage: Stage[Config], config: Config, inputs: Sequence[Bundle], out: Path, *, again: bool = False
) -> Bundle:
    """Return the sealed result of a stage, from the disk where it is there already.

    Args:
        out: results lie in `out/STAGE/DIGEST`.
        again: make it anew, for example with newer tools.

    Raises:
        Unfinished: tasks failed, or a scheduler has them; the same command goes on.
    """
    root = out / stage.name / digest(stage, config, inputs)[:16]
    if again and root.exists():
        shutil.rmtree(root)
    if (root / "manifest.json").exists():
        return Bundle.open(root)
    with _alone(root):
        done = (root / "manifest.json").exists()  # by a process that was there first
        return Bundle.open(root) if done else _made(stage, config, inputs, root)


def _made(stage: Stage[Config], config: Config, inputs: Sequence[Bundle], root: Path) -> Bundle:
    for bundle in inputs:
        bundle.verify()
    files = root / "files"
    files.mkdir(parents=True, exist_ok=True)
    _carry_reports(inputs, files / REPORTS)
    with placed(config.executor, rows.shards(inputs), root) as (shards, place):
        phases = stage.phases(config, shards, join(place, "files"), join(place, "work"))
        executors.run(phases, config.executor, join(place, "work"), root / "work" / "console.log")
    paths = sorted(path.relative_to(files).as_posix() for path in files.rglob("*.parquet"))
    return seal(
        root,
        name=stage.name,
        facts=dataset_facts(files, paths),
        provenance=Provenance(
            stage=stage.name,
            config=config.identity(),
            inputs=tuple(Input(name=one.manifest.name, manifest_sha256=one.manifest_sha256) for one in inputs),
            tools={name: version(name) for name in (*TOOLS, *stage.tools)},
        ),
        digests={},
    )


def digest(stage: Stage[Config], config: Config, inputs: Sequence[Bundle]) -> str:
    """Return what names a result: the stage, its configuration, and the files of its inputs."""
    files = [[(entry.path, entry.sha256) for entry in one.manifest.files] for one in inputs]
    question = [stage.name, stage.version, config.identity(), files]
    return hashlib.sha256(json.dumps(question, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _carry_reports(inputs: Sequence[Bundle], target: Path) -> None:
    """Take over what earlier stages reported, so that the last bundle can tell the whole story.

    Where inputs bring different reports of one name, those of the later ones get a number. What is there already is
    left: it was taken over before, or is this stage's own.
    """
    found: dict[str, Path] = {}
    for number, bundle in enumerate(inputs, 1):
        for report in sorted((bundle.files / REPORTS).glob("*")):
            same = found.setdefault(report.name, report)
            if same.read_bytes() != report.read_bytes():
                found[f"{report.stem}-{number}{report.suffix}"] = report
    for name, report in found.items():
        if not (target / name).exists():
            storage.copy(str(report), str(target / name))


def write_report(files: str, name: str, report: Mapping[str, Any]) -> None:
    """Write what a stage reports, as people and tools read it: the same report gives the same bytes."""
    with storage.writing(join(files, REPORTS, f"{name}.json")) as file:
        file.write(json.dumps(report, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keep a second process from making the same result at the same time.

    Raises:
        Unfinished: there is one.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unfinished(
                f"another process is making {root}", fix="wait for it; the same command then finds the result"
            ) from error
        yield


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
