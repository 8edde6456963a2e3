"""Misbehaviour on purpose, so that a tool can be tested against a Hub that fails at the worst moment."""

from __future__ import annotations

import threading
from typing import Literal, get_args

from hala_release.localhub.refused import Dropped, Refused

When = Literal["before-commit", "after-commit"]
How = Literal["error", "drop"]


class Faults:
    """What is to go wrong next: armed by a request, spent by the commits that follow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[tuple[str, str]] = []

    def arm(self, when: str, how: str, times: int) -> None:
        """Let the next `times` commits fail, before or after they take effect."""
        if when not in get_args(When) or how not in get_args(How):
            raise Refused(400, f"A fault has when {get_args(When)} and how {get_args(How)}")
        with self._lock:
            self._armed += [(when, how)] * times

    def strike(self, when: When) -> None:
        """Fail here if that was asked for."""
        with self._lock:
            how = next((h for w, h in self._armed if w == when), None)
            if how is None:
                return
            self._armed.remove((when, how))
        if how == "drop":
            raise Dropped(when)
        raise Refused(500, f"A fault was asked for: {when}")
