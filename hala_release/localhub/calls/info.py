"""What a repository says of itself: its settings, its head, its card, its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from starlette.responses import JSONResponse, Response

from hala_release.localhub import git, pointers, revisions
from hala_release.localhub.calls import cards, evals, spaces
from hala_release.localhub.store import Repo, Store, moment
from hala_release.localhub.wire import Call


class Facts:
    """The facts of a repository at a commit; each is looked up only when asked for."""

    def __init__(self, store: Store, repo: Repo, commit: str, *, blobs: bool = False) -> None:
        self.store = store
        self.repo = repo
        self.commit = commit
        self.blobs = blobs

    @cached_property
    def card(self) -> dict[str, Any]:
        """The metadata of its card."""
        return cards.of(self.repo, self.commit)

    @cached_property
    def files(self) -> list[git.Entry]:
        """Its files."""
        return [e for e in git.tree(self.repo.git_dir, self.commit, recursive=True) if e.kind == "blob"]

    @cached_property
    def pointers(self) -> dict[str, pointers.Pointer]:
        """Which of its files are large."""
        return pointers.among(self.repo.git_dir, self.files)

    @property
    def siblings(self) -> list[dict[str, Any]]:
        """Its files as the Hub lists them, with sizes and hashes when asked for."""
        if not self.blobs:
            return [{"rfilename": entry.path} for entry in self.files]
        listed = []
        for entry in self.files:
            pointer = self.pointers.get(entry.oid)
            line: dict[str, Any] = {"rfilename": entry.path, "blobId": entry.oid, "size": entry.size}
            if pointer:
                line |= {
                    "size": pointer.size,
                    "lfs": {"sha256": pointer.sha256, "size": pointer.size, "pointerSize": entry.size},
                }
            listed.append(line)
        return listed

    @property
    def size(self) -> int:
        """The bytes of its files at this commit."""
        return sum(self.pointers[e.oid].size if e.oid in self.pointers else e.size for e in self.files)

    @property
    def last_modified(self) -> str:
        """When its commit was made."""
        time = git.log(self.repo.git_dir, self.commit, limit=1)[0].time
        return moment(datetime.fromtimestamp(time, UTC))


FACTS: dict[str, Callable[[Facts], Any]] = {
    "author": lambda f: f.repo.namespace,
    "sha": lambda f: f.commit,
    "lastModified": lambda f: f.last_modified,
    "createdAt": lambda f: f.repo.created,
    "private": lambda f: f.repo.private,
    "visibility": lambda f: f.repo.visibility,
    "gated": lambda f: f.repo.gated or False,
    "disabled": lambda _: False,
    "downloads": lambda _: 0,
    "likes": lambda _: 0,
    "tags": lambda f: cards.tags(f.repo.kind, f.card),
    "cardData": lambda f: f.card or None,
    "siblings": lambda f: f.siblings,
    "usedStorage": lambda f: f.size,
}
OF_KIND: dict[str, dict[str, Callable[[Facts], Any]]] = {
    "model": {
        "modelId": lambda f: f.repo.id,
        "library_name": lambda f: f.card.get("library_name"),
        "pipeline_tag": lambda f: f.card.get("pipeline_tag"),
    },
    "dataset": {},
    "space": {
        "sdk": lambda f: f.card.get("sdk") or f.repo.sdk,
        "subdomain": lambda f: re.sub("[^a-z0-9]+", "-", f.repo.id.lower()),
        "host": lambda f: spaces.host(f.store, f.repo),
        "runtime": lambda f: spaces.state(f.store, f.repo),
    },
}
ASKED: dict[str, dict[str, Callable[[Facts], Any]]] = {
    "model": {"evalResults": lambda f: evals.of(f.store, f.repo, f.commit)},
    "dataset": {},
    "space": {},
}
"""Facts that are told only to those who ask for them by name."""
BRIEF = ["author", "sha", "lastModified", "createdAt", "private", "gated", "downloads", "likes", "tags"]
BRIEF += ["modelId", "library_name", "pipeline_tag", "sdk"]


def _facts(facts: Facts, keys: Sequence[str]) -> dict[str, Any]:
    known, asked = FACTS | OF_KIND[facts.repo.kind], ASKED[facts.repo.kind]
    found = {key: tell(facts) for key in (keys or known) if (tell := known.get(key) or asked.get(key))}
    return {"_id": facts.repo.key, "id": facts.repo.id, **{k: v for k, v in found.items() if v is not None}}


def summary(store: Store, repo: Repo, expand: Sequence[str], *, full: bool) -> dict[str, Any]:
    """A repository as a list shows it."""
    facts = Facts(store, repo, git.refs(repo.git_dir, "refs/heads/main")["refs/heads/main"])
    return _facts(facts, expand or (() if full else BRIEF))


def of(call: Call) -> Response:
    """GET /api/{T}/{id}[/revision/{rev}]; with `expand`, only those keys."""
    repo = call.repo()
    commit = revisions.commit(repo, call.params.get("rev", "main"))
    return JSONResponse(_facts(Facts(call.store, repo, commit, blobs=call.flag("blobs")), call.query("expand")))
