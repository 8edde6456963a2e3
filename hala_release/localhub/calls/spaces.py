"""Spaces: their files are kept, their programs are not run."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from hala_release.localhub import git, revisions
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo
from hala_release.localhub.wire import Call


def state(repo: Repo, commit: str) -> dict[str, Any]:
    """The runtime of a Space: stopped when it has something to run, else without an app file."""
    wanted = {"static": "index.html", "docker": "Dockerfile"}.get(repo.sdk, "app.py")
    has_app = git.check(repo.git_dir, [f"{commit}:{wanted}"]) != [None]
    return {
        "stage": "STOPPED" if has_app else "NO_APP_FILE",
        "hardware": {"current": None, "requested": None},
        "storage": None,
        "gcTimeout": None,
        "devMode": False,
    }


def runtime(call: Call) -> Response:
    """GET runtime."""
    repo = call.repo()
    if repo.kind != "space":
        raise Refused(404, f"A {repo.kind} has no runtime")
    return JSONResponse(state(repo, revisions.commit(repo, "main")))
