"""Commits: a list of operations, read line by line, becomes one commit and one change of a branch."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from hala_release.localhub import blobs, git, names, pointers, revisions
from hala_release.localhub.calls import pulls, spaces
from hala_release.localhub.faults import Faults
from hala_release.localhub.pointers import Pointer
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo, Store
from hala_release.localhub.traffic import Traffic
from hala_release.localhub.wire import Call, number, text

BODY_LIMIT = 8 << 30
LINE_LIMIT = 32 << 20
SHORTEST = 7
"""Digits of the shortest parent commit that a caller may name."""
MOVED = "The branch was updated since you opened this page. Please refresh and try again."


@dataclass(frozen=True)
class Header:
    """The first line of a commit."""

    message: str
    parent: str | None


class Tree:
    """The paths of a branch while operations change them, so that no operation silently destroys another file."""

    def __init__(self, entries: list[git.Entry]) -> None:
        self._files = {entry.path for entry in entries if entry.kind == "blob"}
        self._folders: dict[str, int] = {}
        for path in self._files:
            self._count(path, 1)

    def _count(self, path: str, step: int) -> None:
        while "/" in path:
            path = path.rpartition("/")[0]
            self._folders[path] = self._folders.get(path, 0) + step

    def add(self, path: str) -> None:
        """Put a file there."""
        if self._folders.get(path):
            raise Refused(422, f"{path} is a folder; delete it before a file takes its name")
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in self._files:
                raise Refused(422, f"{above} is a file; {path} cannot lie below it")
        if path not in self._files:
            self._files.add(path)
            self._count(path, 1)

    def remove(self, path: str) -> None:
        """Take away a file, or a folder with all that is in it."""
        gone = [path] if path in self._files else [f for f in self._files if f.startswith(f"{path}/")]
        if not gone:
            raise Refused(404, f"A file with this name doesn't exist: {path}", code="EntryNotFound")
        for file in gone:
            self._files.remove(file)
            self._count(file, -1)


class Commits:
    """The commit call."""

    def __init__(self, faults: Faults, traffic: Traffic) -> None:
        self._faults = faults
        self._traffic = traffic

    async def commit(self, call: Call) -> Response:
        """POST commit/{rev}: all of the operations, or none."""
        repo = await run_in_threadpool(call.repo, write=True)
        with call.store.blobs.partial() as body:
            size = await blobs.spool(call.request.stream(), body, limit=BODY_LIMIT)
            self._traffic.received("commit", f"{repo.kind}:{repo.id}", size)
            self._faults.strike("before-commit")
            opens = call.flag("create_pr")
            oid, ref = await run_in_threadpool(_apply, call.store, repo, call.params["rev"], body, opens=opens)
        if ref == "refs/heads/main":
            await run_in_threadpool(spaces.follow, call.store, repo)
        self._faults.strike("after-commit")
        page = f"{call.base}/{repo.url_path}"
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}", "hookOutput": ""}
        if opens:
            answer["pullRequestUrl"] = f"{page}/discussions/{ref.removeprefix(pulls.PREFIX)}"
        return JSONResponse(answer)


def _apply(store: Store, repo: Repo, branch: str, body: Path, *, opens: bool) -> tuple[str, str]:
    """Make the commit and move the branch to it, if the branch is still where the caller believes it is.

    A commit that opens a pull request stands on its parent, wherever the branch is by now, and gets a ref of its own.
    Returns the commit and the ref that leads to it.
    """
    target = _branch(repo, branch, pulls_too=not opens)
    incoming = git.INCOMING + secrets.token_hex(12)
    with store.writing(repo), store.blobs.partial() as script, body.open("rb") as lines:
        head = git.refs(repo.git_dir, target).get(target, "")
        if not head:
            raise Refused(404, f"Invalid rev id: {branch}", code="RevisionNotFound")
        operations = _operations(lines)
        header = _header(next(operations, ("", {})))
        parent = revisions.commit(repo, header.parent) if opens and header.parent else head
        if not opens and header.parent and not (len(header.parent) >= SHORTEST and head.startswith(header.parent)):
            raise Refused(412, MOVED)
        with script.open("wb") as stream:
            _write_head(stream, incoming, parent, header)
            tree = Tree(git.tree(repo.git_dir, parent, recursive=True))
            for key, value in operations:
                _write(stream, tree, store, key, value)
        with script.open("rb") as stream:
            oid = git.import_commit(repo.git_dir, stream, incoming)
        ref = pulls.next_ref(repo) if opens else target
        change = f"create {ref} {oid}" if opens else f"update {ref} {oid} {head}"
        try:
            git.update(repo.git_dir, change, f"delete {incoming} {oid}")
        except git.GitFailed as error:
            raise Refused(412, MOVED) from error
    store.touch(repo)
    return oid, ref


def _branch(repo: Repo, revision: str, *, pulls_too: bool) -> str:
    """The ref that a commit moves or a pull request starts from: a branch, or a pull request that is open."""
    name = names.revision(revision).removeprefix("refs/heads/")
    ref = name if pulls_too and name.startswith(pulls.PREFIX) else f"refs/heads/{name}"
    if ref.startswith("refs/heads/refs/") or ref not in git.refs(repo.git_dir, ref):
        raise Refused(404, f"{revision} is not a branch", code="RevisionNotFound")
    return ref


def _operations(lines: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and value of every line."""
    for count in range(1, 1 << 30):
        line = lines.readline(LINE_LIMIT + 1)
        if not line:
            return
        if len(line) > LINE_LIMIT:
            raise Refused(413, f"Line {count} is longer than {LINE_LIMIT} bytes; upload such a file as a large file")
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"Line {count} is not JSON") from error
        if not isinstance(value, dict) or not isinstance(value.get("value"), dict):
            raise Refused(400, f"Line {count} is not an operation")
        yield text(value, "key"), value["value"]


