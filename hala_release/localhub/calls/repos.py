"""Repositories as wholes: who asks, create, delete, move, settings, list."""

from __future__ import annotations

import shutil
import sqlite3
import time

from starlette.responses import JSONResponse, Response

from hala_release.localhub import git, names, store
from hala_release.localhub.attributes import GITATTRIBUTES
from hala_release.localhub.calls import cards, info, spaces
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo, Store
from hala_release.localhub.wire import Call, text

VISIBILITIES = ("public", "private", "protected")
PAGE = 100


def whoami(call: Call) -> Response:
    """GET /api/whoami-v2; every namespace in the store is an organisation of its one user."""
    if call.caller is None:
        raise Refused(401, "Invalid username or password.")
    caller = call.caller
    others = sorted({repo.namespace for repo in call.store.repos()} - {caller.name})
    org = {"type": "org", "isEnterprise": False, "roleInOrg": "admin"}
    token = {"displayName": "local", "role": caller.role}
    return JSONResponse(
        {
            "type": "user",
            "id": call.store.id,
            "name": caller.name,
            "fullname": "Local user",
            "email": f"{caller.name}@localhost",
            "emailVerified": True,
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "orgs": [{**org, "id": name, "name": name, "fullname": name} for name in others],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def create(call: Call) -> Response:
    """POST /api/repos/create; the first commit holds the Hub's .gitattributes."""
    caller = call.writer()
    values = call.json()
    kind = names.kind(text(values, "type", "model"))
    namespace, name = names.repo_id(text(values, "organization", caller.name), text(values, "name"))
    private = values.get("private")
    visibility = _visibility(text(values, "visibility", "private" if private is True else "public"))
    if asked := [key for key in ("volumes", "template") if values.get(key)]:
        raise Refused(501, f"{', '.join(asked)} of Spaces: not built yet in this Hub")
    given = spaces.given(values) if kind == "space" else []
    sdk = text(values, "sdk", "")
    if kind == "space" and sdk not in ("gradio", "streamlit", "docker", "static"):
        raise Refused(400, "A Space needs `sdk`: gradio, docker, static or streamlit")
    wanted = f"{namespace}/{name}"
    taken = call.store.find(kind, wanted)
    if taken and taken.id.lower() != wanted.lower():
        taken = None  # the name belonged to a repository that moved away
    moment = store.now()
    row = (store.new_key(), kind, namespace, name, wanted.lower(), visibility, "", sdk, moment, moment)
    if taken or not _insert(call.store, row):
        message = f"You already created this {kind} repo"
        raise Refused(409, message, body={"url": _url(call, call.store.find(kind, wanted))})
    spaces.keep(call.store, row[0], given)
    return JSONResponse({"url": _url(call, call.store.find(kind, wanted)), "name": wanted, "id": row[0]})


def _insert(kept: Store, row: tuple[str, ...]) -> bool:
    """Make the git repository, then announce it; false if another request was faster."""
    key, kind, _, _, lowered, *_ = row
    _first_commit(kept, key)
    try:
        with kept.db() as db:
            db.execute("insert into repos values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("delete from old_names where kind = ? and lowered = ?", (kind, lowered))
    except sqlite3.IntegrityError:
        shutil.rmtree(kept.git_dir(key))
        return False
    return True


def _url(call: Call, repo: Repo | None) -> str:
    return f"{call.base}/{repo.url_path}" if repo else call.base


def _visibility(value: str) -> str:
    if value not in VISIBILITIES:
        raise Refused(400, f"`visibility` must be one of {', '.join(VISIBILITIES)}")
    return value


def _first_commit(kept: Store, key: str) -> None:
    git_dir = kept.git_dir(key)
    git.init(git_dir)
    head = f"commit refs/heads/main\ncommitter {git.AUTHOR} <{git.AUTHOR}@localhost> {int(time.time())} +0000\n"
    title = b"initial commit"
    stream = head.encode() + b"data %d\n%s\n" % (len(title), title)
    stream += b"M 100644 inline .gitattributes\ndata %d\n%s\n" % (len(GITATTRIBUTES), GITATTRIBUTES)
    git.run(git_dir, "fast-import", "--quiet", stdin=stream)


def delete(call: Call) -> Response:
    """DELETE /api/repos/delete; the name is gone before the files are."""
    caller = call.writer()
    values = call.json()
    kind = names.kind(text(values, "type", "model"))
    repo = _named(call, kind, f"{text(values, 'organization', caller.name)}/{text(values, 'name')}")
    with call.store.writing(repo):
        with call.store.db() as db:
            db.execute("delete from repos where key = ?", (repo.key,))
            db.execute("delete from old_names where key = ?", (repo.key,))
            db.execute("delete from space_settings where key = ?", (repo.key,))
            db.execute("delete from collection_items where kind = ? and item = ?", (kind, repo.id))
        shutil.rmtree(repo.git_dir, ignore_errors=True)
    call.store.apps.forget(repo.key)
    return JSONResponse({})


def move(call: Call) -> Response:
    """POST /api/repos/move; the old name keeps resolving."""
    call.writer()
    values = call.json()
    kind = names.kind(text(values, "type", "model"))
    repo = _named(call, kind, text(values, "fromRepo"))
    target = text(values, "toRepo")
    namespace, name = names.repo_id(*(target.split("/") if target.count("/") == 1 else ("", target)))
    try:
        with call.store.db() as db:
            db.execute("delete from old_names where kind = ? and lowered = ?", (kind, target.lower()))
            db.execute(
                "update repos set namespace = ?, name = ?, lowered = ? where key = ?",
                (namespace, name, target.lower(), repo.key),
            )
            if repo.id.lower() != target.lower():
                db.execute("insert or replace into old_names values (?, ?, ?)", (kind, repo.id.lower(), repo.key))
            db.execute(
                "update or ignore collection_items set item = ? where kind = ? and item = ?", (target, kind, repo.id)
            )
    except sqlite3.IntegrityError as error:
        raise Refused(409, f"A {kind} repository called {target} already exists") from error
    call.store.apps.pause(repo.key)
    return JSONResponse({"url": f"{call.base}/{target}"})


def _named(call: Call, kind: str, repo_id: str) -> Repo:
    repo = call.store.find(kind, repo_id)
    if repo is None:
        raise Refused(404, "Repository not found", code="RepoNotFound")
    return repo


def settings(call: Call) -> Response:
    """PUT settings: visibility (or `private`) and gated."""
    repo = call.repo(write=True)
    values = call.json()
    changes = {}
    if isinstance(values.get("private"), bool):
        changes["visibility"] = "private" if values["private"] else "public"
    if "visibility" in values:
        changes["visibility"] = _visibility(text(values, "visibility"))
    if "gated" in values:
        if values["gated"] not in ("auto", "manual", False):
            raise Refused(400, "`gated` must be 'auto', 'manual' or false")
        changes["gated"] = values["gated"] or ""
    call.store.touch(repo, **changes)
    return JSONResponse({**changes, "gated": values.get("gated", repo.gated or False)})


def without_namespace(call: Call) -> Response:
    """Any call on an id of one part: there are none here."""
    status = 404 if call.caller else 401
    raise Refused(status, "Repository not found: ids have two parts, namespace/name", code="RepoNotFound")


def auth_check(call: Call) -> Response:
    """GET auth-check[/write]: nothing, if the caller may."""
    call.repo(write="write" in call.params, files=True)
    return JSONResponse({})


def listing(call: Call) -> Response:
    """GET /api/{T}: the repositories that the caller may see, filtered, in pages."""
    seen = [r for r in call.store.repos(call.kind) if call.caller or not r.private]
    for author in call.query("author"):
        seen = [r for r in seen if r.namespace.lower() == author.lower()]
    for word in call.query("search"):
        seen = [r for r in seen if word.lower() in r.id.lower()]
    wanted = [value for key in ("filter", "pipeline_tag", "library") for value in call.query(key)]
    if wanted:
        seen = [r for r in seen if set(wanted) <= set(cards.tags(r.kind, cards.of(r, "refs/heads/main")))]
    for sort in call.query("sort"):
        if sort == "createdAt":
            seen.sort(key=lambda repo: repo.created, reverse=True)
    start, size = _natural(call, "cursor", 0), min(_natural(call, "limit", PAGE), PAGE)
    page = seen[start : start + size]
    headers = {"Link": f'<{call.link(cursor=str(start + size))}>; rel="next"'} if 0 < size < len(seen) - start else {}
    full = call.flag("full")
    return JSONResponse(
        [info.summary(call.store, repo, call.query("expand"), full=full) for repo in page], headers=headers
    )


def _natural(call: Call, key: str, default: int) -> int:
    value = next(iter(call.query(key)), str(default))
    if not value.isdecimal() or len(value) > 9:
        raise Refused(400, f"`{key}` must be a natural number")
    return int(value)
