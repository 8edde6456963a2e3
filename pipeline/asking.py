"""A stage's step that asks a model about every row, many at a time, and yields the rows in their order.

datatrove has such a step, InferenceRunner, and three things forbid it here: it writes rows in the order of completion,
so the bytes of a shard depend on the speed of the answers; it turns a failed save into a warning; and it throws its
request cache away when a task is done, so a second run repeats everything. The rest is datatrove: tasks, shards,
executors.

A window slides over the rows. Rows in it are worked on at the same time, the first one leaves when it is done, and the
next one enters; the number of requests in flight is kept up by the rows behind.
"""

from __future__ import annotations

import asyncio
import functools
import time
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from hala_release.errors import ConfigError
from hala_release.manifest import Record
from hala_release.talk import Talk, silence
from pipeline import progress, storage
from pipeline.demo.corpus import sample
from pipeline.engines import server as servers
from pipeline.engines import trust
from pipeline.engines.answers import Answers
from pipeline.engines.chat import Chat, Client
from pipeline.engines.endpoint import Endpoint
from pipeline.engines.server import Server
from pipeline.engines.trust import Trust
from pipeline.engines.vllm import Vllm
from pipeline.executor import Local
from pipeline.progress import Progress
from pipeline.prompts import Message
from pipeline.row_stage import RowConfig
from pipeline.rows import characters
from pipeline.stage import write_report
from pipeline.storage import join

Result = TypeVar("Result")

WINDOW_ROWS = 8
"""Rows in the window, for each request that may be in flight."""
WINDOW_CHARACTERS = 32_000_000
REPORT_SECONDS = 2.0


