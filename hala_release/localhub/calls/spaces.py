"""Spaces: what they are doing, who asks them to run or to stop, what they print, their variables and secrets."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from hala_release.localhub import building, daemon, git, revisions
from hala_release.localhub.building import SDK, Source
from hala_release.localhub.calls import cards
from hala_release.localhub.page import Panel
from hala_release.localhub.refused import Refused
from hala_release.localhub.running import LAST_LINES, RUNNING
from hala_release.localhub.starting import FIXED
from hala_release.localhub.store import Repo, Store, now
from hala_release.localhub.wire import Call, items, text

HARDWARE = "cpu-basic"
SETTINGS = ("secrets", "variables")
APP_FILES = {"docker": "Dockerfile", "static": "index.html"}
LOOK_AGAIN = 0.25
KEEP_ALIVE = 15.0
"""Seconds; longer than the 5 that a client waits for another line of a log that it does not follow."""
LONGEST_VALUE = 1 << 17


class Setting(NamedTuple):
    """A variable or a secret."""

    kind: str
    name: str
    value: str
    description: str | None


def state(store: Store, repo: Repo) -> dict[str, Any]:
    """The runtime of a Space, as the Hub tells it."""
    stage, sha, error = "PAUSED", "", ""
    header, address = cards.of(repo, "refs/heads/main"), _address(store, repo)
    sdk = _sdk(repo, header)
    if sdk == "static":
        stage, sha = RUNNING, revisions.commit(repo, "main")
    elif sdk == SDK and (known := store.apps.runtime(repo.key)):
        stage, sha, error = known.stage, known.sha, known.error
    else:
        wanted = APP_FILES.get(sdk) or building.app_file(header)
        if "\n" in wanted or git.check(repo.git_dir, [f"refs/heads/main:{wanted}"]) == [None]:
            stage = "NO_APP_FILE"
    found: dict[str, Any] = {
        "stage": stage,
        "hardware": {"current": HARDWARE if stage.startswith(RUNNING) else None, "requested": HARDWARE},
        "storage": None,
        "gcTimeout": None,
        "devMode": False,
    }
    if address:
        found["domains"] = [{"domain": address, "stage": "READY"}]
    return found | {key: value for key, value in (("sha", sha), ("errorMessage", error)) if value}


def host(store: Store, repo: Repo) -> str | None:
    """The address of a Space's app while it answers."""
    address = _address(store, repo)
    return f"http://{address}" if address else None


def _address(store: Store, repo: Repo) -> str:
    known = store.apps.runtime(repo.key)
    return f"{daemon.HOST}:{known.port}" if known and known.port else ""


def _sdk(repo: Repo, header: dict[str, Any]) -> str:
    return str(header.get("sdk") or repo.sdk)


def panel(store: Store, repo: Repo) -> Panel:
    """What the page of a Space shows of its app."""
    told = state(store, repo)
    stage, error = str(told["stage"]), str(told.get("errorMessage", ""))
    sdk = _sdk(repo, cards.of(repo, "refs/heads/main"))
    if sdk == "static":
        return Panel(stage, "", "", "", "A static Space has no app to start: its files are all there is.")
    if sdk != SDK:
        return Panel(stage, "", "", "", f"This Hub does not run {sdk} Spaces.")
    words = error
    if stage.endswith("BUILDING"):
        words = store.apps.log(repo.key, "build").tail(LAST_LINES)
    elif stage.endswith("STARTING"):
        words = "\n".join(store.apps.log(repo.key, which).tail(LAST_LINES) for which in ("build", "run"))
    return Panel(stage, host(store, repo) or "", words, f"/{repo.url_path}")


def source(repo: Repo) -> Source:
    """The head of a Space, and what its card says."""
    commit = revisions.commit(repo, "main")
    header, fault = dict[str, Any](), ""
    entry = git.check(repo.git_dir, [f"{commit}:README.md"])[0]
    if entry and entry[1] == "blob" and entry[2] <= 4 * cards.LONGEST:
        try:
            header = cards.read(git.contents(repo.git_dir, [entry[0]])[entry[0]].decode("utf-8", "replace"))
        except cards.CardInvalid as error:
            fault = str(error)
    return Source(repo.key, repo.id, repo.git_dir, commit, header, fault)


def follow(store: Store, repo: Repo) -> None:
    """A commit came to main; a Space that somebody asked to run is built from it."""
    if repo.kind == "space":
        store.apps.follow(repo.key, partial(source, repo))


def _space(call: Call, *, write: bool = False) -> Repo:
    repo = call.repo(write=write)
    if repo.kind != "space":
        raise Refused(404, f"A {repo.kind} has no runtime")
    return repo


def _controlled(repo: Repo) -> Repo:
    """A Space that can be started and stopped here."""
    match _sdk(repo, cards.of(repo, "refs/heads/main")):
        case "static":
            raise Refused(400, "A static Space always runs; to hide it, make it private")
        case other if other != SDK:
            raise Refused(501, f"This Hub does not run {other} Spaces")
    return repo


def runtime(call: Call) -> Response:
    """GET runtime."""
    return JSONResponse(state(call.store, _space(call)))


def restart(call: Call) -> Response:
    """POST restart[?factory=true]: build the head and run it."""
    repo = _controlled(_space(call, write=True))
    call.store.apps.restart(partial(source, repo), factory=call.flag("factory"))
    return JSONResponse(state(call.store, repo))


