"""The server as a process: started once, found again, killed without loss."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socketserver
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hala_release.errors import ConfigError, HubUnavailable
from hala_release.localhub import daemon
from hala_release.localhub.daemon import Running
from tests.hub.conftest import asker


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "root"
    yield path
    daemon.stop(path)


def client(hub: Running) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def kill(hub: Running) -> None:
    os.kill(hub.pid, signal.SIGKILL)
    while daemon.status(hub.root):
        time.sleep(0.01)


def test_a_start_is_quick_and_a_second_one_finds_the_first(root: Path) -> None:
    begun = time.monotonic()
    hub = daemon.start(root)
    assert time.monotonic() - begun < 1.5 * 3  # three times the promise, for a busy machine
    assert daemon.start(root) == hub == daemon.status(root)
    assert hub.url.startswith("http://127.0.0.1:")
    assert hub.token.startswith("hf_")
    assert hub.token not in repr(hub)
    assert stat.S_IMODE((root / "token").stat().st_mode) == 0o600


def test_of_many_starts_at_once_one_serves(root: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(lambda _: daemon.start(root), range(4)))) == 1


def test_a_stopped_server_comes_back_at_the_same_address_with_all_it_had(root: Path) -> None:
    hub = daemon.start(root)
    client(hub).create_repo("acme/kept")
    assert daemon.stop(root)
    assert daemon.status(root) is None
    assert not daemon.stop(root)
    again = daemon.start(root)
    assert (again.url, again.token) == (hub.url, hub.token)
    assert client(again).list_repo_files("acme/kept") == [".gitattributes"]


def test_a_second_server_for_the_same_files_is_refused(root: Path) -> None:
    hub = daemon.start(root)
    command = [sys.executable, "-m", "hala_release.localhub", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "is being served already" in done.stderr
    assert daemon.status(root) == hub


def test_another_program_on_the_port_is_not_taken_for_the_hub(root: Path) -> None:
    hub = daemon.start(root)
    port = int(hub.url.rpartition(":")[2])
    daemon.stop(root)

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

        def log_message(self, *_: object) -> None:
            pass

    socketserver.TCPServer.allow_reuse_address = True
    with socketserver.TCPServer(("127.0.0.1", port), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        assert daemon.status(root) is None
        elsewhere = daemon.start(root)
        other.shutdown()
    assert elsewhere.url != hub.url
    assert daemon.status(root) == elsewhere


def test_a_port_that_is_taken_is_an_error_that_names_the_log(root: Path, local_hub: Running) -> None:
    with pytest.raises(HubUnavailable) as caught:
        daemon.start(root, port=int(local_hub.url.rpartition(":")[2]))
    assert "hub.log" in caught.value.fix
    assert "is taken" in (root / "hub.log").read_text()


def test_a_stale_address_fools_nobody(root: Path, local_hub: Running) -> None:
    daemon.start(root)
    daemon.stop(root)
    stranger = {"port": int(local_hub.url.rpartition(":")[2]), "pid": os.getpid()}
    (root / "address.json").write_text(json.dumps(stranger))
    assert daemon.status(root) is None
    assert not daemon.stop(root)


class Impostor(http.server.BaseHTTPRequestHandler):
    """Says of itself what the real server said, and does not know the token."""

    said: bytes = b""
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(str(self.headers))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


def test_who_cannot_prove_to_know_the_token_is_not_the_hub(root: Path) -> None:
    hub = daemon.start(root)
    Impostor.said = asker(hub)("GET", "/_local/health?nonce=1").body
    daemon.stop(root)
    with socketserver.TCPServer(("127.0.0.1", int(hub.url.rpartition(":")[2])), Impostor, False) as impostor:
        impostor.allow_reuse_address = True
        impostor.server_bind()
        impostor.server_activate()
        threading.Thread(target=impostor.serve_forever, daemon=True).start()
        assert daemon.status(root) is None
        assert Impostor.asked
        assert hub.token not in "".join(Impostor.asked)
        assert not daemon.stop(root)
        impostor.shutdown()


def test_only_a_hub_is_reset(root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("words")
    with pytest.raises(ConfigError):
        daemon.reset(precious)
    with pytest.raises(ConfigError):
        daemon.start(precious)
    assert [p.name for p in precious.iterdir()] == ["thesis.txt"]
    hub = daemon.start(root)
    daemon.reset(root)
    assert not root.exists()
    assert daemon.start(root).token != hub.token


def sound(hub: Running, repo: str) -> None:
    """Every object that a ref needs is there, and every large file that a tree names can be read."""
    for git_dir in (hub.root / "repos").iterdir():
        checked = subprocess.run(
            ["git", f"--git-dir={git_dir}", "fsck", "--full", "--strict", "--no-dangling"], capture_output=True
        )
        assert checked.returncode == 0, checked.stderr
    ask = asker(hub)
    for path in client(hub).list_repo_files(repo):
        assert ask("GET", f"/{repo}/resolve/main/{path}").status == 200


WRITER = """
import os, sys
from itertools import count
from huggingface_hub import CommitOperationAdd, HfApi
for number in count():
    path = f"{sys.argv[1]}-{number}"
    pair = [CommitOperationAdd(f"{path}.{end}", os.urandom(200_000)) for end in ("bin", "npy")]
    HfApi().create_commit("acme/killed", pair, commit_message=path)
    print(path, flush=True)
"""


def writer(hub: Running, name: str, said: Path, *, xet: bool) -> subprocess.Popen[bytes]:
    """A process that commits pairs of files one after another and writes down which ones were confirmed."""
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(said.parent / "home")}
    env = {**os.environ, **settings, "HF_HUB_DISABLE_XET": "0" if xet else "1"}
    with said.open("wb") as output:
        return subprocess.Popen([sys.executable, "-c", WRITER, name], env=env, stdout=output, stderr=subprocess.DEVNULL)


def test_a_killed_server_leaves_every_repository_before_or_after_a_commit(root: Path, tmp_path: Path) -> None:
    hub = daemon.start(root)
    client(hub).create_repo("acme/killed")
    confirmed = set[str]()
    for life in range(3):
        said = [tmp_path / f"{life}-{n}" for n in range(3)]
        writers = [writer(hub, path.name, path, xet=n == 0) for n, path in enumerate(said)]
        while not all(path.stat().st_size for path in said):
            assert all(each.poll() is None for each in writers)
            time.sleep(0.01)
        time.sleep(0.05 + 0.07 * life)
        kill(hub)
        for each in writers:
            each.kill()
            each.wait()
        confirmed |= {line for path in said for line in path.read_text().splitlines()}
        hub = daemon.start(root)
        sound(hub, "acme/killed")
        files = set(client(hub).list_repo_files("acme/killed"))
        assert {f"{path}.{end}" for path in confirmed for end in ("bin", "npy")} <= files
        assert {f.replace(".bin", ".npy") for f in files if f.endswith(".bin")} <= files
        assert list((root / "incoming").iterdir()) == []
    assert len(confirmed) >= 9