class Sampling(Record):
    """How the model chooses its tokens: greedily. Everything is said, so that no default of the model applies.

    A value of `null` is not sent, for servers that know only the parameters of OpenAI.
    """

    temperature: float = 0
    top_p: float = 1
    top_k: int | None = -1
    """-1: all tokens."""
    min_p: float | None = 0
    repetition_penalty: float | None = 1
    presence_penalty: float = 0
    frequency_penalty: float = 0
    seed: int | None = 0
    stop: tuple[str, ...] = ()
    """Beside the model's own end of a turn."""
    skip_special_tokens: bool | None = True

    def parameters(self) -> dict[str, Any]:
        """Return what a request says."""
        told = {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
        if not self.stop:
            del told["stop"]
        return told


class AskingConfig(RowConfig):
    """What the YAML of a stage may say that asks a model."""

    server: Server
    """The model, and where it runs."""
    family: str | None = None
    """The family of the model, for example `qwen`, where the start of its name does not say it."""
    sampling: Sampling = Sampling()
    client: Client = Client()
    parity: Trust | None = Trust()
    """How vLLM is compared with transformers before it is trusted; null: it is not, and the report says so."""
    cache: Path = Path("out/answers")
    """Where every answer is kept; runs and versions may share it. With Jobs it is a folder of each Job."""

    unhashed: ClassVar[frozenset[str]] = RowConfig.unhashed | {"server", "client", "cache", "parity"}

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on; of the server, which model it serves."""
        return super().identity() | {
            "server": servers.identity(self.server),
            "family": self.model_family(),
            "parity": self.compared(),
        }

    def compared(self) -> dict[str, Any] | None:
        """Return how the engine is compared with transformers before anything is asked; None where it is not."""
        if not isinstance(self.server, Vllm) or self.parity is None:
            return None
        tolerance, mean_tolerance = self.parity.allowed(self.server)
        return {
            "chats": self.parity.chats,
            "tokens": self.parity.tokens,
            "tolerance": tolerance,
            "mean_tolerance": mean_tolerance,
        }

    def needs(self) -> tuple[str, ...]:
        """Return what the comparison with transformers needs, where there is one."""
        if not isinstance(self.server, Vllm) or self.parity is None:
            return ()
        return ("torch", "transformers", *(("compressed-tensors",) if self.server.compressed else ()))

    def chats(self, pairs: Sequence[tuple[str, str]]) -> list[list[Message]]:
        """Return what the stage would ask about these English and Arabic texts."""
        raise NotImplementedError

    def check(self, talk: Talk, endpoint: Endpoint) -> None:
        """Return when the model that was started may be trusted.

        Raises:
            HalaError: it computes something else than transformers does.
        """
        if isinstance(self.server, Vllm) and self.parity:
            known = [(pair["en"], pair["ar"]) for pair in sample(self.parity.chats)]
            trust.require(self.parity, self.server, self.chats(known), talk, endpoint)

    def model_family(self) -> str:
        """Return the family of the model."""
        if self.family is None and isinstance(self.server, Vllm) and self.server.bundle:
            raise ConfigError("the name of a bundle does not say of which family its model is", fix="set `family`")
        return self.family or family_of(servers.identity(self.server)["model"])


def family_of(model: str) -> str:
    """Return the letters that the name of a model begins with: `qwen` of `Qwen/Qwen2.5-3B-Instruct`."""
    name = model.rsplit("/", 1)[-1].casefold()
    end = next((place for place, letter in enumerate(name) if not letter.isalpha()), len(name))
    return name[:end]


class Asking(PipelineStep):
    """Base of steps that change each row with what a model answers."""

    type = "MODEL"

    def __init__(self, config: AskingConfig, work: str) -> None:
        super().__init__()
        self.config = config
        self.work = work
        self.parameters = config.sampling.parameters()

    @abstractmethod
    async def answer(self, row: dict[str, Any], chat: Chat, counts: Counter[str]) -> None:
        """Ask what there is to ask about a row, and change the row.

        Args:
            counts: what the report is made of; what is added may depend on rows and answers only.
        """

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents in their order, their rows changed."""
        counts: Counter[str] = Counter()
        place = shared_place(self.config, self.work)
        with (
            servers.reach(
                self.config.server, place, self.work, rank, functools.partial(self.config.check, silence)
            ) as endpoint,
            Answers(self.config.cache, f"{rank:05d}") as answers,
            asyncio.Runner() as runner,
        ):
            chat = Chat(endpoint, self.config.client, answers)
            batches = self._batches(iter(data or ()), chat, counts, rank)

            async def more() -> list[Document] | None:
                return await anext(batches, None)

            async def close() -> None:
                await batches.aclose()

            try:
                while (batch := runner.run(more())) is not None:
                    for one in batch:
                        self.stat_update("rows")
                        yield one
            finally:
                runner.run(close())
            storage.write_json(join(self.work, "counts", f"{rank:05d}.json"), counts)

    async def _batches(
        self, data: Iterator[Document], chat: Chat, counts: Counter[str], rank: int
    ) -> AsyncGenerator[list[Document]]:
        """Yield the rows at the head of the window whenever some are done; an empty list when time has passed."""
        window: deque[tuple[Document, int, asyncio.Task[None]]] = deque()
        broken = asyncio.get_running_loop().create_future()
        reporter = Progress(Path(self.work, "progress"), rank) if storage.is_local(self.work) else None
        started = reported = time.monotonic()
        weight = done = 0
        more = True

        def look(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) and not broken.done():
                broken.set_exception(error)

        def report() -> None:
            if reporter:
                seconds = time.monotonic() - started
                reporter.report({"rows": done, "seconds": seconds, **asdict(chat.tally)})

        async with chat:
            try:
                while True:
                    while more and (
                        not window
                        or (len(window) < WINDOW_ROWS * self.config.client.concurrency and weight < WINDOW_CHARACTERS)
                    ):
                        one = next(data, None)
                        if one is None:
                            more = False
                            break
                        task = asyncio.create_task(self.answer(one.metadata, chat, counts))
                        task.add_done_callback(look)
                        window.append((one, characters(one.metadata), task))
                        weight += window[-1][1]
                    if not window:
                        break
                    await asyncio.wait([window[0][2], broken], timeout=REPORT_SECONDS, return_when="FIRST_COMPLETED")
                    if broken.done():
                        await broken
                    batch = []
                    while window and window[0][2].done():
                        one, size, _ = window.popleft()
                        weight -= size
                        batch.append(one)
                    done += len(batch)
                    if time.monotonic() - reported > REPORT_SECONDS:
                        reported = time.monotonic()
                        report()
                    yield batch
                report()
            finally:
                for _, _, task in window:
                    task.cancel()
                await asyncio.gather(*(task for _, _, task in window), return_exceptions=True)
                broken.cancel()


async def together(work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return what all give, done side by side; one alone needs no task, which most rows and texts are."""
    return list(await asyncio.gather(*work)) if len(work) > 1 else [await one for one in work]


class Report(PipelineStep):
    """Add up what the tasks counted, and publish it as `reports/NAME.json`."""

    type = "REPORT"

    def __init__(self, name: str, facts: dict[str, Any], files: str, work: str) -> None:
        self.name = name
        super().__init__()
        self.facts = facts
        self.files = files
        self.work = work

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Write the report and yield nothing."""
        counts: Counter[str] = Counter()
        for name in storage.names(join(self.work, "counts")):
            counts.update(storage.read_json(join(self.work, "counts", name)))
        report: dict[str, Any] = dict(self.facts)
        for name, number in sorted(counts.items()):
            *outer, last = name.split("/", 1)
            place = report.setdefault(outer[0], {}) if outer else report
            place[last] = number
        write_report(self.files, self.name, report)
        yield from ()


def shared_place(config: AskingConfig, work: str) -> str | None:
    """Return the file that says where the server of all tasks is; None where each task finds its own."""
    shares = isinstance(config.executor, Local) and config.server.kind != "endpoint"
    return join(work, "server.json") if shares else None


def around(
    config: AskingConfig, shards: Sequence[str], work: str
) -> Callable[[Talk], AbstractContextManager[object]] | None:
    """Return what is there while the tasks run: the server that they share, and somebody who says how far they are."""
    return functools.partial(_around, config, shards, work) if storage.is_local(work) else None


@contextmanager
def _around(config: AskingConfig, shards: Sequence[str], work: str, talk: Talk) -> Iterator[None]:
    with ExitStack() as stack:
        if place := shared_place(config, work):
            talk(f"starting {servers.identity(config.server)['model']}")
            check = functools.partial(config.check, talk)
            stack.enter_context(servers.shared(config.server, place, Path(work) / "server.log", check))
        rows = sum(pq.read_metadata(shard).num_rows for shard in shards)
        stack.enter_context(progress.watching(Path(work) / "progress", rows, talk))
        yield
