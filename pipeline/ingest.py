"""Read a source into rows: one schema, stable ids, and everything that is no conversation set aside with its reason.

    phase 1  one task per shard: rows to `data`, refused records to `dropped`, counts to `work`
    phase 2  the report `reports/ingest-SOURCE.json`

A shard holds the records whose numbers fall between two borders, whatever becomes of them, so a source that grows at
its end leaves the shards before it as they are.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import fsspec
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from pydantic import Field, field_validator, model_validator

from hala_release.errors import ConfigError
from hala_release.manifest import Record
from pipeline import rows, storage
from pipeline.executor import Phase
from pipeline.row_stage import RowConfig, row_stage
from pipeline.rows import DROPPED, DROPPED_CHARACTERS, Row, Target, Turn, dropped, new_row, writing_rows
from pipeline.sources import files as source_files
from pipeline.sources.catalogue import SOURCES
from pipeline.sources.faults import CODE_MARKS, CODE_TASKS, ROLES, RULES, Code, Fault, fault_of, raw, storable
from pipeline.sources.files import FORMATS, Piece, Survey, Unreadable, Wanted
from pipeline.sources.source import Said, Shape, pick
from pipeline.stage import write_report
from pipeline.storage import join

LOCAL = "local"


class LocalFiles(Record):
    """Files of one's own."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """What the rows call their source, and the first part of their ids."""
    license: Annotated[str, Field(min_length=1)]
    """As the Hub spells it."""
    paths: tuple[str, ...] = ()
    """Parquet, `.jsonl`, `.jsonl.gz`, or `.json` with one array; in the order of their rows."""
    columns: Shape

    @field_validator("paths")
    @classmethod
    def _formats(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if not path.endswith(FORMATS):
                raise ValueError(f"{path}: give files that end in {', '.join(FORMATS)}")
        return paths

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name in SOURCES or name == LOCAL:
            raise ValueError(f"{name} is taken")
        return name


class IngestConfig(RowConfig):
    """What the YAML of `ingest` may say."""

    source: str
    """A name of the catalogue, or `local`."""
    revision: str | None = None
    """The commit of a source of the Hub, all 40 digits; none takes that of the catalogue. For local files any text that
    names their state; it is kept in every row, so the same text keeps the bytes of shards that did not change."""
    local: LocalFiles | None = None
    """Where the files of `local` lie, and how to read them."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Read so many records from the start; none reads all."""
    shard_rows: Annotated[int, Field(ge=1)] = 50_000
    """Records that make one shard, which one task reads; fewer are written where some become no row."""
    only: Mapping[str, tuple[str, ...]] | None = None
    """Column -> values: records that hold another are left out and counted. None takes the choice of the catalogue."""
    max_characters: Annotated[int, Field(ge=1)] = 100_000
    """Characters of all texts of a record."""
    max_line_bytes: Annotated[int, Field(ge=1)] = 16 << 20
    """Of a longer line of JSON, only so many bytes are held in memory, and it is refused."""
    code: Literal["keep", "remove"] = "keep"
    """Whether programming tasks stay. How HALA removed code from Hermes 3 is not known; this rule is our own."""
    code_marks: tuple[str, ...] = CODE_MARKS
    """Regular expressions, one of which in any turn is code: by default a fence, or a line that only a program has."""
    code_tasks: tuple[str, ...] = CODE_TASKS
    """Regular expressions, one of which in the user's turn asks for code: by default the name of a programming
    language, or a demand for a function, a script and the like."""
    code_characters: Annotated[int, Field(ge=1)] = 4_000
    """How much of each user's turn `code_tasks` are looked for in, from its start."""

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        if source in SOURCES or source == LOCAL:
            return source
        close = difflib.get_close_matches(source, [*SOURCES, LOCAL], n=1)
        raise ValueError(
            f"unknown source {source!r}; "
            + (f"did you mean `{close[0]}`?" if close else f"write one of {', '.join([*SOURCES, LOCAL])}")
        )

    @field_validator("code_marks", "code_tasks")
    @classmethod
    def _expressions(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _together(self) -> IngestConfig:
        if (self.source == LOCAL) != (self.local is not None):
            raise ValueError("`local` tells where the files of `source: local` lie; give both or none")
        if self.source != LOCAL and self.revision and not re.fullmatch("[0-9a-f]{40}", self.revision):
            raise ValueError("a revision of the Hub is the 40 hexadecimal digits of a commit")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on; local files by their content, wherever they lie."""
        origin = self.origin()
        told = super().identity() | {
            "revision": origin.revision,
            "only": {column: list(values) for column, values in origin.only.items()},
        }
        if self.local is None:
            shape = {"kind": type(origin.shape).__name__, **origin.shape.model_dump(mode="json")}
            return told | {
                "repository": origin.repository,
                "files": list(origin.files),
                "license": origin.license,
                "shape": shape,
            }
        files = [{"name": path.rsplit("/", 1)[-1], "sha256": digest_of(path)} for path in origin.files]
        local = {name: value for name, value in told["local"].items() if name != "paths"}
        return told | {"local": local, "files": files}

    def origin(self) -> Origin:
        """Return where the records come from.

        Raises:
            ConfigError: a revision or paths that only the configuration can say, and does not.
        """
        if self.local is not None:
            if not self.local.paths:
                raise ConfigError(f"no files of {self.local.name}", fix="give `--set local.paths=[FILE]`")
            return Origin(
                name=self.local.name,
                repository=None,
                revision=self.revision or LOCAL,
                license=self.local.license,
                files=self.local.paths,
                shape=self.local.columns,
                only=self.only or {},
            )
        source = SOURCES[self.source]
        revision = self.revision or source.revision
        if revision is None:
            raise ConfigError(
                f"which commit of {source.repository} is meant is not known here",
                fix="give its 40 digits as `revision:` or `--set revision=…`; they stand on its page of commits",
            )
        only = source.only if self.only is None else self.only
        return Origin(source.name, source.repository, revision, source.license, source.files, source.shape, only)


class Origin(NamedTuple):
    """Where records come from, and what they look like."""

    name: str
    repository: str | None
    revision: str
    license: str
    files: tuple[str, ...]
    shape: Shape
    only: Mapping[str, tuple[str, ...]]

    def columns(self) -> tuple[str, ...]:
        """Name the columns that are needed."""
        return (*self.shape.paths(), *self.only)

    def paths(self) -> Sequence[str]:
        """Find the files; those of the Hub as URLs that its file system reads."""
        if self.repository is None:
            return self.files
        return source_files.find(f"hf://datasets/{self.repository}@{self.revision}", self.files)


def digest_of(path: str) -> str:
    """Return the sha256 of a file; a file that did not change is read once."""
    with source_files.told(path):
        system, place = fsspec.url_to_fs(path)
        return _digest(path, system.checksum(place))


@functools.lru_cache
def _digest(path: str, _state: int) -> str:
    digest = hashlib.sha256()
    with storage.reading(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def phases(config: IngestConfig, _: Sequence[str], files: str, work: str) -> list[Phase]:
    """Survey the source, then one task per shard and the report."""
    origin = config.origin()
    found = surveyed(config, origin, work)
    return [
        Phase("read", [ReadSource(config, found.shards, files, work)], len(found.shards)),
        Phase("report", [Report(config, files, work)], 1),
    ]


def surveyed(config: IngestConfig, origin: Origin, work: str) -> Survey:
    """Return the survey of the source, from an earlier run where there was one."""
    path = join(work, "survey.json")
    if "survey.json" in storage.names(work):
        told = storage.read_json(path)
        return Survey([[Piece(*piece) for piece in shard] for shard in told["shards"]], told["rows"])
    wanted = Wanted(
        paths=origin.paths(),
        columns=origin.columns(),
        rows=config.rows,
        shard_rows=config.shard_rows,
        line_bytes=config.max_line_bytes,
        fix=(
            "name its columns in `local.columns`"
            if origin.repository is None
            else "the source changed its columns: give the revision of the catalogue, or adapt the catalogue to the new"
        ),
    )
    found = source_files.survey(wanted, work)
    storage.write_json(path, found._asdict())
    return found


class ReadSource(PipelineStep):
    """Read one shard of the source per task."""

    type = "READER"
    name = "source"

    def __init__(self, config: IngestConfig, shards: list[list[Piece]], files: str, work: str) -> None:
        super().__init__()
        self.config = config
        self.shards = shards
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Write the rows, the refused records and the counts of shard number `rank`."""
        config, origin = self.config, self.config.origin()
        remove = config.code == "remove"
        code = Code(config.code_marks, config.code_tasks, config.code_characters) if remove else None
        counts = Counts()
        place = (rank, world_size)
        with (
            writing_rows(join(self.files, "data"), *place) as keep,
            writing_rows(join(self.files, "dropped"), *place, DROPPED) as drop,
        ):
            for piece in self.shards[rank]:
                for number, record in source_files.records(piece, origin.columns(), config.max_line_bytes):
                    counts.read += 1
                    if (column := left_out(record, origin.only)) is not None:
                        counts.left_out[column] += 1
                        continue
                    said = origin.shape.said(record) if isinstance(record, Mapping) else None
                    fault = fault_of(record, said, config.max_characters)
                    if fault is None and said is not None:
                        row = row_of(said, number, origin)
                        fault = code.fault(row["turns"]) if code else None
                        if fault is None:
                            keep(row)
                            counts.keep(row)
                            continue
                    assert fault is not None  # noqa: S101 (what is no conversation has one)
                    drop(refused(record, said, number, origin, fault))
                    counts.dropped[fault.rule] += 1
        self.stat_update("rows", value=counts.kept)
        storage.write_json(join(self.work, "counts", f"{rank:05d}.json"), counts.as_json())
        yield from ()


class Report(PipelineStep):
    """Add up what the tasks counted."""

    type = "REPORT"
    name = "ingest"

    def __init__(self, config: IngestConfig, files: str, work: str) -> None:
        super().__init__()
        self.config = config
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Write the report, and take away what was unpacked."""
        origin = self.config.origin()
        total = Counts()
        for name in storage.names(join(self.work, "counts")):
            total.add(storage.read_json(join(self.work, "counts", name)))
        report = {
            "source": origin.name,
            "repository": origin.repository,
            "revision": origin.revision,
            "license": origin.license,
            "rules": {rule: RULES[rule] for rule in sorted(total.dropped)},
            **total.as_json(),
        }
        write_report(self.files, f"ingest-{origin.name}", report)
        system, unpacked = fsspec.url_to_fs(join(self.work, "source"))
        if system.exists(unpacked):
            system.rm(unpacked, recursive=True)
        yield from ()


class Counts:
    """What became of the records."""

    def __init__(self) -> None:
        self.read = 0
        self.kept = 0
        self.turns = 0
        self.characters = 0
        self.dropped: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def keep(self, row: Row) -> None:
        """Count a row."""
        self.kept += 1
        self.turns += len(row["turns"])
        self.characters += rows.characters(row)

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what another task counted."""
        self.read += other["read"]
        self.kept += other["kept"]
        self.turns += other["turns"]
        self.characters += other["characters"]
        self.dropped.update(other["dropped"])
        self.left_out.update(other["left_out"])

    def as_json(self) -> dict[str, Any]:
        """Return the counts by their names; `characters` are those of all texts, in both languages."""
        return {
            "read": self.read,
            "kept": self.kept,
            "turns": self.turns,
            "characters": self.characters,
            "dropped": dict(self.dropped),
            "left_out": dict(self.left_out),
        }


def left_out(record: object, only: Mapping[str, tuple[str, ...]]) -> str | None:
    """Name the choice that a record does not fit, as `column=value`."""
    if not isinstance(record, Mapping):
        return None
    for column, values in only.items():
        value = pick(record, column)
        if value not in values:
            return f"{column}={value}"[:200] if isinstance(value, str) else f"{column}={type(value).__name__}"
    return None


def row_of(said: Said, number: int, origin: Origin) -> Row:
    """Make the row of a sound record."""
    turns = [Turn(role=ROLES[role], text=str(text)) for role, text in said.turns]
    target = [Target(text=str(said.arabic), finish_reason="stop")] if said.is_pair else None
    return new_row(origin.name, origin.revision, number, origin.license, turns, target)


def refused(record: object, said: Said | None, number: int, origin: Origin, fault: Fault) -> dict[str, Any]:
    """Return a record as `dropped` keeps it: as turns where it has sound ones, else as it was read."""
    if said is not None and fault.rule in {"I3", "I4"}:
        row = row_of(said, number, origin)
    else:
        text = record.text if isinstance(record, Unreadable) else raw(record)
        turns: list[Any] = [{"role": "record", "text": storable(text[:DROPPED_CHARACTERS])}]
        row = new_row(origin.name, origin.revision, number, origin.license, turns)
    return dropped(row, fault.rule, storable(fault.reason))


STAGE = row_stage("ingest", IngestConfig, phases, tools=("ijson", "orjson"), needs_rows=False)
