"""Before a commit: which files go into git, which are large, which are ignored, and what is there already."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.responses import JSONResponse, Response

from hala_release.localhub import attributes, git, names, pointers, revisions
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo
from hala_release.localhub.wire import Call, items, number, text

REGULAR_LIMIT = 10 << 20


def preupload(call: Call) -> Response:
    """POST preupload/{rev}."""
    repo = call.repo(write=True)
    commit = revisions.commit(repo, call.params["rev"])
    values = call.json()
    files = items(values, "files")
    paths = [names.path(text(file, "path")) for file in files]
    said = attributes.large(repo.git_dir, commit, paths)
    left_out = attributes.ignored(repo.git_dir, _ignore_rules(repo, commit, values), paths)
    present = _present(repo, commit, paths)
    answers = []
    for file, path in zip(files, paths, strict=True):
        is_large = said.get(path, number(file, "size") > REGULAR_LIMIT or _binary(file)) and number(file, "size") > 0
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if is_large else "regular",
                "shouldIgnore": path in left_out,
                "oid": present.get(path),
            }
        )
    return JSONResponse({"files": answers})


def _binary(file: dict[str, Any]) -> bool:
    try:
        return b"\0" in base64.b64decode(text(file, "sample", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "`sample` is not base64") from error


def _ignore_rules(repo: Repo, commit: str, values: dict[str, Any]) -> str:
    if isinstance(values.get("gitIgnore"), str):
        return str(values["gitIgnore"])
    kept = git.check(repo.git_dir, [f"{commit}:.gitignore"])[0]
    if kept is None or kept[1] != "blob" or kept[2] > 1 << 20:
        return ""
    return git.contents(repo.git_dir, [kept[0]])[kept[0]].decode("utf-8", "replace")


def _present(repo: Repo, commit: str, paths: list[str]) -> dict[str, str]:
    """What is at each path already: the sha256 of a large file, the git hash of a regular one."""
    found = zip(paths, git.check(repo.git_dir, (f"{commit}:{path}" for path in paths)), strict=True)
    entries = [git.Entry(entry[1], entry[0], entry[2], path) for path, entry in found if entry and entry[1] == "blob"]
    large = pointers.among(repo.git_dir, entries)
    return {e.path: large[e.oid].sha256 if e.oid in large else e.oid for e in entries}
