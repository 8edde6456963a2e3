"""Whatever is wrong has its own words, a way out and an exit code, and leaves the Hub as it was."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hala_release.errors import TagTaken
from hala_release.hub import Hub
from hala_release.localhub import daemon
from tests import factories
from tests.factories import hala_release
from tests.publish import families
from tests.publish.families import planned, pushed

PUSH = ("push", "release.yaml", "--hub", "{hub}", "--yes")
PLAN = ("plan", "release.yaml", "--hub", "{hub}")
NOBODY = "hf_" + "n" * 34
"""A token that no Hub knows."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemon.Running]:
    """A Hub of this module's own, so that all of it can be compared."""
    root = tmp_path_factory.mktemp("own") / "hub"
    yield daemon.start(root)
    daemon.stop(root)


@pytest.fixture(scope="module")
def published(own: daemon.Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the family in version 1.1.0, sealed; 1.0.0 is on the Hub."""
    folder = tmp_path_factory.mktemp("published")
    release = factories.family(folder)
    pushed(release, Hub(own.url, own.token))
    families.second_version(release)
    return folder


@pytest.fixture(scope="module")
def before(own: daemon.Running, published: Path) -> dict[str, object]:
    """Everything on the Hub before anything goes wrong."""
    assert published
    return families.state(own)


@pytest.fixture(scope="module")
def reader(own: daemon.Running) -> str:
    """A token that may only read."""
    token: str = families.ask_local(own, "tokens", {"role": "read"})["token"]
    return token


@pytest.fixture(scope="module")
def addresses(own: daemon.Running) -> Iterator[Mapping[str, str]]:
    """Addresses by name: the Hub, a port on which nobody listens, and a server that is not a Hub."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"hub": own.url, "closed": closed, "portal": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()
        server.server_close()


class Portal(BaseHTTPRequestHandler):
    """What a network's login page does: it answers everything with a page."""

    def do_GET(self) -> None:
        """Answer with a page."""
        page = b"<!doctype html><title>Please log in</title>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Row:
    """One thing that goes wrong."""

    change: Callable[[Path], object]
    code: int
    words: tuple[str, ...]
    command: tuple[str, ...] = PUSH
    token: str | None = "{owner}"
    environment: Mapping[str, str] = field(default_factory=dict)


def nothing(_: Path) -> None:
    """Leave everything as it is."""


def write(path: str, data: bytes) -> Callable[[Path], object]:
    """Write into a sealed bundle."""

    def change(folder: Path) -> None:
        families.writable(folder / path.split("/")[0])
        (folder / path).write_bytes(data)

    return change


def flip(path: str) -> Callable[[Path], object]:
    """Change one bit of the last byte of a sealed file."""

    def change(folder: Path) -> None:
        families.writable(folder / path.split("/")[0])
        data = bytearray((folder / path).read_bytes())
        data[-1] ^= 1
        (folder / path).write_bytes(data)

    return change


def remove(path: str) -> Callable[[Path], object]:
    """Delete a file of a sealed bundle."""

    def change(folder: Path) -> None:
        families.writable(folder / path.split("/")[0])
        (folder / path).unlink()

    return change


def link(path: str, target: str) -> Callable[[Path], object]:
    """Put a symbolic link into a sealed bundle, in place of a file if there is one."""

    def change(folder: Path) -> None:
        families.writable(folder / path.split("/")[0])
        (folder / path).unlink(missing_ok=True)
        (folder / path).symlink_to(target)

    return change


def first_file(**changes: Any) -> Callable[[Path], object]:  # noqa: ANN401
    """Change what the model's manifest says of its first file."""
    return lambda folder: families.manifest(folder / "model", lambda document: document["files"][0].update(changes))


def twin(document: dict[str, Any]) -> None:
    """List a second file that differs from the first in case only."""
    document["files"].append({**document["files"][0], "path": document["files"][0]["path"].upper()})
    document["files"].sort(key=lambda entry: entry["path"])


def other_schema(folder: Path) -> None:
    """Write two shards, of which the second has a column more."""
    raw = folder / "raw" / "shards" / "data"
    raw.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1], "text": ["a"]}), raw / "train-00000-of-00002.parquet")
    pq.write_table(pa.table({"id": [1], "text": ["a"], "more": [1.5]}), raw / "train-00001-of-00002.parquet")


def cut(folder: Path) -> None:
    """Cut the end off the weights."""
    weights = folder / "raw" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])


def adopting(what: str, kind: str) -> tuple[str, ...]:
    """Return the command that seals a raw directory."""
    return ("adopt", f"raw/{what}", "--kind", kind, "--out", "sealed")