def pause(call: Call) -> Response:
    """POST pause: stop the app until somebody asks again."""
    repo = _controlled(_space(call, write=True))
    call.store.apps.pause(repo.key)
    return JSONResponse(state(call.store, repo))


def hardware(call: Call) -> Response:
    """POST hardware `{flavor}`: there is one kind of it here."""
    repo = _space(call, write=True)
    _hardware(text(call.json(), "flavor"))
    return JSONResponse(state(call.store, repo))


def _hardware(flavor: str) -> None:
    if flavor != HARDWARE:
        raise Refused(400, f"This Hub has the hardware {HARDWARE} only: the computer that it runs on")


def run_here(call: Call) -> Response:
    """POST _run, the button of the page: as restart, for whoever opened the page."""
    repo = _controlled(_from_page(call))
    call.store.apps.restart(partial(source, repo))
    return RedirectResponse(f"/{repo.url_path}", 303)


def stop_here(call: Call) -> Response:
    """POST _stop, the button of the page: as pause."""
    repo = _controlled(_from_page(call))
    call.store.apps.pause(repo.key)
    return RedirectResponse(f"/{repo.url_path}", 303)


def _from_page(call: Call) -> Repo:
    """The Space whose page's button was pressed; no other page may send people here."""
    if call.request.headers.get("origin") != call.base:
        raise Refused(403, "This button works on the page of the Space only")
    call.repo(files=True)
    return _space(call, write=call.caller is not None)


async def logs(call: Call) -> Response:
    """GET logs/{build|run}: the lines as server-sent events, and then those that come."""
    repo = await run_in_threadpool(_space, call)
    if call.caller is None:
        raise Refused(401, "Invalid username or password.", headers={"WWW-Authenticate": 'Basic realm="hub"'})
    if call.params["log"] not in ("build", "run"):
        raise Refused(404, "A Space has two logs: build and run")
    events = _events(call.store, repo.key, call.params["log"])
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _events(store: Store, key: str, which: str) -> AsyncIterator[str]:
    """The log as events; that of a build ends with the build, that of an app when the reader goes."""
    number, said = 0, time.monotonic()
    while True:
        going_on = which == "run" or store.apps.building(key)
        lines, number = store.apps.log(key, which).since(number)
        for line in lines:
            yield f"data: {json.dumps({'data': line.text + chr(10), 'timestamp': line.moment})}\n\n"
        if not going_on or store.apps.leaving:
            return
        if lines or time.monotonic() - said > KEEP_ALIVE:
            said = time.monotonic()
            if not lines:
                yield "data:\n\n"
        await asyncio.sleep(LOOK_AGAIN)


def settings(kind: str, call: Call) -> Response:
    """GET secrets or variables: by name; the value of a secret is never told."""
    repo = _space(call, write=True)
    return JSONResponse(_told(call.store, repo, kind))


def set_one(kind: str, call: Call) -> Response:
    """POST secrets or variables `{key, value, description?}`: keep it, and start a running Space again with it."""
    repo = _space(call, write=True)
    keep(call.store, repo.key, [_setting(kind, call.json())])
    call.store.apps.refresh(repo.key)
    return JSONResponse(_told(call.store, repo, kind))


def delete_one(kind: str, call: Call) -> Response:
    """DELETE secrets or variables `{key}`."""
    repo, name = _space(call, write=True), text(call.json(), "key")
    with call.store.db() as db:
        wanted = (repo.key, kind, name)
        gone = db.execute("delete from space_settings where key = ? and kind = ? and name = ?", wanted).rowcount
    if not gone:
        raise Refused(404, f"This Space has no {kind.removesuffix('s')} called {name[:100]}")
    call.store.apps.refresh(repo.key)
    return JSONResponse(_told(call.store, repo, kind))


def _told(store: Store, repo: Repo, kind: str) -> dict[str, Any]:
    with store.db() as db:
        query = "select * from space_settings where key = ? and kind = ? order by name"
        rows = db.execute(query, (repo.key, kind)).fetchall()
    told = {row["name"]: {"description": row["description"], "updatedAt": row["updated"]} for row in rows}
    if kind == "variables":
        for row in rows:
            told[row["name"]]["value"] = row["value"]
    return told


def given(values: dict[str, Any]) -> list[Setting]:
    """The variables and secrets that a new Space is given; any other hardware than ours is refused."""
    if values.get("hardware"):
        _hardware(text(values, "hardware"))
    return [_setting(kind, item) for kind in SETTINGS if values.get(kind) for item in items(values, kind)]


def keep(store: Store, key: str, kept: list[Setting]) -> None:
    """Keep variables and secrets of a Space; one of the same name is replaced."""
    with store.db() as db:
        for each in kept:
            row = (key, each.kind, each.name, each.value, each.description, now())
            db.execute("insert or replace into space_settings values (?, ?, ?, ?, ?, ?)", row)


def _setting(kind: str, values: dict[str, Any]) -> Setting:
    name, value = text(values, "key"), text(values, "value")
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,199}", name):
        raise Refused(400, "`key` must be of letters, digits and underscores, and not begin with a digit")
    if name in FIXED:
        raise Refused(400, f"{name} is set by this Hub")
    if "\0" in value or len(value) > LONGEST_VALUE or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise Refused(400, f"`value` must be a text of at most {LONGEST_VALUE} characters without NUL")
    return Setting(kind, name, value, text(values, "description", "") or None)
