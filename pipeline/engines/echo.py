"""A server that answers like an OpenAI-compatible one, without a model: for rehearsals of a run, and for tests.

    python -m pipeline.engines.echo --port 0

It prints the URL that clients are given, and serves on loopback until it is told to end. The same request has the same
answer always: a text comes back with its words turned into Arabic ones, everything else in its place; a judge's
question is answered by chance, the same chance each time. It fails where it is told to, and keeps a journal of what it
was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import orjson
import uvicorn
from pydantic import Field

from hala_release.errors import HalaError
from hala_release.manifest import Record
from pipeline.engines.endpoint import Endpoint
from pipeline.prompts import text_of

ROOT = Path(__file__).parents[2]
VERSION = 1
"""Counted up when the same request gets another answer."""

_VOCABULARY = (
    "كتاب مدينة سؤال جواب طريق بيت علم فكرة عمل وقت ماء شمس قمر بحر جبل شجرة لغة كلمة جملة نص رقم عدد صورة صوت باب "
    "نافذة مفتاح ورقة قلم درس معلم طالب مدرسة جامعة سوق متجر سيارة قطار مطار رحلة صديق عائلة طفل رجل امرأة يوم شهر "
    "سنة صباح مساء طعام خبز فاكهة قهوة شاي لون أحمر أزرق أخضر كبير صغير جديد قديم جميل سريع"
)
WORDS = _VOCABULARY.split()

Fault = Literal["400", "429", "500", "503", "garbage", "half", "close"]


class Echo(Record):
    """The server that answers without a model."""

    kind: Literal["echo"]
    model: Annotated[str, Field(min_length=1)] = "echo"
    """What requests call it; the family of the model too, as far as a judge cares."""
    answer: Literal["arabic", "same"] = "arabic"
    """Arabic words, or the text as it came."""
    context: Annotated[int, Field(ge=1)] = 1_000_000
    """Tokens of a question and its answer together; a longer one is refused."""
    lose: Annotated[int, Field(ge=0)] = 0
    """One answer in this many comes without its markers; 0: none."""
    blank: str = ""
    """A text that holds this is answered with nothing."""
    poison: str = ""
    """A text that holds this makes the server fail, each time."""
    slots: Annotated[int, Field(ge=1)] = 10_000
    """Requests that are answered at a time; the others wait."""
    delay: Annotated[float, Field(ge=0)] = 0
    """Seconds that an answer takes."""
    token_delay: Annotated[float, Field(ge=0)] = 0
    """Seconds that each of its tokens takes."""

    def endpoint(self, url: str) -> Endpoint:
        """Return where the server is reached; how long it takes is no part of its digest."""
        return Endpoint(url, self.model, f"echo-{VERSION}-{self.answer}-{self.context}-{self.lose}-{self.blank}")


@contextmanager
def serving(config: Echo, log: Path, *more: str) -> Iterator[Endpoint]:
    """Start the server, give its endpoint, and stop it; it ends with this process, however that ends.

    Args:
        log: what it says goes there.
        more: further arguments of its command line.
    """
    options = config.model_dump(exclude={"kind"})
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("ab") as said,
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.engines.echo", "--port=0", "--with-parent", *arguments, *more],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as process,
    ):
        try:
            url = process.stdout.readline().decode().strip() if process.stdout else ""
            if not url:
                raise HalaError("the echo server did not start", fix=f"read {log}")
            yield config.endpoint(url)
        finally:
            process.terminate()


def pseudo_arabic(text: str) -> str:
    """Turn each word into an Arabic one, always the same; digits, marks, spaces and Arabic stay."""
    return re.sub(r"[^\W\d_]+", lambda word: _arabic(word[0]), text)


def _arabic(word: str) -> str:
    if "\u0600" <= word[0] <= "\u06ff":
        return word
    return WORDS[zlib.crc32(word.casefold().encode()) % len(WORDS)]


def verdict(content: str) -> str:
    """Judge by chance, always the same: about one in five is rejected, and one in fifty answers is no verdict."""
    chance = int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big") % 100
    if chance < 2:
        return '{"verdict": "perhaps"'
    if chance < 20:
        return '{"verdict": "reject", "reason": "a number is missing"}'
    return '{"verdict": "accept", "reason": "complete and fluent"}'


class Reply(NamedTuple):
    """What the model says to a chat."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


_TOKEN = re.compile(r"\w+|[^\w\s]")


