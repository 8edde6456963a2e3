"""A stage of two phases on made-up rows: workers on other processes import it, so it has a module of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import Literal

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from pipeline import storage
from pipeline.executor import Phase
from pipeline.row_stage import RowConfig, row_stage
from pipeline.rows import ReadRows, WriteRows, document, new_row

Kill = Literal["group", "process", "nobody"]
SHARDS = 4
ROWS = 50


class ToyConfig(RowConfig):
    """What the toy stages can be told."""

    greeting: str = "Hello"
    """What every row says."""


class Make(PipelineStep):
    """Make the rows of one shard."""

    def __init__(self, greeting: str) -> None:
        super().__init__()
        self.greeting = greeting

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield rows that say whom they greet."""
        for number in range(rank * ROWS, (rank + 1) * ROWS):
            text = f"{self.greeting}, number {number}!"
            yield document(new_row("toy", "0" * 40, number, "mit", [{"role": "user", "text": text}]))


class Shout(PipelineStep):
    """Answer every row; while the file `poison` exists, one task dies or fails half-way instead."""

    def __init__(self, poison: str, kill: Kill) -> None:
        super().__init__()
        self.poison = poison
        self.kill = kill

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield each row with its target."""
        for number, one in enumerate(data or ()):
            if rank == 2 and number == ROWS // 2 and os.path.exists(self.poison):  # noqa: PTH110
                match self.kill:
                    case "group":
                        os.killpg(0, signal.SIGKILL)
                    case "process":
                        os.kill(os.getpid(), signal.SIGKILL)
                    case "nobody":
                        pass
                raise RuntimeError("the poison worked")
            text = one.metadata["turns"][0]["text"].upper()
            one.metadata["target"] = [{"text": text, "finish_reason": "stop"}]
            yield one


class Count(PipelineStep):
    """Count the rows that the phase before wrote."""

    def __init__(self, files: str) -> None:
        super().__init__()
        self.files = files

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Write the report and yield nothing."""
        shards = storage.names(storage.join(self.files, "data"))
        with storage.writing(storage.join(self.files, "reports", "toy.json")) as file:
            file.write(f'{{"shards": {len(shards)}}}\n'.encode())
        yield from ()


class ShoutConfig(RowConfig):
    """What `shout` can be told."""

    poison: str = "/nowhere"
    """A file that makes a task fail while it exists."""
    kill: Kill = "nobody"
    """Who dies, instead of failing."""

    unhashed = RowConfig.unhashed | {"poison", "kill"}


def _make(config: ToyConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    return [Phase("make", [Make(config.greeting), WriteRows(files)], SHARDS)]


def _shout(config: ShoutConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    return [
        Phase("shout", [ReadRows(shards), Shout(config.poison, config.kill), WriteRows(files)], len(shards)),
        Phase("count", [Count(files)], 1),
    ]


MAKE = row_stage("make", ToyConfig, _make, needs_rows=False)
SHOUT = row_stage("shout", ShoutConfig, _shout)
