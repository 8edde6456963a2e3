"""Start, stop and find the server of a root directory; one server for one root, however many ask at once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hala_release.errors import ConfigError, HubUnavailable

HOST = "127.0.0.1"
ADDRESS = "address.json"
MARKER = ".hala-hub"
SERVING = "serving.lock"
LOG = "hub.log"
PATIENCE = 30.0

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this process started, kept so that they are reaped when they stop."""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    token: str = field(repr=False)
    pid: int
    root: Path


def start(root: Path, *, port: int = 0) -> Running:
    """The running server of a root; started first if there is none."""
    root = root.resolve()
    refuse_foreign(root)
    with (root / "starting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if running := status(root):
            return running
        _reap()
        if shutil.which("git") is None:
            raise HubUnavailable(
                "the embedded Hub keeps its repositories with git, which is not installed", fix="install git"
            )
        command = [sys.executable, "-m", "hala_release.localhub", str(root), "--port", str(port)]
        with (root / LOG).open("ab") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        _children[child.pid] = child
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and child.poll() is None:
            if running := status(root):
                return running
            time.sleep(0.02)
        child.kill()
        child.wait()
        del _children[child.pid]
    raise HubUnavailable(f"the embedded Hub in {root} did not start", fix=f"read {root / LOG}")


def stop(root: Path) -> bool:
    """Stop the server of a root; whether there was one."""
    running = status(root)
    if running is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while _is_served(running.root):
        if time.monotonic() > deadline:
            raise HubUnavailable(f"the embedded Hub in {root} does not stop", fix=f"kill -9 {running.pid}")
        time.sleep(0.02)
    if child := _children.pop(running.pid, None):
        child.wait()
    return True


def status(root: Path) -> Running | None:
    """The server of a root, None if it does not run; the answer comes from the server itself, not from a file.

    Whoever listens on the port has to prove that it can read the root's token, before the token is sent there.
    """
    root = root.resolve()
    try:
        token = (root / "token").read_text().strip()
        port = last_port(root)
    except FileNotFoundError:
        return None
    nonce = secrets.token_hex(16)
    health = _health(port, nonce)
    pid = health.get("pid")
    if not isinstance(pid, int) or not hmac.compare_digest(str(health.get("proof")), proof(token, nonce, pid)):
        return None
    return Running(f"http://{HOST}:{port}", token, pid, root)


def last_port(root: Path) -> int:
    """The port that a root was served on last; FileNotFoundError, if it never was."""
    return int(json.loads((root / ADDRESS).read_text())["port"])


def proof(token: str, nonce: str, pid: int) -> str:
    """What only a server that knows the token can answer to a number that was never used before."""
    return hmac.new(token.encode(), f"{nonce}:{pid}".encode(), hashlib.sha256).hexdigest()


def reset(root: Path) -> None:
    """Stop the server and delete everything that it kept; a directory that is not a Hub's is refused."""
    root = root.resolve()
    if not (root / MARKER).is_file():
        raise ConfigError(f"{root} is not a Hub's directory, so it is not deleted", fix="check the path")
    if not stop(root) and _is_served(root):
        raise HubUnavailable(
            f"the embedded Hub in {root} does not answer", fix=f"end its process, see {root / ADDRESS}"
        )
    gone = root.with_name(f".{root.name}.deleted-{os.getpid()}")
    root.rename(gone)
    shutil.rmtree(gone)


def refuse_foreign(root: Path) -> None:
    """Make the directory, and keep out of one with files that are not a Hub's."""
    root.mkdir(parents=True, exist_ok=True)
    own = {"starting.lock", SERVING, LOG}
    if not (root / MARKER).exists() and any(path.name not in own for path in root.iterdir()):
        raise ConfigError(f"{root} is not empty and not a Hub's directory", fix="choose an empty directory")


def _reap() -> None:
    """Forget the servers of this process that ended in another way than by `stop`."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]


def _health(port: int, nonce: str) -> dict[str, Any]:
    """What the program on a port says of itself; nothing, if it is no Hub."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"/_local/health?nonce={nonce}")
            answer = json.loads(connection.getresponse().read(1 << 16))
        except (OSError, http.client.HTTPException, ValueError):
            return {}
    return answer if isinstance(answer, dict) else {}


def _is_served(root: Path) -> bool:
    """Whether a server holds the root's lock."""
    with (root / SERVING).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
