"""What tests of `translate` and `judge` stand on: rows of one's own, and the echo server with its journal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hala_release.bundle import Bundle, seal
from hala_release.manifest import Provenance
from hala_release.payload.parquet import dataset_facts
from pipeline import rows
from pipeline.engines.echo import ROOT, Echo
from pipeline.engines.endpoint import Remote
from pipeline.rows import Row, Target, Turn, new_row, read_rows, writing_rows
from pipeline.storage import join

SIDES: tuple[rows.Role, ...] = ("user", "assistant")


def conversation(number: int, *texts: str, target: Sequence[str] | None = None) -> Row:
    """Make a row whose sides take turns."""
    turns = [Turn(role=SIDES[place % 2], text=text) for place, text in enumerate(texts)]
    done = None if target is None else [Target(text=text, finish_reason="stop") for text in target]
    return new_row("made-up", "0" * 40, number, "mit", turns, done)


def bundle_of(made: Sequence[Row], root: Path, *, shards: int = 1) -> Bundle:
    """Seal rows as a stage leaves them."""
    size = -(-len(made) // shards)
    for rank in range(shards):
        with writing_rows(join(str(root), "files", "data"), rank, shards) as write:
            for row in made[rank * size : (rank + 1) * size]:
                write(row)
    files = root / "files"
    paths = sorted(path.relative_to(files).as_posix() for path in files.rglob("*.parquet"))
    provenance = Provenance(stage="made-up", config={}, inputs=(), tools={})
    return seal(root, name="made-up", facts=dataset_facts(files, paths), provenance=provenance, digests={})


def rows_of(bundle: Bundle) -> list[dict[str, Any]]:
    """Read all rows of a bundle."""
    return [row for shard in rows.shards([bundle]) for row in read_rows(shard)]


def tree(root: Path) -> dict[str, bytes]:
    """Read all files under a folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def report(bundle: Bundle, name: str) -> dict[str, Any]:
    """Read what a stage reported."""
    told: dict[str, Any] = json.loads((bundle.files / "reports" / f"{name}.json").read_text())
    return told


def revision_for(path: Path) -> dict[str, str]:
    """Return what a configuration lacks: the commit of a model of the Hub, or a model that is given by `--from`."""
    server = yaml.safe_load(path.read_text(encoding="utf-8"))["server"]
    if server["kind"] != "vllm":
        return {}
    if "--from model=" in path.read_text(encoding="utf-8").partition("\n")[0]:
        return {"server.model": str(path.parent)}
    return {} if Path(server["model"]).is_dir() else {"server.revision": "0" * 40}


class Running(NamedTuple):
    """An echo server that runs."""

    url: str
    journal: Path
    process: subprocess.Popen[bytes]
    since: int = 0
    """Bytes of the journal that are not looked at."""

    def remote(self, **more: Any) -> Remote:  # noqa: ANN401 -- whatever a field of the configuration takes
        """Return how a configuration names it."""
        return Remote(kind="endpoint", url=self.url, **{"model": "echo", "digest": "e1", **more})

    def entries(self, event: str = "received") -> list[dict[str, Any]]:
        """Return what was noted of one kind of event, in order; a line that is being written is left out."""
        lines = self.journal.read_bytes()[self.since :].split(b"\n")[:-1] if self.journal.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def fresh(self) -> Running:
        """Return the server without what it was asked so far."""
        return self._replace(since=self.journal.stat().st_size if self.journal.exists() else 0)

    def asked(self) -> list[dict[str, Any]]:
        """Return the requests, in order."""
        return [entry["request"] for entry in self.entries()]

    def texts(self) -> list[str]:
        """Return the last message of each request."""
        return [str(request["messages"][-1]["content"]) for request in self.asked()]


@contextmanager
def echoing(folder: Path, *arguments: str, port: int = 0) -> Iterator[Running]:
    """Run the echo server in a process of its own."""
    journal = folder / "journal.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.engines.echo", f"--port={port}", f"--journal={journal}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            yield Running(process.stdout.readline().decode().strip(), journal, process)
        finally:
            process.kill()


def echo(**options: Any) -> Echo:  # noqa: ANN401 -- whatever a field of the configuration takes
    """Return the configuration of an echo server that the stage starts."""
    return Echo(kind="echo", **options)