ROWS: dict[str, Row] = {
    "no bundle": Row(
        lambda folder: families.forget(folder / "model"), 3, ("model is not a bundle: it has no manifest.json",)
    ),
    "a half-written bundle": Row(remove("model/manifest.json"), 3, ("model is not finished", "hala-release adopt")),
    "a changed byte": Row(flip("model/files/tokenizer.json"), 3, ("tokenizer.json has other bytes than were sealed",)),
    "a changed byte of the data": Row(
        flip("corpus/files/data/train-00000-of-00001.parquet"), 3, ("parquet has other bytes than were sealed",)
    ),
    "a changed byte, planned": Row(
        flip("model/files/tokenizer.json"), 3, ("tokenizer.json has other bytes than were sealed",), PLAN
    ),
    "a changed byte of the weights, planned": Row(
        flip("model/files/model.safetensors"), 3, ("model.safetensors has other bytes than were sealed",), PLAN
    ),
    "a longer file": Row(
        write("model/files/tokenizer.json", b"{}" * 40), 3, ("tokenizer.json has 80 bytes, sealed with 18",)
    ),
    "a missing file": Row(remove("model/files/tokenizer.json"), 3, ("tokenizer.json is missing",)),
    "an extra file": Row(write("model/files/extra.txt", b"x"), 3, ("extra.txt was added",)),
    "a symbolic link": Row(link("model/files/extra.txt", "/etc/hostname"), 3, ("extra.txt is a symbolic link",)),
    "a file that became a link": Row(
        link("model/files/tokenizer.json", "../../raw/model/tokenizer.json"), 3, ("tokenizer.json is a symbolic link",)
    ),
    "a path out of the bundle": Row(
        first_file(path="../../../etc/passwd"), 3, ("'../../../etc/passwd' has a `.` or `..` component",)
    ),
    "an absolute path": Row(first_file(path="/etc/passwd"), 3, ("'/etc/passwd' is empty, absolute",)),
    "two paths in other letters": Row(
        lambda folder: families.manifest(folder / "model", twin), 3, ("paths differ only in case", "NOTICE.MD")
    ),
    "a manifest that lies about a digest": Row(first_file(sha256="0" * 64), 3, ("has other bytes than were sealed",)),
    "a manifest that is no JSON": Row(write("model/manifest.json", b"{"), 3, ("manifest.json is not JSON",)),
    "a manifest of a later version": Row(
        lambda folder: families.manifest(folder / "model", lambda document: document.update(schema=2)),
        3,
        ("has schema 2", "pip install --upgrade hala-release"),
    ),
    "a shard with another schema": Row(
        other_schema,
        3,
        ("train-00001-of-00002.parquet has another schema", "column more: absent there, double here"),
        adopting("shards", "dataset"),
    ),
    "cut-off weights": Row(
        cut, 3, ("model.safetensors has 463 bytes, its header describes 470",), adopting("model", "model")
    ),
    "a link among raw files": Row(
        lambda folder: (folder / "raw" / "model" / "link").symlink_to("config.json"),
        3,
        ("link is a symbolic link", "cp -RL"),
        adopting("model", "model"),
    ),
    "raw files in other letters": Row(
        lambda folder: (folder / "raw" / "model" / "Config.json").write_text("{}"),
        3,
        ("Config.json and config.json differ only in case",),
        adopting("model", "model"),
    ),
    "a license without its text": Row(
        lambda folder: families.edited(
            folder / "release.yaml", license={"id": "other", "name": "lfm1.0", "link": "LICENSE"}
        ),
        4,
        ("the license text LICENSE is not among the files", "link to a URL"),
    ),
    "no release file": Row(lambda folder: (folder / "release.yaml").unlink(), 2, ("release.yaml does not exist",)),
    "an unknown key": Row(
        lambda folder: families.edited(folder / "release.yaml", licence="mit"), 2, ("line ", "licence")
    ),
    "no token": Row(nothing, 5, ("no token for http://127.0.0.1", "export HF_TOKEN"), token=None),
    "a token that the Hub does not know": Row(nothing, 5, ("token", "export HF_TOKEN"), token=NOBODY),
    "such a token, planned": Row(nothing, 5, ("token", "export HF_TOKEN"), PLAN, token=NOBODY),
    "a token of another shape": Row(nothing, 5, ("token", "export HF_TOKEN"), token="s3cr3t+Password"),
    "a token that no header can carry": Row(nothing, 5, ("token", "export HF_TOKEN"), token="s3cr3t\x01Password"),
    "a token outside ASCII": Row(nothing, 5, ("token", "export HF_TOKEN"), token="s3cr3t-ü-Password"),
    "a token that may only read": Row(
        nothing, 5, ("cannot write", "export HF_TOKEN with write access"), token="{reader}"
    ),
    "a version that is taken": Row(
        lambda folder: families.edited(folder / "release.yaml", version="1.0.0"),
        5,
        ("has the tag v1.0.0 already, with other content", "new version"),
    ),
    "such a version, planned": Row(
        lambda folder: families.edited(folder / "release.yaml", version="1.0.0"), 5, ("has the tag v1.0.0",), PLAN
    ),
    "nobody listens": Row(
        nothing,
        5,
        ("no answer from {closed}", "check the network"),
        ("push", "release.yaml", "--hub", "{closed}", "--yes"),
    ),
    "no such host": Row(
        nothing,
        5,
        ("no answer from http://hub.invalid", "check the network"),
        ("push", "release.yaml", "--hub", "http://hub.invalid", "--yes"),
    ),
    "an address without its scheme": Row(
        nothing, 2, ("hub.example", "https://"), ("push", "release.yaml", "--hub", "hub.example", "--yes")
    ),
    "local misspelt": Row(nothing, 2, ("locl", "local"), ("push", "release.yaml", "--hub", "locl", "--yes")),
    "a login page instead of a Hub": Row(
        nothing, 5, ("{portal}",), ("plan", "release.yaml", "--hub", "{portal}")
    ),
    "offline mode": Row(nothing, 5, ("offline", "unset HF_HUB_OFFLINE"), environment={"HF_HUB_OFFLINE": "1"}),
    "nobody to say yes": Row(
        nothing, 2, ("nobody is there to say yes", "--yes"), ("push", "release.yaml", "--hub", "{hub}")
    ),
    "an option that does not exist": Row(nothing, 2, ("--force",), (*PUSH, "--force")),
}  # fmt: skip


