"""Run a stage: find or make the directory of its result, run its phases there, seal it.

    out/STAGE/DIGEST/files/…         the result
    out/STAGE/DIGEST/manifest.json   written last: the stage is done
    out/STAGE/DIGEST/work/…          logs, statistics, and which tasks are done; never published

The digest is that of the configuration and of the inputs, so the same question finds the same answer, and a run that
was cut off goes on where it stopped. Where and how fast a stage runs is not part of the question.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError, field_validator

from hala_release.bundle import Bundle, seal
from hala_release.errors import ConfigError, ContractError
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
    data = document.data or {}
    for key, value in overrides.items():
        *outer, last = key.split(".")
        place = data
        for step in outer:
            place = place.setdefault(step, {})
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
    """Return what names a result: the stage, its configuration and its inputs."""
    question = [stage.name, config.identity(), [one.manifest_sha256 for one in inputs]]
    return hashlib.sha256(json.dumps(question, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _carry_reports(inputs: Sequence[Bundle], target: Path) -> None:
    """Take over what earlier stages reported, so that the last bundle can tell the whole story."""
    for bundle in inputs:
        for report in sorted((bundle.files / REPORTS).glob("*")):
            copy = target / report.name
            if copy.exists() and copy.read_bytes() != report.read_bytes():
                raise ContractError(
                    f"two inputs bring a different {REPORTS}/{report.name}", fix="give inputs that went other roads"
                )
            storage.copy(str(report), str(copy))


@contextmanager
def placed(executor: Executor, shards: list[str], root: Path) -> Iterator[tuple[list[str], str]]:
    """Give the shards and the result's place as the tasks see them: here, or in the storage of the executor."""
    if not isinstance(executor, Jobs):
        yield shards, str(root)
        return
    place = join(executor.storage, root.parent.name, root.name)
    there = [join(place, "inputs", f"{number:05d}.parquet") for number in range(len(shards))]
    for shard, target in zip(shards[len(storage.names(join(place, "inputs"))) :], there, strict=False):
        storage.copy(shard, target)
    yield there, place
    storage.copy_tree(join(place, "files"), str(root / "files"))
