"""A program that the Hub runs beside itself: in a process group of its own, and never longer than the Hub lives.

What a program starts ends with it too, unless it leaves the group on purpose.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hala_release.localhub.journal import Journal

PATIENCE = 5.0
"""Seconds between the polite signal and the other one."""
LONGEST_LINE = 1 << 16
WATCH = """\
import os, runpy, signal, sys, threading
def watch(hub=os.dup(0)):
    while os.read(hub, 1):
        pass
    os.killpg(0, signal.SIGKILL)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
threading.Thread(target=watch, daemon=True).start()
sys.argv = sys.argv[1:]
"""
"""The Hub keeps the other end of stdin open and never writes; when the Hub dies, even by kill -9, stdin ends."""
SCRIPT = """\
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(os.path.abspath(sys.argv[0]), run_name="__main__")
"""
MODULE = 'sys.path[0] = os.getcwd()\nrunpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)\n'


class Child:
    """A Python program that was started; what it prints goes to a journal."""

    def __init__(
        self, python: str | Path, program: str, *arguments: str, cwd: Path, env: Mapping[str, str], journal: Journal
    ) -> None:
        command: Sequence[str] = [str(python), "-c", WATCH + program, *arguments]
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._ended = threading.Event()
        self._journal = journal
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._reap, daemon=True).start()

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.returncode if self._ended.is_set() else None

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; whether it ended."""
        return self._ended.wait(seconds)

    def when_ended(self, tell: Callable[[], None]) -> None:
        """Call back from another thread when it ended, however it did."""

        def wait_and_tell() -> None:
            self._ended.wait()
            tell()

        threading.Thread(target=wait_and_tell, daemon=True).start()

    def end(self) -> None:
        """Ask the whole group to end, without waiting."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask the whole group to end, and make it end when it does not."""
        self.end()
        if not self._ended.wait(PATIENCE):
            self._signal(signal.SIGKILL)
            self._ended.wait()

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _reap(self) -> None:
        """Wait for the program, then end what it left running: its id is still its own until it is reaped."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join(PATIENCE)
        if self._process.stdin:
            self._process.stdin.close()
        self._ended.set()

    def _read(self) -> None:
        if self._process.stdout:
            with self._process.stdout as printed:
                while line := printed.readline(LONGEST_LINE):
                    self._journal.add(line.decode("utf-8", "replace"))
