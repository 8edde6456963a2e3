"""Cards as people see them, on the page of the embedded Hub: both languages, desk and phone, light and dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from hala_release.hub import Hub
from hala_release.release import load
from hala_release.wanted import Wanted, wanted
from tests.browser.conftest import Screenshot
from tests.cards import made

LOOKS = [(1280, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wanted]:
    """The seven cards of HALA, with toys for weights."""
    folder = tmp_path_factory.mktemp("family")
    return {want.repo: want for want in wanted(load(made.hala(folder)), folder)}


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("repo", ["hala/hala-9b", "hala/hala-corpus", "hala/hala-translator"])
def test_a_card_reads_well(
    family: dict[str, Wanted],
    browser: Browser,
    hub: Hub,
    screenshot: Screenshot,
    repo: str,
    width: int,
    scheme: str,
) -> None:
    want = family[repo]
    url = hub.preview(want.kind, want.repo, want.rendered)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert "hala:" not in page.inner_text("body"), "a marker of a region shows"
    arabic = page.locator("[dir=rtl]").first
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    heading = arabic.locator("h2").bounding_box()
    box = arabic.bounding_box()
    assert heading is not None
    assert box is not None
    assert arabic.locator("h2").evaluate("e => getComputedStyle(e).textAlign") in {"start", "right"}
    code = page.locator("pre").first
    assert code.evaluate("e => getComputedStyle(e).direction") == "ltr"
    pictures = page.locator("img[src*='scores-']")
    if "evals/results.json" in want.paths:
        assert pictures.count() == 2
        seen = [picture for picture in pictures.all() if picture.is_visible()]
        assert len(seen) == 1, "one chart for each scheme of colours"
        assert f"scores-{scheme}" in str(seen[0].get_attribute("src"))
        assert seen[0].evaluate("e => e.complete && e.naturalWidth") > 600
    screenshot(page, f"{repo.rpartition('/')[2]}-{width}-{scheme}")
    context.close()
