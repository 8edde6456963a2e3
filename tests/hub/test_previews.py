"""The page of a repository before there is one."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hala_release.localhub.daemon import Running
from tests.hub.conftest import Ask

CARD = "---\nlicense: mit\n---\n# Preview\n\n![chart](assets/x.png)\n\n<script>alert(1)</script>\n"


def content(card: bytes, image: bytes = b"") -> dict[str, Any]:
    files = {"README.md": card, "assets/x.png": image}
    encoded = {path: base64.b64encode(data).decode() for path, data in files.items()}
    return {"kind": "model", "repo": "acme/coming", "files": encoded}


def test_a_preview_is_the_page_that_will_be(local_hub: Running, ask: Ask) -> None:
    made = ask("POST", "/_local/preview", content(CARD.encode(), b"\x89PNG"))
    url = made.json["url"]
    assert url.startswith(f"{local_hub.url}/_local/preview/")
    assert url.endswith("/")
    address = url.removeprefix(local_hub.url)
    page = ask("GET", address, token=None)
    shown = page.body.decode()
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert '<h1 id="preview">Preview</h1>' in shown
    assert "<small>license</small> mit" in shown
    assert f'src="{address}assets/x.png"' in shown
    assert "<script" not in shown
    assert "default-src 'none'" in page.headers["content-security-policy"]
    image = ask("GET", f"{address}assets/x.png", token=None)
    assert (image.body, image.headers["content-type"]) == (b"\x89PNG", "image/png")
    assert "sandbox" in image.headers["content-security-policy"]
    assert ask("GET", "/acme/coming").status == 404


def test_a_preview_needs_a_writer_and_its_address(ask: Ask) -> None:
    reader = ask("POST", "/_local/tokens", {"role": "read"}).json["token"]
    assert ask("POST", "/_local/preview", content(b"x"), token=None).status == 401
    assert ask("POST", "/_local/preview", content(b"x"), token=reader).status == 403
    assert ask("GET", "/_local/preview/guess/").status == 404
    address = ask("POST", "/_local/preview", content(b"x")).json["url"].partition("/_local")[2]
    assert ask("GET", f"/_local{address}nothing.png").status == 404


def test_only_the_last_hundred_are_kept(ask: Ask) -> None:
    made = [ask("POST", "/_local/preview", content(b"x")).json["url"] for _ in range(101)]
    statuses = [ask("GET", "/_local" + url.partition("/_local")[2], token=None).status for url in (made[0], *made[1:])]
    assert statuses == [404] + [200] * 100


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"kind": "kernel"}, 400),
        ({"repo": "coming"}, 400),
        ({"repo": "a/b/c"}, 400),
        ({"files": []}, 400),
        ({"files": {"README.md": "?"}}, 400),
        ({"files": {"README.md": 5}}, 400),
        ({"files": {"../x": ""}}, 422),
        ({"files": {f"{n}": "" for n in range(201)}}, 400),
        ({"files": {"README.md": base64.b64encode(b"x" * ((1 << 20) + 1)).decode()}}, 413),
    ],
)
def test_what_is_no_preview_is_refused(ask: Ask, changes: dict[str, Any], status: int) -> None:
    assert ask("POST", "/_local/preview", {**content(b"x"), **changes}).status == status
