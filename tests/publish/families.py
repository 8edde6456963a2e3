"""Releases to publish, what the Hub holds, and the ways to push one."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import HfApi

from hala_release import plan, push
from hala_release.adopt import adopt
from hala_release.hub import Hub
from hala_release.localhub.daemon import Running
from hala_release.plan import Plan, Settle
from hala_release.push import Pushed
from hala_release.release import load
from hala_release.wanted import Wanted, wanted
from tests import factories

Kind = Literal["dataset", "model", "space"]
REPOS: tuple[tuple[Kind, str], ...] = (("dataset", "corpus"), ("model", "model"))
"""What `factories.family` publishes, in the order of publication."""


def planned(release: Path, hub: Hub, settle: Settle | None = None) -> tuple[Plan, tuple[Wanted, ...]]:
    """Plan a release."""
    loaded = load(release)
    wants = wanted(loaded, release.parent)
    return plan.make(loaded, wants, hub, settle=settle), wants


def pushed(
    release: Path, hub: Hub, talk: Callable[[str], None] = lambda _: None, settle: Settle | None = None
) -> Pushed:
    """Plan a release and perform the plan."""
    made, wants = planned(release, hub, settle)
    return push.perform(made, wants, hub, receipts=release.parent / "receipts.jsonl", talk=talk)


def namespace(release: Path) -> str:
    """Return whose release it is."""
    return load(release).namespace


def edited(release: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Change keys of a release file, or take away those that are None."""
    document = {**yaml.safe_load(release.read_text(encoding="utf-8")), **changes}
    kept = {key: value for key, value in document.items() if value is not None}
    release.write_text(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return release


def artifact(release: Path, repo: str, **changes: Any) -> Path:  # noqa: ANN401
    """Change keys of one artifact of a release file."""
    document = yaml.safe_load(release.read_text(encoding="utf-8"))
    artifacts = [{**one, **changes} if one["repo"] == repo else one for one in document["artifacts"]]
    return edited(release, artifacts=artifacts)


def rebundled(
    release: Path, repo: str, kind: Kind, change: Callable[[Path], None], *, version: str | None = None
) -> Path:
    """Change the raw files of an artifact, seal them again, and give the release a new version."""
    raw = release.parent / "raw" / repo
    change(raw)
    forget(release.parent / repo)
    adopt(raw, kind=kind, out=release.parent / repo)
    return edited(release, version=version) if version else release


def second_version(release: Path) -> Path:
    """Make 1.1.0 of `factories.family`: of each repository one file changes, one goes and one comes."""

    def rows(raw: Path) -> None:
        factories.write_rows(raw / "train.jsonl", factories.conversations(25))
        (raw / "OLD.md").unlink(missing_ok=True)
        (raw / "NEW.md").write_text("new\n")

    def weights(raw: Path) -> None:
        (raw / "config.json").write_text((raw / "config.json").read_text().replace("128", "256"))
        (raw / "generation_config.json").unlink()
        (raw / "NOTICE.md").write_text("new\n")

    rebundled(release, "corpus", "dataset", rows)
    return rebundled(release, "model", "model", weights, version="1.1.0")


def forget(bundle: Path) -> None:
    """Delete a sealed bundle."""
    writable(bundle)
    shutil.rmtree(bundle)


def writable(bundle: Path) -> Path:
    """Take a bundle's read-only bits away, as somebody would who edits it."""
    for path in [bundle, *bundle.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    return bundle


def owner(hub: Running) -> HfApi:
    """The real client with the owner's token."""
    return HfApi(endpoint=hub.url, token=hub.token)


def stranger(hub: Running) -> HfApi:
    """The real client without a token."""
    return HfApi(endpoint=hub.url, token=False)


def tree(api: HfApi, kind: Kind, repo: str, revision: str) -> dict[str, str]:
    """Return git's name of every file by path."""
    entries = api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=kind)
    return {entry.path: entry.blob_id for entry in entries if hasattr(entry, "blob_id")}


def refs(api: HfApi, kind: Kind, repo: str) -> dict[str, str]:
    """Return commits by branch and tag."""
    found = api.list_repo_refs(repo, repo_type=kind)
    return {ref.ref: ref.target_commit for ref in [*found.branches, *found.tags]}


def commits(api: HfApi, kind: Kind, repo: str) -> list[str]:
    """Return titles of commits on main, the oldest first."""
    return [commit.title for commit in reversed(api.list_repo_commits(repo, repo_type=kind))]


def state(hub: Running, author: str | None = None) -> dict[str, object]:
    """Return everything that a Hub holds, or one namespace of it: repositories, refs and their trees, collections."""
    api = owner(hub)
    held: dict[str, object] = {}
    listings: tuple[tuple[Kind, Any], ...] = (
        ("dataset", api.list_datasets(author=author)),
        ("model", api.list_models(author=author)),
        ("space", api.list_spaces(author=author)),
    )
    for kind, listing in listings:
        for repo in listing:
            heads = refs(api, kind, repo.id)
            trees = {commit: tree(api, kind, repo.id, commit) for commit in set(heads.values())}
            held[f"{kind} {repo.id}"] = {"private": repo.private, "refs": heads, "trees": trees}
    for found in api.list_collections(owner=author):
        full = api.get_collection(found.slug)
        held[f"collection {full.slug}"] = [full.title, full.description, [(i.item_type, i.item_id) for i in full.items]]
    return held


def card(hub: Running, kind: Kind, repo: str, revision: str = "main") -> str:
    """Return the card of a repository, byte for byte."""
    with tempfile.TemporaryDirectory() as cache:
        path = owner(hub).hf_hub_download(repo, "README.md", repo_type=kind, revision=revision, cache_dir=cache)
        return Path(path).read_bytes().decode()


def write_card(hub: Running, kind: Kind, repo: str, text: str) -> None:
    """Save a card as somebody does who edits it on the Hub."""
    owner(hub).upload_file(path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=repo, repo_type=kind)


def write_card_unchecked(hub: Running, kind: Kind, repo: str, text: str) -> None:
    """Save a card as `git push` does: the client would not send metadata that cannot be read.

    A surrogate in the text stands for a byte that is not UTF-8.
    """
    file = {
        "path": "README.md",
        "encoding": "base64",
        "content": base64.b64encode(text.encode(errors="surrogateescape")).decode(),
    }
    lines = [{"key": "header", "value": {"summary": "Edit", "description": ""}}, {"key": "file", "value": file}]
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {hub.token}", "Content-Type": "application/x-ndjson"}
        body = "\n".join(json.dumps(line) for line in lines)
        connection.request("POST", f"/api/{kind}s/{repo}/commit/main", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()


def ask_local(hub: Running, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Call what only an embedded Hub has: its counts, its faults, further tokens."""
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {hub.token}"}
        connection.request("POST" if body else "GET", f"/_local/{what}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
    assert answer.status == 200, document
    return document


def manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit a manifest as somebody would who should not."""
    path = writable(bundle) / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def files(bundle: Path) -> Mapping[str, bytes]:
    """Return the bytes of a bundle's payload by path."""
    root = bundle / "files"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def read(release: Path) -> dict[str, Any]:
    """Return a release file as YAML reads it."""
    document: dict[str, Any] = yaml.safe_load(release.read_text(encoding="utf-8"))
    return document


def python(
    script: str, *arguments: str, hub: Running, home: Path, interpreter: str = sys.executable, **more: str
) -> str:
    """Run a script in a fresh process that knows the Hub by its address only, and return what it printed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE_"))}
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [interpreter, "-c", script, *arguments],
        cwd=home,
        env={**kept, **settings, **more},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
