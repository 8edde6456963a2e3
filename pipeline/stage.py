"""Run a stage: find or make the directory of its result, let it fill that, seal it.

    out/STAGE/DIGEST/files/…         the result
    out/STAGE/DIGEST/manifest.json   written last: the stage is done
    out/STAGE/DIGEST/work/…          logs, checkpoints, and which parts are done; never published

The digest is that of the configuration and of the inputs, so the same question finds the same answer, and a run that
was cut off goes on where it stopped. Where and how fast a stage runs is not part of the question.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from hala_release.bundle import Bundle, ancestors, seal
from hala_release.errors import ConfigError, ContractError, Unfinished
from hala_release.located import Document, Mistake, Models, explain
from hala_release.manifest import Facts, Input, Kind, Provenance, Record
from hala_release.talk import Talk
from pipeline import storage
from pipeline.storage import join

REPORTS = "reports"
"""Folder of a bundle with what stages report; later stages take it over."""

LOCK = ".lock"
"""File that the process holds which makes a result."""

Inputs = Mapping[str, Sequence[Bundle]]
"""Bundles by what they are to the stage: `rows`, or `base` and `data`."""


class StageConfig(Record):
    """What the YAML of every stage may say."""

    unhashed: ClassVar[frozenset[str]] = frozenset()
    """Keys that do not change what comes out: where the stage runs, and how fast."""

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on, as JSON."""
        return self.model_dump(mode="json", exclude=set(self.unhashed))

    def needs(self) -> tuple[str, ...]:
        """Return distributions that this configuration needs beside those of its stage."""
        return ()


Config = TypeVar("Config", bound=StageConfig)


@dataclass(frozen=True)
class Takes:
    """What a stage takes in one role."""

    kind: Kind
    many: bool = False
    """Whether there may be more than one."""
    optional: bool = False
    key: str | None = None
    """The dotted key of the configuration that gets the directory of its files."""


@dataclass(frozen=True)
class Job:
    """One run of a stage: what it works on, and where it puts what."""

    inputs: Inputs
    root: Path
    talk: Talk

    @property
    def files(self) -> Path:
        """Where what is to be published goes."""
        return self.root / "files"

    @property
    def work(self) -> Path:
        """Where everything else goes; it is there again when a run goes on."""
        return self.root / "work"

    def one(self, role: str) -> Bundle:
        """Return the only bundle of a role."""
        (bundle,) = self.inputs[role]
        return bundle


@dataclass(frozen=True)
class Stage(Generic[Config]):
    """A pipeline step: what it is called, its configuration, what it takes, and how it makes its result."""

    name: str
    config: type[Config]
    make: Callable[[Config, Job], Facts]
    """Fills `job.files`, and returns what those files say of themselves. What a run that was cut off left there is
    its own to use or to remove."""
    takes: Mapping[str, Takes]
    """By role."""
    tools: tuple[str, ...] = ()
    """Distributions that it needs; their versions are recorded."""
    carries: tuple[str, ...] = ()
    """Roles of which it takes the reports over."""
    version: int = 1
    """Raised when the code comes to give another result for the same question: an old one is then not taken for it."""


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
    stage: Stage[Config], config: Config, inputs: Inputs, out: Path, *, again: bool = False, talk: Talk | None = None
) -> Bundle:
    """Return the sealed result of a stage, from the disk where it is there already.

    Args:
        out: results lie in `out/STAGE/DIGEST`.
        again: make it anew, for example with newer tools.
        talk: hears how far the stage is; without it that goes to stderr.

    Raises:
        ConfigError: the inputs are not what the stage takes.
        ContractError: an input is of another kind.
        Unfinished: parts failed, or a scheduler has them; the same command goes on.
    """
    root = place(stage, config, inputs, out)
    if not again and (root / "manifest.json").exists():
        return Bundle.open(root)
    with _alone(root):
        if again:
            _empty(root)
        done = (root / "manifest.json").exists()  # by a process that was there first
        return Bundle.open(root) if done else _made(stage, config, Job(inputs, root, talk or say))


def _empty(root: Path) -> None:
    """Remove a result: first what says that it is complete, never the lock."""
    (root / "manifest.json").unlink(missing_ok=True)
    for path in root.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def place(stage: Stage[Config], config: Config, inputs: Inputs, out: Path) -> Path:
    """Return where the result of a stage lies, or will lie.

    Raises:
        ConfigError: the inputs are not what the stage takes.
        ContractError: an input is of another kind.
    """
    _accept(stage, inputs)
    return out / stage.name / digest(stage, config, inputs)[:16]


def say(sentence: str) -> None:
    """Tell a person what is going on, on stderr."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _accept(stage: Stage[Config], inputs: Inputs) -> None:
    named = {role: "" if len(stage.takes) == 1 else f"{role}=" for role in stage.takes}
    roles = " ".join(f"--from {name}BUNDLE" for name in named.values()) or "leave out --from"
    if unknown := sorted(inputs.keys() - stage.takes.keys()):
        raise ConfigError(f"the stage {stage.name} takes no {', '.join(unknown)}", fix=roles)
    for role, takes in stage.takes.items():
        given = inputs.get(role, ())
        if not given and not takes.optional:
            raise ConfigError(f"the stage {stage.name} needs {role}", fix=f"give `--from {named[role]}BUNDLE`")
        if len(given) > 1 and not takes.many:
            raise ConfigError(f"the stage {stage.name} takes one {role}, not {len(given)}", fix=roles)
        for bundle in given:
            if bundle.manifest.facts.kind != takes.kind:
                raise ContractError(
                    f"{bundle.root} is a {bundle.manifest.facts.kind}, not a {takes.kind}",
                    fix=f"give a bundle of that kind as {role}",
                )


def _made(stage: Stage[Config], config: Config, job: Job) -> Bundle:
    for bundle in (one for role in job.inputs.values() for one in role):
        bundle.verify()
    job.files.mkdir(parents=True, exist_ok=True)
    _carry_reports([one for role in stage.carries for one in job.inputs.get(role, ())], job.files / REPORTS)
    facts = stage.make(config, job)
    return seal(
        job.root,
        name=stage.name,
        facts=facts,
        provenance=Provenance(
            stage=stage.name,
            config=config.identity(),
            inputs=tuple(
                Input(name=role, manifest_sha256=one.manifest_sha256)
                for role in stage.takes
                for one in job.inputs.get(role, ())
            ),
            tools={name: version(name) for name in sorted({*stage.tools, *config.needs()})},
            ancestors=ancestors(one for role in stage.takes for one in job.inputs.get(role, ())),
        ),
        digests={},
    )


def digest(stage: Stage[Config], config: Config, inputs: Inputs) -> str:
    """Return what names a result: the stage, its configuration, and the files of its inputs."""
    files = {
        role: [[(entry.path, entry.sha256) for entry in one.manifest.files] for one in inputs[role]] for role in inputs
    }
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
    with (root / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unfinished(
                f"another process is making {root}", fix="wait for it; the same command then finds the result"
            ) from error
        yield
