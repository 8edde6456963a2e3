"""A real browser that looks at the embedded Hub's pages; without one, these tests are skipped."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from hala_release.localhub.daemon import Running

CHROMIUM = Path("/usr/bin/chromium")
QUIET = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
QUIET += "--no-first-run"

Preview = Callable[..., str]
Screenshot = Callable[..., None]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless browser for a module: while it is open, nothing else in this process may run an event loop."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; a browser is needed to see how pages are laid out")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A window of its own, as wide as a desk has it; whatever it asks for beyond loopback fails."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900})
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty tab."""
    return context.new_page()


@pytest.fixture
def preview(embedded: Running) -> Preview:
    """Make a preview of a card and its files; returns the address."""

    def make(card: str, kind: str = "model", **files: bytes) -> str:
        named = {"README.md": card.encode(), **{f"assets/{name}.png": content for name, content in files.items()}}
        encoded = {path: base64.b64encode(data).decode() for path, data in named.items()}
        connection = http.client.HTTPConnection(embedded.url.removeprefix("http://"), timeout=30)
        body = json.dumps({"kind": kind, "repo": "acme/hala", "files": encoded})
        connection.request("POST", "/_local/preview", body, {"Authorization": f"Bearer {embedded.token}"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return str(answer["url"])

    return make


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Screenshot:
    """Keep a picture of a page in the directory HALA_SCREENSHOTS, if that is set."""

    def take(page: Page, what: str = "") -> None:
        if folder := os.environ.get("HALA_SCREENSHOTS"):
            name = re.sub(r"\W+", "-", f"{request.node.name} {what}".strip())
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return take