def _header(line: tuple[str, dict[str, Any]]) -> Header:
    key, value = line
    if key != "header":
        raise Refused(400, "The first line must be the header")
    summary, description = text(value, "summary").strip(), text(value, "description", "").strip()
    if not summary or "\0" in summary + description:
        raise Refused(400, "`summary` must be a text without NUL characters")
    return Header(f"{summary}\n\n{description}".strip(), text(value, "parentCommit", "") or None)


def _write_head(stream: IO[bytes], incoming: str, head: str, header: Header) -> None:
    message = header.message.encode("utf-8", "replace")
    who = f"{git.AUTHOR} <{git.AUTHOR}@localhost> {int(time.time())} +0000"
    stream.write(f"commit {incoming}\ncommitter {who}\ndata {len(message)}\n".encode())
    stream.write(message + f"\nfrom {head}\n".encode())


def _write(stream: IO[bytes], tree: Tree, store: Store, key: str, value: dict[str, Any]) -> None:
    """One operation as git fast-import reads it."""
    if key not in ("file", "lfsFile", "deletedFile", "deletedFolder"):
        raise Refused(400, f"The operation {key!r} is not known")
    path = names.path(text(value, "path").rstrip("/") if key.startswith("deleted") else text(value, "path"))
    quoted = '"' + path.replace('"', '\\"') + '"'
    match key:
        case "file":
            content = _content(value)
            if pointer := pointers.parse(content):
                _must_exist(store, pointer.sha256, pointer.size)
        case "lfsFile":
            content = _pointer(store, value).text()
        case _:
            tree.remove(path)
            stream.write(f"D {quoted}\n".encode())
            return
    tree.add(path)
    stream.write(f"M 100644 inline {quoted}\ndata {len(content)}\n".encode())
    stream.write(content)
    stream.write(b"\n")


def _content(value: dict[str, Any]) -> bytes:
    content = text(value, "content")
    match text(value, "encoding", "utf-8"):
        case "base64":
            try:
                return base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError) as error:
                raise Refused(400, f"The content of {value['path']!r} is not base64") from error
        case "utf-8":
            return content.encode("utf-8", "replace")
        case other:
            raise Refused(400, f"The encoding {other!r} is not known")


def _pointer(store: Store, value: dict[str, Any]) -> Pointer:
    oid = text(value, "oid")
    if text(value, "algo", "sha256") != "sha256" or not names.SHA256.fullmatch(oid):
        raise Refused(400, "A large file is named by its sha256 in lower-case hexadecimal")
    return Pointer(oid, _must_exist(store, oid, number(value, "size") if value.get("size") is not None else None))


def _must_exist(store: Store, oid: str, size: int | None) -> int:
    kept = store.blobs.size(oid)
    if kept is None or size not in (None, kept):
        raise Refused(422, f"The large file {oid} was not uploaded, or has another size")
    return kept
