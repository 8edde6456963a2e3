"""Run a server for as long as the process lives that asked for it, and stop all of it then: also when that process is
killed at once, and also when the server is more than one process.

Called by path with nothing but the standard library: `python watchdog.py PARENT GRACE COMMAND…`. It leaves with the
server's exit status, or with 0 when it stopped the server.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

POLL_S = 0.2
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(parent: int, grace: float, command: list[str]) -> int:
    """Start the server in a process group of its own, wait, and leave no member of the group behind."""
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_die_with_watchdog)
    try:
        # Whoever loses its parent gets another: the one way to know that does not depend on threads or open files.
        while server.poll() is None and not asked and os.getppid() == parent:
            time.sleep(POLL_S)
        status = server.returncode
    finally:
        stop(server, grace)
    return 0 if status is None else status if status >= 0 else 128 - status


def stop(server: subprocess.Popen[bytes], grace: float) -> None:
    """Ask the server to end, as it ends its children in order; end what is left of the group after `grace` seconds."""
    deadline = time.monotonic() + grace
    if server.poll() is None:
        server.terminate()
    while _group_lives(server) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    _signal_group(server.pid, signal.SIGKILL)
    while _group_lives(server):
        time.sleep(POLL_S)


def _group_lives(server: subprocess.Popen[bytes]) -> bool:
    server.poll()
    try:
        while os.waitpid(-server.pid, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return _signal_group(server.pid, 0)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _die_with_watchdog() -> None:
    # Asked, not killed: nobody would be left to end its children, and vLLM's outlive a server that is killed.
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    """Ask the kernel of Linux; elsewhere nothing is asked."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
