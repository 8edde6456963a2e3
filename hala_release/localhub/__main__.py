"""`python -m hala_release.localhub ROOT [--port N]`: serve a root directory in the foreground, on loopback."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import socket
import sys
import time
from email.utils import formatdate
from pathlib import Path
from types import FrameType
from typing import IO

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hala_release.errors import HalaError, HubUnavailable
from hala_release.localhub.app import build
from hala_release.localhub.daemon import ADDRESS, HOST, SERVING, last_port, refuse_foreign
from hala_release.localhub.store import Store

LOCK_ATTEMPTS = 20
KEEP_ALIVE = 75
"""Seconds; longer than clients pause between two requests, so that they never write to a closed connection."""


def listen(root: Path, port: int) -> socket.socket:
    """A listening socket: on the asked port, else on the last one if it is free, else on any."""
    remembered = 0
    if (root / ADDRESS).exists():
        remembered = last_port(root)
    for candidate in (port,) if port else (remembered, 0):
        # asyncio turns off Nagle's delay (40 ms an answer) only where the protocol is named.
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((HOST, candidate))
            opened.listen(128)
        except OSError:
            opened.close()
        else:
            return opened
    raise HubUnavailable(f"port {port} is taken", fix="choose another port, or none")


def _take(lock: IO[str], root: Path) -> None:
    """Take the root's lock; a git process of a server that was killed may hold it for a moment."""
    for attempts_left in range(LOCK_ATTEMPTS, -1, -1):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not attempts_left:
                raise HubUnavailable(f"{root} is being served already", fix="hala-release hub status") from error
            time.sleep(0.05)
        else:
            return


def serve(root: Path, port: int) -> None:
    """Serve until a signal; one server at a time for one root."""
    refuse_foreign(root)
    with (root / SERVING).open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        _take(lock, root)
        store = Store(root)
        with listen(root, port) as opened:
            address = {"port": opened.getsockname()[1], "pid": os.getpid()}
            partial = root / f"{ADDRESS}.partial"
            partial.write_text(json.dumps(address))
            partial.replace(root / ADDRESS)
            sys.stderr.write(f"serving {root} on http://{HOST}:{address['port']}\n")
            config = uvicorn.Config(
                dated(build(store)),
                http="h11",
                ws="none",
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=2,
            )
            signal.signal(signal.SIGTERM, _end)  # the server raises it again after its own farewell
            try:
                Server(config, store).run(sockets=[opened])
            finally:
                store.apps.close()


class Server(uvicorn.Server):
    """The server; asked to end, it tells those who follow a log before it waits for them."""

    def __init__(self, config: uvicorn.Config, store: Store) -> None:
        super().__init__(config)
        self._store = store

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._store.apps.leaving = True
        super().handle_exit(sig, frame)


def dated(application: ASGIApp) -> ASGIApp:
    """The application with the moment of every answer; the server's own Date is late by up to two seconds.

    A client that reads a log without following it drops lines that are younger than Date and one second.
    """

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"date", formatdate(usegmt=True).encode())]
            await send(message)

        await application(scope, receive, answer)

    return answered


def _end(number: int, _: object) -> None:
    """End as a signal asks, but not before what was begun is put in order."""
    sys.exit(128 + number)


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m hala_release.localhub", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    try:
        serve(arguments.root, arguments.port)
    except HalaError as error:
        sys.exit(f"error: {error}\n  fix: {error.fix}")


if __name__ == "__main__":
    main()
