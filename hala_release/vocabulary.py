"""The lists of ids that the Hub knows, as they were on a day that each list names."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent / "vocabularies"


class Vocabulary(NamedTuple):
    """One list of the Hub."""

    source: str
    """Repository and path that it was read from."""
    seen: str
    """Day of that reading, or of the release that was read: YYYY-MM-DD."""
    values: frozenset[str]


def names() -> tuple[str, ...]:
    """Return the names of all vocabularies."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def load(name: str) -> Vocabulary:
    """Return a vocabulary; its file is read when it is first asked for."""
    content = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Vocabulary(content["source"], content["seen"], frozenset(content["values"]))
