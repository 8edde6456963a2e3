"""One answer: a turn in the line, a thread that makes it, a clock, and an end when nobody reads it any more."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from backends import Backend, Failed, Message, Options
from family import Model
from limits import HISTORY, PATIENCE, SECONDS, Refused
from line import Line, Person, Ticket

FRAME = 16
"""Letters that count for the marks around a message."""
LOG = logging.getLogger("hala.space")


@dataclass(frozen=True)
class Waiting:
    """The answer is not begun."""

    place: int
    """In the line; 1 is next."""


@dataclass(frozen=True)
class Text:
    """What there is of the answer, from its beginning."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The answer is whole, or was cut off by the clock."""

    text: str
    why: Literal["done", "time"]


Event = Waiting | Text | Ended


class Answers:
    """Gets answers of a backend for many people. Nothing that is said is kept or logged."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._line = Line(backend.slots)

    async def stream(
        self, who: Person, model: Model, messages: Sequence[Message], options: Options
    ) -> AsyncGenerator[Event]:
        """Yield what there is to know, as it comes. Closing it stops the backend; its turn is free when it has stopped.

        Raises:
            Refused: there are too many in the line, or the model does not answer.
        """
        ticket = self._line.enter(who)
        work = None
        try:
            async with aclosing(self._line.wait(ticket)) as places:
                async for place in places:
                    yield Waiting(place)
            work = _Work(self._backend.stream(model, *fitting(model, messages, options)), self._line, ticket)
            async with aclosing(work.events(model)) as events:
                async for event in events:
                    yield event
        finally:
            if work is None:
                self._line.leave(ticket)
            else:
                work.stop()


def fitting(model: Model, messages: Sequence[Message], options: Options) -> tuple[list[Message], Options]:
    """Return what fits into a model's context: two letters a token, and an answer of half of it at the most."""
    if model.context is None:
        return recent(messages, HISTORY), options
    tokens = min(options.tokens, max(model.context // 2, 1))
    return recent(messages, min(HISTORY, 2 * (model.context - tokens))), replace(options, tokens=tokens)


def recent(messages: Sequence[Message], limit: int) -> list[Message]:
    """Return the system prompt and the latest messages within a number of letters, from one of the user's on."""
    system = [message for message in messages[:1] if message["role"] == "system"]
    kept: list[Message] = []
    size = 0
    for message in reversed(messages[len(system) :]):
        size += len(message["content"]) + FRAME
        if kept and size > limit:
            break
        kept.append(message)
    while len(kept) > 1 and kept[-1]["role"] != "user":
        kept.pop()
    return [*system, *reversed(kept)]


class _Work:
    """A thread that reads a backend, and the asyncio side of it."""

    def __init__(self, pieces: Iterator[str], line: Line, ticket: Ticket) -> None:
        self._pieces = pieces
        self._leave = lambda: line.leave(ticket)
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self._stopped = threading.Event()
        # Gradio and ZeroGPU know by context whose request this is.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._read,), daemon=True).start()

    def stop(self) -> None:
        """Have the backend stop at its next piece."""
        self._stopped.set()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            for piece in self._pieces:
                if self._stopped.is_set():
                    break
                self._tell(piece)
            if hasattr(self._pieces, "close"):
                self._pieces.close()
        except BaseException as error:  # noqa: BLE001 -- whatever ends a backend, somebody waits for it to end
            end = error
        self._tell(end)
        try:
            self._loop.call_soon_threadsafe(self._leave)
        except RuntimeError:
            return  # the app is being stopped

    def _tell(self, what: str | BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, what)
        except RuntimeError:
            self._stopped.set()  # the app is being stopped

    async def events(self, model: Model) -> AsyncGenerator[Event]:
        text, pieces, began, why = "", 0, time.monotonic(), "closed"
        first, heard = 0.0, began
        try:
            while True:
                try:
                    patience = heard + (PATIENCE if pieces else 5 * PATIENCE) - time.monotonic()
                    got = await asyncio.wait_for(self._queue.get(), max(patience, 0))
                    news = [got, *(self._queue.get_nowait() for _ in range(self._queue.qsize()))]
                except TimeoutError:
                    why = "silent"
                    raise Refused("silent") from None
                new = [piece for piece in news if isinstance(piece, str) and piece]
                text += "".join(new)
                pieces += len(new)
                if not isinstance(news[-1], str):
                    why = "done" if news[-1] is None else "failed"
                    if isinstance(news[-1], BaseException):
                        _log(model, news[-1])
                        raise Refused("failed") from news[-1]
                    yield Ended(text, "done")
                    return
                if not new:
                    continue
                heard = time.monotonic()
                first = first or heard
                if time.monotonic() - first > SECONDS:
                    why = "time"
                    yield Ended(text, "time")
                    return
                yield Text(text)
        finally:
            LOG.info("%s: %d pieces in %.1f s, %s", model.id, pieces, time.monotonic() - began, why)


def _log(model: Model, error: BaseException) -> None:
    LOG.error("%s: %s", model.id, error, exc_info=None if isinstance(error, Failed) else error)
