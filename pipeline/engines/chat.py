"""Ask a served model: many requests at a time, each sent once, tried again while the server is away.

aiohttp, because it spends about 0.1 ms of CPU on a request where httpx spends 3 to 5 once some hundreds share its pool
(`make bench` shows what is left for the engine).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, Literal

import aiohttp
import orjson
from pydantic import BaseModel, Field, ValidationError

from hala_release.errors import ConfigError, Unfinished
from hala_release.manifest import Record
from pipeline.engines.answers import Answer, Answers, key
from pipeline.engines.endpoint import Endpoint
from pipeline.prompts import Message

REFUSED = "refused: "
"""How the finish_reason of a request begins that the server would not take."""


class Client(Record):
    """How a server is asked; no part of what comes out."""

    concurrency: Annotated[int, Field(ge=1)] = 64
    """Requests in flight, for each task; all tasks together should exceed what the engine works on at a time."""
    timeout: Annotated[float, Field(gt=0)] = 600
    """Seconds that one answer may take."""
    patience: Annotated[float, Field(ge=0)] = 600
    """Seconds that a request is tried again after its first failure."""
    first_wait: Annotated[float, Field(gt=0)] = 0.25
    """Seconds before the second try; each later wait is twice as long."""
    longest_wait: Annotated[float, Field(gt=0)] = 30
    """Seconds that a wait is at most, unless the server asks for more."""
    sync_seconds: Annotated[float, Field(gt=0)] = 1
    """Answers are made to survive a power cut so often; a killed process loses none."""
    refusals: Annotated[int, Field(ge=1)] = 20
    """So many requests refused, and none answered, means that the configuration is wrong and not a text."""


@dataclass
class Tally:
    """What was asked in this process."""

    requests: int = 0
    """Answered by the server."""
    tries: int = 0
    """That failed and were repeated."""
    cached: int = 0
    prompt_tokens: int = 0
    """Of what the server answered; so are the next."""
    completion_tokens: int = 0


class _Message(BaseModel):
    content: str | None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"]
    """Anything else, such as vLLM's `abort`, is no whole answer."""


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage = _Usage()


class _Error(BaseModel):
    message: str


class _Failure(BaseModel):
    error: _Error


class _Refused(Exception):
    """The server understood the request and will never answer it."""


