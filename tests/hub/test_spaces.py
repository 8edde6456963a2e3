"""Spaces that run: built when somebody asks, answering on loopback, ending with their Hub.

All but one run an app of the standard library in an environment that was made beforehand, which is what a Space finds
that asks for the same as another one before it. `test_a_gradio_space_runs` builds the real thing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hala_release.localhub import building, daemon
from hala_release.localhub.building import COMPLETE
from hala_release.localhub.daemon import Running
from hala_release.localhub.starting import SHARED
from tests.hub.conftest import Ask, asker
from tests.hub.test_repositories import refused

Make = Callable[..., str]

GRADIO = "6.31.0"
PATIENCE = 60
LIGHT = "# an environment that was made before\n"
HEADER = "---\ntitle: Test\nsdk: gradio\nsdk_version: {version}\napp_file: app.py\n{more}---\n# Test\n"
APP = """\
import http.server, json, os, sys
print("said on stdout", flush=True)
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"word": WORD, "pid": os.getpid(), "env": dict(os.environ)}).encode())
    def log_message(self, *_):
        pass
WORD = "first"
port = int(os.environ["GRADIO_SERVER_PORT"])
http.server.ThreadingHTTPServer((os.environ["GRADIO_SERVER_NAME"], port), Answers).serve_forever()
"""
REAL = """\
import gradio as gr
def answer(word):
    return word[::-1]
gr.Interface(answer, "text", "text", api_name="turn").launch()
"""


def until(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:  # noqa: ANN401 - what it is asked for
    """What is true at last; a failure if it never is."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def made(shelf: Path, requirements: str) -> Path:
    """An environment for some requirements, made without pip; it sees huggingface_hub of these tests."""
    place = shelf / building.digest(GRADIO, platform.python_version(), {"requirements.txt": requirements})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (place / "lib" / version / "site-packages" / "tests.pth").write_text(sysconfig.get_path("purelib"))
    (place / COMPLETE).touch()
    return place


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments that all Hubs of this module share."""
    place = tmp_path_factory.mktemp("environments")
    made(place, LIGHT)
    return place


@contextlib.contextmanager
def served(root: Path, shelf: Path) -> Iterator[Running]:
    """A Hub with the shared environments, and with a token of ours in its own environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SHARED, str(shelf))
        patch.setenv("HF_TOKEN", "hf_ours")
        hub = daemon.start(root)
    yield hub
    daemon.stop(root)


@pytest.fixture(scope="module")
def local_hub(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Iterator[Running]:
    with served(tmp_path_factory.mktemp("spaces") / "root", shelf) as hub:
        yield hub


@pytest.fixture(scope="module")
def api(local_hub: Running) -> HfApi:
    return HfApi(endpoint=local_hub.url, token=local_hub.token)


@pytest.fixture(scope="module")
def ask(local_hub: Running) -> Ask:
    return asker(local_hub)


def commit(api: HfApi, repo: str, **files: str) -> str:
    """Put files into a Space; returns the commit."""
    from huggingface_hub import CommitOperationAdd

    names = {"README": "README.md", "app": "app.py", "requirements": "requirements.txt"}
    operations = [CommitOperationAdd(names.get(name, name), text.encode()) for name, text in files.items()]
    return str(api.create_commit(repo, operations, commit_message="files", repo_type="space").oid)


def filled(api: HfApi, repo: str, more: str = "", **files: str) -> str:
    """A Space with a card, an app and light requirements; returns its name."""
    api.create_repo(repo, repo_type="space", space_sdk="gradio")
    card = HEADER.format(version=GRADIO, more=more)
    commit(api, repo, **{"README": card, "app": APP, "requirements": LIGHT, **files})
    return repo


@pytest.fixture
def space(api: HfApi, name: str) -> Iterator[Make]:
    """Make a Space; whatever it does, it is stopped after the test."""

    def make(more: str = "", **files: str) -> str:
        return filled(api, name, more, **files)

    yield make
    with contextlib.suppress(HfHubHTTPError):
        api.pause_space(name)


def settled(api: HfApi, repo: str) -> dict[str, Any]:
    """The runtime after everything that is under way."""
    return dict(api.wait_for_space(repo, timeout=PATIENCE, poll_interval=0.05).raw)


def said(runtime: dict[str, Any], path: str = "/") -> Any:  # noqa: ANN401 - JSON
    """What the app of a runtime answers."""
    (domain,) = runtime["domains"]
    connection = http.client.HTTPConnection(domain["domain"], timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


def running(api: HfApi, repo: str) -> dict[str, Any]:
    """The runtime of a Space that was started."""
    api.restart_space(repo)
    runtime = settled(api, repo)
    assert runtime["stage"] == "RUNNING", runtime
    return runtime


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_space_rests_until_somebody_asks(api: HfApi, space: Make) -> None:
    repo = space()
    assert api.get_space_runtime(repo).stage == "PAUSED"
    api.upload_file(path_or_fileobj=b"more", path_in_repo="more.txt", repo_id=repo, repo_type="space")
    assert api.get_space_runtime(repo).stage == "PAUSED"
    assert api.space_info(repo).host is None
    begun = api.restart_space(repo)
    assert begun.stage == "BUILDING"
    runtime = settled(api, repo)
    info = api.space_info(repo)
    assert (runtime["stage"], runtime["sha"]) == ("RUNNING", info.sha)
    assert runtime["hardware"] == {"current": "cpu-basic", "requested": "cpu-basic"}
    assert info.host == f"http://{runtime['domains'][0]['domain']}"
    assert said(runtime)["word"] == "first"


def test_what_is_printed_can_be_read(api: HfApi, anonymous: HfApi, space: Make) -> None:
    repo = space()
    running(api, repo)
    built = "".join(api.fetch_space_logs(repo, build=True))
    assert "made before" in built
    assert "starting the app\n" in built
    assert "said on stdout\n" in list(api.fetch_space_logs(repo))
    with refused(401):
        list(anonymous.fetch_space_logs(repo))


def test_a_paused_space_ends(api: HfApi, space: Make) -> None:
    repo = space()
    pid = said(running(api, repo))["pid"]
    assert api.pause_space(repo).stage == "PAUSED"
    assert not alive(pid)
    assert api.space_info(repo).host is None