def filled(text: str, **names: str) -> str:
    """Put names into a text that may have other braces."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


def broken(row: Row, published: Path, tmp_path: Path) -> Path:
    """Return a copy of the published family in which the one thing goes wrong."""
    folder = tmp_path / "work"
    shutil.copytree(published, folder)
    row.change(folder)
    return folder


@pytest.mark.parametrize("what", ROWS)
def test_is_refused_in_words_and_nothing_changes(
    what: str,
    tmp_path: Path,
    published: Path,
    own: daemon.Running,
    before: dict[str, object],
    reader: str,
    addresses: Mapping[str, str],
) -> None:
    row = ROWS[what]
    folder = broken(row, published, tmp_path)
    names = {**addresses, "owner": own.token, "reader": reader}
    token = {} if row.token is None else {"HF_TOKEN": filled(row.token, **names)}
    arguments = [filled(part, **names) for part in row.command]
    environment = {"HF_HOME": str(tmp_path / "home"), **row.environment, **token}

    done = hala_release(*arguments, cwd=folder, **environment)
    assert done.returncode == row.code, done.stderr
    for word in row.words:
        assert filled(word, **names) in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Error:" in done.stderr or "  fix: " in done.stderr
    assert families.state(own) == before
    assert not (folder / ".hala" / "receipts.jsonl").exists()
    assert not (folder / "sealed").exists()
    secrets = [own.token, reader, *token.values()]
    assert not [secret for secret in secrets if secret in done.stdout + done.stderr]
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize(
    ("what", "type_"),
    [
        ("a half-written bundle", "BundleIncomplete"),
        ("a changed byte", "BundleChanged"),
        ("a license without its text", "CheckFailed"),
        ("an unknown key", "ConfigError"),
        ("a token that may only read", "HubDenied"),
        ("a version that is taken", "TagTaken"),
        ("nobody listens", "HubUnavailable"),
    ],
)
def test_with_json_the_refusal_is_a_document(
    what: str,
    type_: str,
    tmp_path: Path,
    published: Path,
    own: daemon.Running,
    reader: str,
    addresses: Mapping[str, str],
) -> None:
    row = ROWS[what]
    folder = broken(row, published, tmp_path)
    names = {**addresses, "owner": own.token, "reader": reader}
    arguments = [filled(part, **names) for part in row.command]
    told = hala_release(*arguments, "--json", cwd=folder, HF_TOKEN=filled(row.token or "", **names))
    assert told.returncode == row.code
    error = json.loads(told.stdout)["error"]
    assert error["type"] == type_
    assert error["fix"]
    for word in row.words[:1]:
        assert filled(word, **names) in told.stdout
    assert own.token not in told.stdout + told.stderr
    assert reader not in told.stdout + told.stderr


def test_every_mistake_of_the_issue_has_a_row() -> None:
    assert len(ROWS) >= 35
    assert {row.code for row in ROWS.values()} == {2, 3, 4, 5}


def test_a_tag_made_by_somebody_else_during_the_push_is_not_moved(
    published: Path, tmp_path: Path, own: daemon.Running
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(published, folder)
    release = families.edited(folder / "release.yaml", namespace="tagged-by-others")
    api = families.owner(own)

    def talk(step: str) -> None:
        if step.startswith("tagging tagged-by-others/model"):
            (first,) = [c for c in api.list_repo_commits("tagged-by-others/model") if c.title == "initial commit"]
            api.create_tag("tagged-by-others/model", tag="v1.1.0", revision=first.commit_id)

    with pytest.raises(TagTaken, match=r"got the tag v1\.1\.0 from someone else"):
        pushed(release, Hub(own.url, own.token), talk)
    assert api.repo_info("tagged-by-others/model", revision="v1.1.0").sha != api.repo_info("tagged-by-others/model").sha
    assert not families.stranger(own).repo_exists("tagged-by-others/model")
    with pytest.raises(TagTaken, match="with other content"):
        planned(release, Hub(own.url, own.token))
    for kind, repo in families.REPOS:
        api.delete_repo(f"tagged-by-others/{repo}", repo_type=kind)
