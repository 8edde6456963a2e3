"""Git plumbing on bare repositories: objects, trees, refs, history. Nothing here knows HTTP."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hala_release.errors import HalaError

AUTHOR = "local"
_IDENTITY = {"NAME": AUTHOR, "EMAIL": f"{AUTHOR}@localhost"}
INCOMING = "refs/incoming/"
FIELDS = "%H%x00%ct%x00%s%x00%b%x00%an"
CONFIG = f"""\
[core]
  repositoryFormatVersion = 0
  bare = true
  fsync = all
[gc]
  auto = 0
[fastimport]
  unpackLimit = 16
[transfer]
  hideRefs = {INCOMING.rstrip("/")}
[uploadpack]
  allowFilter = true
  allowAnySHA1InWant = true
"""
"""Objects and refs reach the disk before a command returns; a commit of many files stays one pack."""


class GitFailed(HalaError):
    """Git refused; the message is what it printed."""


@dataclass(frozen=True)
class Entry:
    """A line of a tree."""

    kind: str
    oid: str
    size: int
    path: str


@dataclass(frozen=True)
class Commit:
    """A commit as the history lists it."""

    oid: str
    time: int
    title: str
    message: str
    author: str


def environment() -> dict[str, str]:
    """The process environment without anything that could lead git to another repository or configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _IDENTITY.items()}
    return {**kept, **who, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}


def run(git_dir: Path, *args: str, stdin: bytes | IO[bytes] = b"", env: dict[str, str] | None = None) -> bytes:
    """The output of one git command."""
    with contextlib.ExitStack() as stack:
        if isinstance(stdin, bytes):
            content, stdin = stdin, stack.enter_context(tempfile.TemporaryFile())
            stdin.write(content)
            stdin.seek(0)
        command = ["git", f"--git-dir={git_dir}", *args]
        # close_fds=False: a git that outlives a killed server keeps the server's lock, so the next one waits for it.
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, close_fds=False, env={**environment(), **(env or {})}
        )
    if done.returncode:
        raise GitFailed(done.stderr.decode("utf-8", "replace").strip())
    return done.stdout


def init(git_dir: Path) -> None:
    """Make an empty bare repository."""
    run(git_dir, "init", "--quiet", "--bare", "--template=", "--initial-branch=main")
    (git_dir / "config").write_text(CONFIG)


def check(git_dir: Path, names: Iterable[str]) -> list[tuple[str, str, int] | None]:
    """Object id, type and size of each name, None where there is no such object."""
    asked = list(names)
    lines = run(git_dir, "cat-file", "--batch-check", stdin="".join(f"{n}\n" for n in asked).encode()).splitlines()
    found: list[tuple[str, str, int] | None] = []
    for line in lines:
        match = re.fullmatch(rb"([0-9a-f]{40}) (\w+) (\d+)", line)
        found.append((match[1].decode(), match[2].decode(), int(match[3])) if match else None)
    return found


def contents(git_dir: Path, oids: Iterable[str]) -> dict[str, bytes]:
    """The bytes of blobs that exist."""
    asked = list(dict.fromkeys(oids))
    if not asked:
        return {}
    output = run(git_dir, "cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in asked).encode())
    found, at = {}, 0
    for oid in asked:
        end = output.index(b"\n", at)
        size = int(output[at:end].split(b" ")[2])
        found[oid] = output[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return found


def tree(git_dir: Path, treeish: str, *, recursive: bool, under: str = "") -> list[Entry]:
    """The entries of a tree, directories included; paths are prefixed with `under`."""
    output = run(git_dir, "ls-tree", "-z", "-l", *(("-r", "-t") if recursive else ()), treeish)
    entries = []
    for line in output.split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        _, kind, oid, size = about.decode().split()
        path = name.decode("utf-8", "surrogateescape")
        entries.append(Entry(kind, oid, 0 if size == "-" else int(size), f"{under}/{path}" if under else path))
    return entries


def refs(git_dir: Path, prefix: str) -> dict[str, str]:
    """Full ref name to the commit it stands for, also for annotated tags."""
    output = run(git_dir, "for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", prefix)
    found = {}
    for line in output.decode().splitlines():
        oid, peeled, name = line.split(" ", 2)
        found[name] = peeled or oid
    return found


def update(git_dir: Path, *changes: str) -> None:
    """Change refs in one transaction: all of them, each from its expected old value, or none."""
    run(git_dir, "update-ref", "--stdin", stdin="".join(f"{line}\n" for line in ("start", *changes, "commit")).encode())


def log(git_dir: Path, commit: str, *, skip: int = 0, limit: int = -1) -> list[Commit]:
    """The history of a commit, newest first."""
    window = (f"--skip={skip}", f"--max-count={limit}")
    output = run(git_dir, "log", "-z", f"--format=tformat:{FIELDS}", *window, commit, "--")
    values = output.decode("utf-8", "replace").split("\0")[:-1]
    return [
        Commit(values[i], int(values[i + 1]), values[i + 2], values[i + 3].rstrip("\n"), values[i + 4])
        for i in range(0, len(values), 5)
    ]


def last_changes(git_dir: Path, commit: str, paths: Iterable[str]) -> dict[str, Commit]:
    """For each path, the newest commit that touched it or something below it; one walk for all of them."""
    wanted, owner, current = set(paths), dict[str, str](), ""
    output = run(git_dir, "log", "-z", "--format=tformat:%x01%H", "--name-only", "-m", commit, "--")
    for token in output.decode("utf-8", "surrogateescape").split("\0"):
        if token.startswith("\x01"):
            current = token[1:]
            continue
        parts = token.removeprefix("\n").split("/")
        for depth in range(1, len(parts) + 1):
            owner.setdefault("/".join(parts[:depth]), current)
    commits = {past.oid: past for past in log(git_dir, commit)}
    return {path: commits[owner[path]] for path in wanted if path in owner}


def import_commit(git_dir: Path, stream: IO[bytes], incoming: str) -> str:
    """Feed a fast-import stream that builds one commit on the ref `incoming`; returns the commit."""
    run(git_dir, "fast-import", "--quiet", "--date-format=raw", stdin=stream)
    return run(git_dir, "rev-parse", "--verify", incoming).decode().strip()
