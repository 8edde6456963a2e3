"""Git LFS pointers: the small text that git keeps in place of a large file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hala_release.localhub import git

_FORM = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n?")
LONGEST = 160


@dataclass(frozen=True)
class Pointer:
    """The hash and size of the large file that a pointer stands for."""

    sha256: str
    size: int

    def text(self) -> bytes:
        """The pointer as git keeps it."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()


def parse(content: bytes) -> Pointer | None:
    """The pointer in a blob, if it is one."""
    match = _FORM.fullmatch(content) if len(content) <= LONGEST else None
    return Pointer(match[1].decode(), int(match[2])) if match else None


def among(git_dir: Path, entries: Iterable[git.Entry]) -> dict[str, Pointer]:
    """The pointers among the entries of a tree, by blob id; only blobs of a pointer's size are read."""
    small = (e.oid for e in entries if e.kind == "blob" and 120 <= e.size <= LONGEST)
    found = {oid: parse(content) for oid, content in git.contents(git_dir, small).items()}
    return {oid: pointer for oid, pointer in found.items() if pointer}
