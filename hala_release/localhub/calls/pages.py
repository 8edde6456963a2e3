"""Pages for people: what repositories there are, and what is in one."""

from __future__ import annotations

from html import escape
from typing import Any

from starlette.responses import Response

from hala_release.localhub import git, page, pointers, revisions
from hala_release.localhub.calls import cards, spaces
from hala_release.localhub.page import File, View
from hala_release.localhub.wire import Call

LONGEST_CARD = 1 << 20


def index(call: Call) -> Response:
    """GET /: every repository that the caller may see."""
    seen = [repo for repo in call.store.repos() if call.caller or not repo.private]
    lines = [f"{r.kind} <a href=/{r.url_path}>{escape(r.id)}</a> <small>{r.modified}</small>" for r in seen]
    return page.headed("Repositories", page.listed(lines) if lines else "<p>Nothing has been pushed yet.")


def repository(call: Call) -> Response:
    """GET /{P}{id}[?rev=]: the card as people read it, with what surrounds it."""
    repo = call.repo(files=True)
    revision = next(iter(call.query("rev")), "main")
    commit = revisions.commit(repo, revision)
    entries = [e for e in git.tree(repo.git_dir, commit, recursive=True) if e.kind == "blob"]
    large = pointers.among(repo.git_dir, entries)
    card = next((e for e in entries if e.path == "README.md"), None)
    text = "No card."
    if card and card.size <= LONGEST_CARD:
        text = git.contents(repo.git_dir, [card.oid])[card.oid].decode("utf-8", "replace")
    elif card:
        text = f"The card is longer than {LONGEST_CARD} bytes: [README.md](README.md)"
    metadata, body = parted(text)
    view = View(
        kind=repo.kind,
        repo=repo.id,
        metadata=metadata,
        card=body,
        files=[File(e.path, large[e.oid].size if e.oid in large else e.size) for e in entries],
        address=f"/{repo.url_path}/resolve/{commit}",
        caption=f"{repo.kind} at {revision}",
        tags=[ref.removeprefix("refs/tags/") for ref in git.refs(repo.git_dir, "refs/tags/")],
        here=named_here(call, metadata),
        panel=spaces.panel(call.store, repo) if repo.kind == "space" else None,
    )
    return page.show(view)


def parted(text: str) -> tuple[dict[str, Any], str]:
    """The metadata of a card and the text below it; metadata that cannot be read is shown as the Hub shows it: not."""
    try:
        return cards.read(text), cards.body(text)
    except cards.CardInvalid:
        return {}, cards.body(text)


def named_here(call: Call, metadata: dict[str, Any]) -> dict[tuple[str, str], str]:
    """The models and datasets that a card names and that the caller can open on this Hub, with their pages."""
    named = [("model", value) for value in cards.texts(metadata, "base_model")]
    named += [("dataset", value) for value in cards.texts(metadata, "datasets")]
    found = {(kind, value): call.store.find(kind, value) for kind, value in named}
    return {key: f"/{repo.url_path}" for key, repo in found.items() if repo and (call.caller or not repo.private)}
