"""How many requests came, and how many bytes of file content really arrived, by repository."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class Traffic:
    """Counts since the server started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = 0
        self._bytes: Counter[tuple[str, str]] = Counter()

    def request(self) -> None:
        """Count a request."""
        with self._lock:
            self._requests += 1

    def received(self, way: str, repo: str, size: int) -> None:
        """Count bytes that arrived for a repository as a blob (LFS), as a xorb or a shard (Xet), or inside a commit."""
        with self._lock:
            self._bytes[way, repo] += size

    def report(self) -> dict[str, Any]:
        """The counts: totals, then by repository."""
        with self._lock:
            requests, counted = self._requests, dict(self._bytes)
        repos: dict[str, Counter[str]] = {}
        for (way, repo), size in counted.items():
            repos.setdefault(repo, Counter())[f"{way}_bytes"] += size
        totals: Counter[str] = sum(repos.values(), Counter())
        ways = {f"{way}_bytes": totals[f"{way}_bytes"] for way in ("blob", "xorb", "shard", "commit")}
        return {"received_bytes": sum(ways.values()), **ways, "requests": requests, "repos": repos}