class _Again(Exception):
    """The request may succeed later; carries what went wrong, and how long the server asks to wait."""

    def __init__(self, problem: str, wait: float = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.wait = wait


class Chat:
    """A server, and the answers that it gave before."""

    def __init__(self, endpoint: Endpoint, client: Client, answers: Answers) -> None:
        self.tally = Tally()
        self._endpoint = endpoint
        self._client = client
        self._answers = answers
        self._flying: dict[bytes, asyncio.Task[Answer]] = {}
        self._places = asyncio.Semaphore(client.concurrency)
        self._refused = 0

    async def __aenter__(self) -> Chat:
        if (name := self._endpoint.key_variable) and not os.environ.get(name):
            raise ConfigError(f"there is no {name} in the environment", fix=f"export {name}=… with the server's key")
        # Servers hang up on idle connections, uvicorn and so vLLM after 5 s; the next request on such a one would fail.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._client.concurrency, keepalive_timeout=3),
            timeout=aiohttp.ClientTimeout(total=self._client.timeout),
        )
        self._syncing = asyncio.create_task(self._sync())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        left = [self._syncing, *self._flying.values()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._session.close()

    async def ask(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Answer:
        """Return the answer to a chat: from the cache, from a request in flight for the same, or from the server.

        Raises:
            Unfinished: the server stayed away, or an answer cannot be kept.
            ConfigError: the server will not take this configuration.
        """
        name = key(messages, self._endpoint.digest, parameters)
        if name not in self._flying:
            if kept := self._answers.get(name):
                self.tally.cached += 1
                return kept
            self._flying[name] = asyncio.create_task(self._fetch(name, messages, parameters))
        return await asyncio.shield(self._flying[name])

    async def _fetch(self, name: bytes, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Answer:
        body = orjson.dumps({"model": self._endpoint.model, "messages": messages, **parameters})
        try:
            async with self._places:
                answer = await self._insist(body)
        except _Refused as refusal:
            # Not kept: another run may serve the model with a longer context, and a refusal costs no tokens.
            self._refused += 1
            if self._refused >= self._client.refusals and not (self.tally.requests or self.tally.cached):
                raise ConfigError(
                    f"{self._endpoint.url} refused the first {self._refused} requests: {refusal}",
                    fix="compare `sampling:` and the length of segments with what the server allows",
                ) from refusal
            return Answer("", f"{REFUSED}{refusal}", 0, 0)
        else:
            self._answers.put(name, answer)
            self.tally.requests += 1
            self.tally.prompt_tokens += answer.prompt_tokens
            self.tally.completion_tokens += answer.completion_tokens
            return answer
        finally:
            del self._flying[name]

    async def _insist(self, body: bytes) -> Answer:
        wait = self._client.first_wait
        end = None
        answered = self.tally.requests
        while True:
            try:
                return await self._once(body)
            except _Again as failure:
                problem, asked = failure.problem, failure.wait
            # Out of the except clause: a chained exception would show the frames of the HTTP library to a log that
            # prints their variables, and the key is among these.
            now = time.monotonic()
            end = end or now + self._client.patience
            pause = max(wait, asked)
            if now + pause > end and self.tally.requests > answered:
                raise _Refused(problem)  # the server is well, and fails at this request alone
            if now + pause > end:
                raise Unfinished(
                    f"{self._endpoint.url} gave no answer in {self._client.patience:g} s: {problem}",
                    fix="see that the server runs, and run the same command again; nothing that was answered is lost",
                )
            self.tally.tries += 1
            await asyncio.sleep(pause)
            wait = min(2 * wait, self._client.longest_wait)

    async def _once(self, body: bytes) -> Answer:
        """Send a request and return its answer, when it is whole."""
        headers = {"Content-Type": "application/json"}
        if self._endpoint.key_variable:
            headers["Authorization"] = f"Bearer {os.environ[self._endpoint.key_variable]}"
        url = f"{self._endpoint.url}/chat/completions"
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
                wait = response.headers.get("Retry-After", "")
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"{type(error).__name__} {error}".strip()
        else:
            return _read(status, data, wait, url)
        raise _Again(problem)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(self._client.sync_seconds)
            await asyncio.to_thread(self._answers.sync)


def _read(status: int, data: bytes, wait: str, url: str) -> Answer:
    match status:
        case 200:
            return _answer(data)
        case 400 | 413 | 422:
            raise _Refused(_message(data))
        case 408 | 409 | 425 | 429 | 500 | 502 | 503 | 504 | 529:
            raise _Again(f"{status} {_message(data)}", float(wait) if wait.isdecimal() else 0)
        case 401 | 403:
            raise ConfigError(f"{url}: {status} {_message(data)}", fix="set `key_variable:` to where the right key is")
        case _:
            raise ConfigError(f"{url}: {status} {_message(data)}", fix="compare `url:` and `model:` with the server's")


def _answer(data: bytes) -> Answer:
    try:
        completion = _Completion.model_validate_json(data)
    except ValidationError as error:
        problem = f"{error.errors()[0]['msg']} in {_shown(data)}"
    else:
        choice, usage = completion.choices[0], completion.usage
        text = choice.message.content or ""
        return Answer(text, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens or 0)
    raise _Again(problem)


def _message(data: bytes) -> str:
    try:
        return _shown(_Failure.model_validate_json(data).error.message.encode())
    except ValidationError:
        return _shown(data)


def _shown(data: bytes) -> str:
    """Return the beginning of what a server said, on one line."""
    return " ".join(data[:300].decode(errors="replace").split())
