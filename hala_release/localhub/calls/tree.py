"""Listings of files at a revision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

from hala_release.localhub import git, names, pointers, revisions
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo, moment
from hala_release.localhub.wire import Call

PAGE = 1000
PAGE_EXPANDED = 50


def tree(call: Call) -> Response:
    """GET tree/{rev}[/{path}]; a page goes on at the commit where the listing began, whatever is pushed meanwhile."""
    repo = call.repo()
    cursor = next(iter(call.query("cursor")), "")
    revision, start = _position(cursor) if cursor else (call.params["rev"], 0)
    path = call.params.get("path", "").strip("/")
    if path:
        found = revisions.at(repo, revision, path)
        commit, top = found.commit, found.oid
        if found.kind != "tree":
            raise Refused(404, f"{path} is not a folder", code="EntryNotFound", headers={"X-Repo-Commit": commit})
    else:
        commit = top = revisions.commit(repo, revision)
    entries = git.tree(repo.git_dir, top, recursive=call.flag("recursive"), under=path)
    size = PAGE_EXPANDED if call.flag("expand") else PAGE
    page = entries[start : start + size]
    headers = {"X-Repo-Commit": commit}
    if start + size < len(entries):
        headers["Link"] = f'<{call.link(cursor=f"{commit}:{start + size}")}>; rel="next"'
    return JSONResponse(_lines(repo, commit, page, expand=call.flag("expand")), headers=headers)


def _position(cursor: str) -> tuple[str, int]:
    commit, _, start = cursor.partition(":")
    if not names.SHA.fullmatch(commit) or not start.isdecimal() or len(start) > 9:
        raise Refused(400, "`cursor` is not one that this Hub gave")
    return commit, int(start)


def paths_info(call: Call) -> Response:
    """POST paths-info/{rev}: the entries at some paths; paths with nothing there are left out."""
    repo = call.repo()
    commit = revisions.commit(repo, call.params["rev"])
    if call.request.headers.get("content-type", "").startswith("application/json"):
        values = call.json()
        asked, expand = values.get("paths"), values.get("expand") is True
        if not isinstance(asked, list) or not all(isinstance(path, str) for path in asked):
            raise Refused(400, "`paths` must be a list of strings")
    else:
        form = parse_qs(call.body.decode("utf-8", "replace"), keep_blank_values=True)
        asked, expand = form.get("paths", []), form.get("expand", [""])[0].lower() in ("true", "1")
    paths = [names.path(path.strip("/")) for path in asked if path.strip("/")]
    found = zip(paths, git.check(repo.git_dir, (f"{commit}:{path}" for path in paths)), strict=True)
    entries = [git.Entry(e[1], e[0], e[2] if e[1] == "blob" else 0, path) for path, e in found if e]
    return JSONResponse(_lines(repo, commit, entries, expand=expand), headers={"X-Repo-Commit": commit})


def _lines(repo: Repo, commit: str, entries: Sequence[git.Entry], *, expand: bool) -> list[dict[str, Any]]:
    large = pointers.among(repo.git_dir, entries)
    changed = git.last_changes(repo.git_dir, commit, (e.path for e in entries)) if expand else {}
    lines = []
    for entry in entries:
        kind = "directory" if entry.kind == "tree" else "file"
        line: dict[str, Any] = {"type": kind, "oid": entry.oid, "size": entry.size, "path": entry.path}
        if pointer := large.get(entry.oid):
            line["size"] = pointer.size
            line["lfs"] = {"oid": pointer.sha256, "size": pointer.size, "pointerSize": entry.size}
        if last := changed.get(entry.path):
            date = moment(datetime.fromtimestamp(last.time, UTC))
            line["lastCommit"] = {"id": last.oid, "title": last.title, "date": date}
        lines.append(line)
    return lines
