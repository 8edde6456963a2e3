"""From a raw path to a handler: match, decode, authenticate, call in a thread, answer. The routes are in `app.py`."""

from __future__ import annotations

import base64
import binascii
import inspect
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hala_release.localhub.git import GitFailed
from hala_release.localhub.names import RESERVED
from hala_release.localhub.refused import Dropped, Refused
from hala_release.localhub.store import Caller, Store
from hala_release.localhub.traffic import Traffic
from hala_release.localhub.wire import Call

Handler = Callable[[Call], Response] | Callable[[Call], Awaitable[Response]]
BODY_LIMIT = 16 << 20
DRAIN_LIMIT = 64 << 20
HOSTS = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
PLACEHOLDERS = {
    "{T}": "(?P<T>models|datasets|spaces)",
    "{P}": "(?:(?P<T>datasets|spaces)/)?",
    "{ns}": f"(?P<ns>(?!(?:{'|'.join(sorted(RESERVED))})/)[^/]+)",
}


@dataclass(frozen=True)
class Route:
    """Methods, a pattern of the undecoded path, and what answers.

    `{T}` is the plural type of an API path and `{P}` the prefix of a page path; `{x}` is one segment, `{x*}` the rest.
    A `keyless` route proves its caller in another way than by the Authorization header of the Hub. A coroutine reads
    the body itself; any other handler gets it whole, up to BODY_LIMIT, and runs in a thread.
    """

    methods: str
    pattern: str
    handler: Handler
    keyless: bool = False
    regex: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        pattern = "".join(PLACEHOLDERS.get(part) or _segment(part) for part in re.split(r"(\{[^}]*\})", self.pattern))
        object.__setattr__(self, "regex", re.compile(pattern))


def _segment(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    name = part.strip("{}*")
    return f"(?P<{name}>.+)" if part.endswith("*}") else f"(?P<{name}>[^/]+)"


class Router:
    """The ASGI application over a table of routes; the first match answers."""

    def __init__(self, routes: Sequence[Route], store: Store, traffic: Traffic) -> None:
        self._routes = routes
        self._store = store
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever a caller sends, he gets a status and a sentence."""
        request = Request(scope, receive)
        self._traffic.request()
        try:
            response = await self._answer(request)
        except Refused as refusal:
            await _drain(request)
            response = refusal.response()
        except GitFailed as failure:
            logging.exception("git failed")
            response = Refused(500, f"git failed: {failure}").response()
        except Dropped:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            return
        except ClientDisconnect:
            return
        trace = request.headers.get("x-amzn-trace-id") or request.headers.get("x-request-id", "")
        response.headers["X-Request-Id"] = trace if re.fullmatch(r"[\w=;.:-]{1,200}", trace) else secrets.token_hex(12)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not HOSTS.fullmatch(request.headers.get("host", "")):
            raise Refused(404, "This Hub answers to 127.0.0.1 and localhost only")
        route, params = self._match(request.method, request.scope["raw_path"].decode("latin-1"))
        caller = None if route.keyless else await run_in_threadpool(self._caller, request)
        call = Call(request, self._store, params, caller)
        if inspect.iscoroutinefunction(route.handler):
            streamed: Response = await route.handler(call)
            return streamed
        call.body = await _body(request)
        answered: Response = await run_in_threadpool(route.handler, call)  # type: ignore[arg-type]
        return answered

    def _match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        allowed = set[str]()
        for route in self._routes:
            if not (match := route.regex.fullmatch(path)):
                continue
            if method in route.methods.split():
                return route, {k: _decode(v) for k, v in match.groupdict().items() if v is not None}
            allowed |= set(route.methods.split())
        if allowed:
            raise Refused(405, f"{method} is not possible here", headers={"Allow": ", ".join(sorted(allowed))})
        raise Refused(404, "There is nothing at this address")

    def _caller(self, request: Request) -> Caller | None:
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, value = header.partition(" ")
        token = value.strip()
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                token = ""
        caller = self._store.caller(token) if scheme.lower() in ("bearer", "basic") else None
        if caller is None:
            raise Refused(
                401,
                "Invalid credentials in Authorization header",
                headers={"WWW-Authenticate": 'Basic realm="hub"'},
            )
        return caller


def _decode(value: str) -> str:
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise Refused(400, "The address is not UTF-8") from error


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT:
            raise Refused(413, f"The body is larger than {BODY_LIMIT} bytes")
    return bytes(body)


async def _drain(request: Request) -> None:
    """Read what the caller is still sending, so that he sees the answer and not a broken pipe."""
    left = DRAIN_LIMIT
    pieces: AsyncIterator[bytes] = request.stream()
    try:
        async for piece in pieces:
            left -= len(piece)
            if left < 0:
                return
    except (ClientDisconnect, RuntimeError):
        return
