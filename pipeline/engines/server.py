"""The `server:` of a stage: vLLM, a server that runs already, or the one that echoes.

On this machine a server is started once and all tasks share it. On a cluster each task starts its own beside itself, or
asks the one that runs already.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field

from pipeline import storage
from pipeline.engines import echo, vllm
from pipeline.engines.echo import Echo
from pipeline.engines.endpoint import Endpoint, Remote
from pipeline.engines.vllm import Vllm

Server = Annotated[Vllm | Remote | Echo, Field(discriminator="kind")]


def identity(server: Server) -> dict[str, Any]:
    """Return what answers depend on: which model it is, and not where it runs."""
    limits: dict[str, Any] = {}
    match server:
        case Vllm():
            model, digest = server.name, _vllm_digest(server.model_dump_json())
            limits = {"max_model_len": server.max_model_len}  # decides what is refused
        case Remote():
            model, digest = server.model, server.digest
        case Echo():
            _, model, digest, _ = server.endpoint("")
    return {"kind": server.kind, "model": model, "digest": digest, **limits}


@functools.lru_cache
def _vllm_digest(config: str) -> str:
    server = Vllm.model_validate_json(config)
    return vllm.digest(server, vllm.vllm_version(server.environment))


Check = Callable[[Endpoint], object]
"""Called with a server that was started, before anything asks it; what it raises stops the stage."""


@contextmanager
def shared(server: Server, place: str, log: Path, check: Check) -> Iterator[None]:
    """Serve for all tasks of this machine; the file `place` says where, for `reach`."""
    with _serving(server, log) as endpoint:
        check(endpoint)
        with storage.writing(place) as file:
            file.write(orjson.dumps(endpoint._asdict()))
        yield


@contextmanager
def reach(server: Server, place: str | None, work: str, rank: int, check: Check) -> Iterator[Endpoint]:
    """Give the server that a task asks: the one that `place` tells of, or one for this task alone."""
    if place is not None:
        with storage.reading(place) as file:
            yield Endpoint(**orjson.loads(file.read()))
        return
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(work if storage.is_local(work) else folder)
        with _serving(server, logs / f"server-{rank:05d}.log") as endpoint:
            check(endpoint)
            yield endpoint


def _serving(server: Server, log: Path) -> AbstractContextManager[Endpoint]:
    match server:
        case Vllm():
            return vllm.serving(server, log)
        case Remote():
            return nullcontext(server.endpoint())
        case Echo():
            return echo.serving(server, log)