def reply(request: dict[str, Any], config: Echo) -> Reply:
    """Answer a request of `/chat/completions`.

    Raises:
        ValueError: question and answer are longer than the context.
    """
    content = str(request["messages"][-1]["content"])
    if "response_format" in request:
        text = verdict(content)
    else:
        text = text_of(content)
        blank = config.blank and config.blank in text
        text = "" if blank else pseudo_arabic(text) if config.answer == "arabic" else text
        if config.lose and zlib.crc32(text.encode()) % config.lose == 0:
            text = re.sub(r"\[\[\d+\]\]", "", text)
    asked = sum(len(_TOKEN.findall(str(message["content"]))) for message in request["messages"])
    most = request.get("max_completion_tokens") or request.get("max_tokens") or 0
    if asked + most > config.context:
        raise ValueError(
            f"This model's maximum context length is {config.context} tokens. However, you requested "
            f"{asked + most} tokens ({asked} in the messages, {most} in the completion)."
        )
    ends = [token.end() for token in _TOKEN.finditer(text)]
    if most and len(ends) > most:
        return Reply(text[: ends[most - 1]], "length", asked, most)
    return Reply(text, "stop", asked, len(ends))


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Server:
    """The ASGI application."""

    def __init__(self, config: Echo, faults: dict[int, Fault], journal: Path | None, key: str | None) -> None:
        self.config = config
        self.key = key
        self.faults = faults
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if journal else None
        self.slots = asyncio.Semaphore(config.slots)
        self.received = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match scope["method"], scope["path"]:
            case ("GET", "/health") | ("POST", "/reset_prefix_cache"):
                await _send(send, 200, {})
            case "GET", "/v1/models":
                await _send(send, 200, {"object": "list", "data": [{"id": self.config.model, "object": "model"}]})
            case "POST", "/v1/chat/completions":
                if self.key and dict(scope["headers"]).get(b"authorization") != f"Bearer {self.key}".encode():
                    await _send(send, 401, _error("the key is wrong"))
                else:
                    await self._complete(receive, send)
            case _:
                await _send(send, 404, _error("there is no such route"))

    async def _complete(self, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.received += 1
        number = self.received
        request = orjson.loads(body)
        self._note(number, "received", request)
        if fault := self.faults.get(number):
            await _fail(send, fault)
            return
        if request["model"] != self.config.model:
            await _send(send, 404, _error(f"The model `{request['model']}` does not exist."))
            return
        if self.config.poison and self.config.poison in str(request["messages"][-1]["content"]):
            await _fail(send, "500")
            return
        if request.get("stream"):
            await _send(send, 400, _error("this server does not stream"))
            return
        try:
            answer = reply(request, self.config)
        except ValueError as error:
            await _send(send, 400, _error(str(error)))
            return
        async with self.slots:
            seconds = self.config.delay + self.config.token_delay * answer.completion_tokens
            if seconds:
                await asyncio.sleep(seconds)
        self._note(number, "answered", None)
        await _send(send, 200, _completion(number, self.config.model, answer))

    def _note(self, number: int, event: str, request: dict[str, Any] | None) -> None:
        if self.journal is not None:
            line = {"number": number, "event": event, "at": time.monotonic(), "request": request}
            os.write(self.journal, orjson.dumps(line) + b"\n")


def _completion(number: int, model: str, answer: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        },
    }


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "code": None}}


async def _send(send: Send, status: int, body: dict[str, Any], *headers: tuple[bytes, bytes]) -> None:
    data = orjson.dumps(body)
    lengths = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*lengths, *headers]})
    await send({"type": "http.response.body", "body": data})


async def _fail(send: Send, fault: Fault) -> None:
    match fault:
        case "429":
            await _send(send, 429, _error("too many requests"), (b"retry-after", b"1"))
        case "400" | "500" | "503":
            await _send(send, int(fault), _error("told to fail"))
        case "garbage":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b'{"choices'})
        case "half":  # uvicorn closes the connection, since the body is not whole
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
            await send({"type": "http.response.body", "body": b'{"choices', "more_body": True})
        case "close":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends, also by kill -9; other systems than Linux have no such thing."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.engines.echo", description=(__doc__ or "").split("\n")[0])
    for name, field in Echo.model_fields.items():
        if name != "kind":
            what = (field.description or "").replace("\n", " ")
            parser.add_argument(f"--{name.replace('_', '-')}", default=field.default, help=what)
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--journal", type=Path, help="a file that gets a line for each request and each answer")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NUMBER:WHAT",
        help="fail the request of that number, counted from 1: 400, 429, 500, 503, garbage, half or close; repeatable",
    )
    parser.add_argument("--key-variable", metavar="NAME", help="the environment variable with the key that it asks for")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started it ends")
    given = vars(parser.parse_args(arguments))
    port, journal, faults, name = (given.pop(option) for option in ("port", "journal", "fault", "key_variable"))
    if given.pop("with_parent"):
        _die_with_parent()
    plan: dict[int, Fault] = {int(number): what for number, _, what in (fault.partition(":") for fault in faults)}
    server = Server(Echo(kind="echo", **given), plan, journal, os.environ[name] if name else None)
    with socket.create_server(("127.0.0.1", port), backlog=4096) as listening:
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}/v1\n")
        sys.stdout.flush()
        # Most tests and rehearsals pause longer than the five seconds after which uvicorn hangs up.
        config = uvicorn.Config(server, lifespan="off", log_level="warning", timeout_keep_alive=75)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
