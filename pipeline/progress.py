"""How far the tasks of a phase are: each leaves its counts in a file, and the command says the sum now and then."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from hala_release.talk import Talk
from hala_release.units import count

EVERY = 15.0
"""Seconds between two sentences."""
WINDOW = 20
"""Sentences back to where speed is measured from."""


class Progress:
    """The counts of one task, for whoever watches."""

    def __init__(self, folder: Path, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{rank:05d}.json"

    def report(self, counts: Mapping[str, float]) -> None:
        """Replace what the task reported before."""
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(dict(counts)))
        partial.replace(self._path)


class _Look(NamedTuple):
    at: float
    counts: Counter[str]


@contextmanager
def watching(folder: Path, rows: int, talk: Talk, every: float = EVERY) -> Iterator[None]:
    """Say how far the tasks that report to `folder` are, until the block is left.

    Args:
        rows: how many there are in all.
    """
    looks: deque[_Look] = deque([_Look(time.monotonic(), total(folder))], maxlen=WINDOW)
    done = threading.Event()

    def look_on() -> None:
        while not done.wait(every):
            look()

    def look() -> None:
        looks.append(_Look(time.monotonic(), total(folder)))
        talk(sentence(looks[0], looks[-1], rows))

    thread = threading.Thread(target=look_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        look()


def total(folder: Path) -> Counter[str]:
    """Add up what all tasks reported."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        found.update(orjson.loads(path.read_bytes()))
    return found


def sentence(before: _Look, now: _Look, rows: int) -> str:
    """Say how far the tasks are and how fast they went since an earlier look."""
    counts = now.counts
    seconds = max(now.at - before.at, 1e-9)
    speed = {name: max(0, counts[name] - before.counts[name]) / seconds for name in ("rows", "completion_tokens")}
    parts = [
        f"{counts['rows']:,} of {count(rows, 'row')}",
        count(counts["requests"], "request"),
        f"{counts['cached']:,} from the cache",
        *([f"{counts['tries']:,} tried again"] if counts["tries"] else []),
        f"{counts['prompt_tokens']:,} tokens in, {counts['completion_tokens']:,} out",
        f"{speed['completion_tokens']:,.0f} tokens/s",
    ]
    if speed["rows"] and counts["rows"] < rows:
        parts.append(f"about {_duration((rows - counts['rows']) / speed['rows'])} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
