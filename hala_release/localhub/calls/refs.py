"""Branches, tags, and the history behind them."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from hala_release.localhub import git, names, revisions
from hala_release.localhub.calls import pulls
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo, moment
from hala_release.localhub.wire import Call, text

PAGE = 50


def refs(call: Call) -> Response:
    """GET refs."""
    repo = call.repo()
    answer: dict[str, Any] = {
        "branches": _listed(repo, "refs/heads/"),
        "converts": [],
        "tags": _listed(repo, "refs/tags/"),
    }
    if call.flag("include_prs"):
        listed = _listed(repo, pulls.PREFIX)
        answer["pullRequests"] = [{**pull, "name": pull["ref"]} for pull in listed]
    return JSONResponse(answer)


def _listed(repo: Repo, prefix: str) -> list[dict[str, str]]:
    found = git.refs(repo.git_dir, prefix)
    return [{"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid} for ref, oid in found.items()]


def commits(call: Call) -> Response:
    """GET commits/{rev}: the history, newest first."""
    repo = call.repo()
    commit = revisions.commit(repo, call.params["rev"])
    page = next(iter(call.query("p")), "0")
    if not page.isdecimal() or len(page) > 9:
        raise Refused(400, "`p` must be a natural number")
    found = git.log(repo.git_dir, commit, skip=int(page) * PAGE, limit=PAGE + 1)
    headers = {"Link": f'<{call.link(p=str(int(page) + 1))}>; rel="next"'} if len(found) > PAGE else {}
    formatted = "formatted" in call.query("expand")
    return JSONResponse([_line(c, formatted=formatted) for c in found[:PAGE]], headers=headers)


def _line(commit: git.Commit, *, formatted: bool) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "date": moment(datetime.fromtimestamp(commit.time, UTC)),
        "authors": [{"user": commit.author}],
    }
    if formatted:
        line["formatted"] = {"title": html.escape(commit.title), "message": html.escape(commit.message)}
    return line


def create_branch(call: Call) -> Response:
    """POST branch/{branch}, from `startingPoint` or from main."""
    repo = call.repo(write=True)
    values = call.json()
    start = revisions.commit(repo, text(values, "startingPoint", "main"))
    _create(call, repo, f"refs/heads/{names.ref(call.params['branch'])}", start)
    return JSONResponse({})


def delete_branch(call: Call) -> Response:
    """DELETE branch/{branch}."""
    repo = call.repo(write=True)
    ref = f"refs/heads/{names.ref(call.params['branch'])}"
    if ref == "refs/heads/main":
        raise Refused(403, f"Cannot delete {ref}")
    _delete(call, repo, ref)
    return JSONResponse({})


def create_tag(call: Call) -> Response:
    """POST tag/{rev}: a new tag on any revision; with a message, an annotated one."""
    repo = call.repo(write=True)
    values = call.json()
    target = revisions.commit(repo, call.params["rev"])
    ref = f"refs/tags/{names.ref(text(values, 'tag'))}"
    if message := text(values, "message", ""):
        if "\0" in message:
            raise Refused(400, "`message` must not contain a NUL character")
        made = (f"object {target}", "type commit", f"tag {ref.removeprefix('refs/tags/')}", _tagger(), "", message, "")
        target = (
            git.run(repo.git_dir, "mktag", "--no-strict", stdin="\n".join(made).encode(errors="replace"))
            .decode()
            .strip()
        )
    _create(call, repo, ref, target)
    return JSONResponse({})


def _tagger() -> str:
    seconds = int(datetime.now(UTC).timestamp())
    return f"tagger {git.AUTHOR} <{git.AUTHOR}@localhost> {seconds} +0000"


def delete_tag(call: Call) -> Response:
    """DELETE tag/{tag}."""
    repo = call.repo(write=True)
    _delete(call, repo, f"refs/tags/{names.ref(call.params['rev'])}")
    return JSONResponse({})


def _create(call: Call, repo: Repo, ref: str, target: str) -> None:
    with call.store.writing(repo):
        existing = git.refs(repo.git_dir, ref)
        if ref in existing:
            raise Refused(409, f"Reference {ref} already exists")
        try:
            git.update(repo.git_dir, f"create {ref} {target}")
        except git.GitFailed as error:
            raise Refused(409, f"{ref} cannot be made beside the references that exist") from error
    call.store.touch(repo)


def _delete(call: Call, repo: Repo, ref: str) -> None:
    with call.store.writing(repo):
        if ref not in git.refs(repo.git_dir, ref):
            raise revisions.missing(ref.split("/", 2)[2])
        git.update(repo.git_dir, f"delete {ref}")
    call.store.touch(repo)
