"""No process of a server outlives the one that asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.engines.vllm import WATCHDOG

SERVER = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], 'child').write_text(str(os.getpid()))"
child += "; time.sleep(600)"
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + child
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]])
while not (folder / "child").exists():
    time.sleep(0.01)
(folder / "server").write_text(str(os.getpid()))
time.sleep(0 if sys.argv[2] == "dies" else 600)
sys.exit(7)
"""
ASKER = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-I", sys.argv[1], str(os.getpid()), "1", *sys.argv[2:]], start_new_session=True)
time.sleep(600)
"""


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program; it is ended after the test at the latest."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, *arguments]))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_a_killed_parent_takes_the_server_and_its_children_along(
    spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    asker = spawn("-c", ASKER, str(WATCHDOG), sys.executable, "-c", SERVER, str(tmp_path), "obeys")
    pids = _pids(tmp_path)
    asker.kill()
    asker.wait()
    _wait_until(lambda: not any(map(_lives, pids)), "the server outlived its parent")


def test_a_killed_watchdog_takes_the_server_along(
    spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    watchdog = _watchdog(spawn, tmp_path, "obeys")
    server, _ = _pids(tmp_path)
    watchdog.kill()
    _wait_until(lambda: not _lives(server), "the server outlived its watchdog")


def test_a_server_that_is_asked_to_end_is_given_time_and_then_ended_with_its_children(
    spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    watchdog = _watchdog(spawn, tmp_path, "deaf")
    pids = _pids(tmp_path)
    start = time.monotonic()
    watchdog.send_signal(signal.SIGTERM)
    assert watchdog.wait(20) == 0
    assert time.monotonic() - start > 1, "it was given no time"
    assert not any(map(_lives, pids))


def test_a_server_that_dies_leaves_no_children_and_its_exit_status(
    spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    watchdog = _watchdog(spawn, tmp_path, "dies")
    pids = _pids(tmp_path)
    assert watchdog.wait(20) == 7
    assert not any(map(_lives, pids))


def _watchdog(spawn: Callable[..., subprocess.Popen[bytes]], folder: Path, manner: str) -> subprocess.Popen[bytes]:
    server = (sys.executable, "-c", SERVER, str(folder), manner)
    return spawn("-I", str(WATCHDOG), str(os.getpid()), "1", *server)


def _pids(folder: Path) -> tuple[int, int]:
    _wait_until((folder / "server").exists, "the server did not start")
    _wait_until(lambda: (folder / "server").read_text() != "", "the server did not start")
    return int((folder / "server").read_text()), int((folder / "child").read_text())


def _lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be looked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
