"""The page of a Space in a browser: its button starts the app, its frame shows it, and no other page presses it."""

from __future__ import annotations

import http.server
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from playwright.sync_api import Page, expect

from hala_release.localhub import building, daemon
from hala_release.localhub.building import COMPLETE
from hala_release.localhub.daemon import Running
from hala_release.localhub.starting import SHARED
from tests.browser.conftest import Screenshot

REPO = "acme/shown"
LIGHT = "# made before\n"
CARD = "---\ntitle: Shown\nsdk: gradio\nsdk_version: 6.31.0\n---\n# The card\n"
APP = """\
import http.server, os
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>Hello from the app</h1><script>try { top.location = 'about:blank' } catch {}</script>")
port = int(os.environ["GRADIO_SERVER_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Hub with one Space, whose environment was made before."""
    shelf = tmp_path_factory.mktemp("environments")
    place = shelf / building.digest("6.31.0", platform.python_version(), {"requirements.txt": LIGHT})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (place / COMPLETE).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SHARED, str(shelf))
        running = daemon.start(tmp_path_factory.mktemp("hub") / "root")
    api = HfApi(endpoint=running.url, token=running.token)
    api.create_repo(REPO, repo_type="space", space_sdk="gradio")
    files = {"README.md": CARD, "app.py": APP, "requirements.txt": LIGHT}
    operations = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
    api.create_commit(REPO, operations, commit_message="files", repo_type="space")
    yield running
    daemon.stop(running.root)


@pytest.fixture
def stranger(hub: Running, tmp_path: Path) -> Iterator[str]:
    """Another page on this computer, with a button that looks the same."""
    form = f"<form method=post action='{hub.url}/spaces/{REPO}/_run'><button>Run it here</button></form>"
    (tmp_path / "index.html").write_text(form)

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Say nothing on stderr."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_a_button_starts_the_app_and_a_frame_shows_it(hub: Running, page: Page, screenshot: Screenshot) -> None:
    page.goto(f"{hub.url}/spaces/{REPO}")
    expect(page.get_by_text("This Space is resting")).to_be_visible()
    screenshot(page, "resting")
    page.get_by_role("button", name="Run it here").click()
    shown = page.frame_locator(f"iframe[title='The app of {REPO}']").get_by_role("heading", name="Hello from the app")
    expect(shown).to_be_visible(timeout=30_000)
    page.wait_for_timeout(300)
    assert page.url == f"{hub.url}/spaces/{REPO}"
    expect(page.get_by_role("heading", name="The card")).to_be_visible()
    screenshot(page, "running")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("This Space is resting")).to_be_visible()
    assert page.locator("iframe").count() == 0


def test_no_other_page_presses_the_button(hub: Running, page: Page, stranger: str) -> None:
    page.goto(stranger)
    with page.expect_response(f"{hub.url}/spaces/{REPO}/_run") as answered:
        page.get_by_role("button", name="Run it here").click()
    assert answered.value.status == 403
    page.goto(f"{hub.url}/spaces/{REPO}")
    expect(page.get_by_text("This Space is resting")).to_be_visible()
