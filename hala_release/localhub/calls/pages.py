"""Plain pages for people: what repositories there are, and what is in one."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from hala_release.localhub import git, pointers, revisions
from hala_release.localhub.wire import Call

STYLE = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}pre{white-space:pre-wrap}"
POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
LONGEST_CARD = 1 << 20


def _page(title: str, *parts: str) -> Response:
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
    return HTMLResponse("\n".join((head, f"<h1 dir=auto>{escape(title)}</h1>", *parts)), headers=POLICY)


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li dir=auto>{line}' for line in lines)}</ul>"


def index(call: Call) -> Response:
    """GET /: every repository that the caller may see."""
    seen = [repo for repo in call.store.repos() if call.caller or not repo.private]
    lines = [f"{r.kind} <a href=/{r.url_path}>{escape(r.id)}</a> <small>{r.modified}</small>" for r in seen]
    return _page("Repositories", _list(lines) if lines else "<p>Nothing has been pushed yet.")


def repository(call: Call) -> Response:
    """GET /{P}{id}: files, tags and the text of the card."""
    repo = call.repo(files=True)
    commit = revisions.commit(repo, "main")
    entries = [e for e in git.tree(repo.git_dir, commit, recursive=True) if e.kind == "blob"]
    large = pointers.among(repo.git_dir, entries)
    files = [
        f"<a href='/{repo.url_path}/resolve/{commit}/{quote(e.path)}'>{escape(e.path)}</a> "
        f"<small>{large[e.oid].size if e.oid in large else e.size} bytes</small>"
        for e in entries
    ]
    tags = [escape(ref.removeprefix("refs/tags/")) for ref in git.refs(repo.git_dir, "refs/tags/")]
    card = next((e.oid for e in entries if e.path == "README.md" and e.size <= LONGEST_CARD), None)
    text = git.contents(repo.git_dir, [card])[card].decode("utf-8", "replace") if card else "No card."
    shown = f"<pre dir=auto>{escape(text)}</pre>"
    return _page(repo.id, shown, "<h2>Files</h2>", _list(files), "<h2>Tags</h2>", _list(tags) if tags else "<p>None.")
