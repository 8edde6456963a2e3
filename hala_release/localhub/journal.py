"""What a program printed: the last megabyte of it, line by line, each line with its moment."""

from __future__ import annotations

import os
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

KEPT_BYTES = 1 << 20


class Line(NamedTuple):
    """A line without its end, and when it was printed."""

    moment: str
    text: str


class Journal:
    """A log that is read while it is written. Its file is readable by the owner only, for programs print secrets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lines = deque[Line]()
        self._first = 0
        self._size = 0
        self._on_disk = 0
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                moment, _, text = line.partition(" ")
                self._append(Line(moment, text))

    def add(self, text: str) -> None:
        """Add what was printed; a part of a line counts as a line."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:
            for part in text.removesuffix("\n").splitlines() or [""]:
                line = Line(moment, part)
                self._append(line)
                self._write(_row(line), "a")
            if self._on_disk > 2 * KEPT_BYTES:
                self._write("".join(map(_row, self._lines)), "w")

    def clear(self) -> None:
        """Begin anew; who follows goes on with the first new line."""
        with self._lock:
            self._first += len(self._lines)
            self._lines.clear()
            self._size = 0
            self._write("", "w")

    def since(self, number: int) -> tuple[list[Line], int]:
        """The lines from a number on that are still kept, and the number to ask for next."""
        with self._lock:
            skipped = max(number - self._first, 0)
            return list(self._lines)[skipped:], self._first + len(self._lines)

    def tail(self, count: int) -> str:
        """The last lines as one text."""
        with self._lock:
            return "\n".join(line.text for line in list(self._lines)[-count:])

    def _append(self, line: Line) -> None:
        self._lines.append(line)
        self._size += len(_row(line))
        while self._size > KEPT_BYTES:
            self._size -= len(_row(self._lines.popleft()))
            self._first += 1

    def _write(self, rows: str, mode: str) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._path, mode, encoding="utf-8", errors="replace", opener=_private) as file:
            file.write(rows)
            self._on_disk = file.tell()


def _row(line: Line) -> str:
    return f"{line.moment} {line.text}\n"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
