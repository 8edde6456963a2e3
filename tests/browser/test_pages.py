"""How a browser lays out a card, and what a hostile card cannot make it do."""

from __future__ import annotations

import socketserver
import struct
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Dialog, Error, Page

from tests.browser.conftest import Preview, Screenshot

HOSTILE = """---
license: mit
pipeline_tag: "<img src=x onerror=document.title='run'>"
tags: ["<script>document.title='run'</script>", "' onmouseover='document.title=1"]
model-index:
- name: M
  results:
  - task: {type: "<script>document.title='run'</script>"}
    dataset: {type: x, name: "<img src=//ELSEWHERE/1>"}
    metrics: [{type: "<svg onload=document.title=1>", value: "<iframe src=//ELSEWHERE>"}]
---
# Hostile

<script>document.title = 'run'</script>
<img src="x" onerror="document.title='run'">
<img src="https://ELSEWHERE/pixel.png">
<picture><source srcset="https://ELSEWHERE/pixel.png"><img src="https://ELSEWHERE/pixel.png"></picture>
<img src="//ELSEWHERE/pixel.png">

![a](http://ELSEWHERE/pixel.png) ![b](https://ELSEWHERE/pixel.png)
[press](javascript:document.title='run') [press](data:text/html,<script>document.title='run'</script>)

<a id="link" href="javascript:document.title='run'" onclick="document.title='run'">press</a>
<style>@import url(//ELSEWHERE/x.css); body { background: url(//ELSEWHERE/x.png) }</style>
<p style="background: url(//ELSEWHERE/x.png); position: fixed; inset: 0">over everything</p>
<iframe src="//ELSEWHERE"></iframe><iframe srcdoc="<script>parent.document.title='run'</script>"></iframe>
<svg onload="document.title='run'"><script>document.title='run'</script><image href="//ELSEWHERE/x.png"/></svg>
<meta http-equiv="refresh" content="0;url=//ELSEWHERE/">
<base href="//ELSEWHERE/"><link rel="stylesheet" href="//ELSEWHERE/x.css">
<link rel="prefetch" href="//ELSEWHERE">
<form action="//ELSEWHERE/"><input autofocus onfocus="document.title='run'"><button>send</button></form>
<object data="//ELSEWHERE"></object><embed src="//ELSEWHERE"><video autoplay src="//ELSEWHERE/x"></video>
<math><mtext><table><mglyph><style><img src=x onerror="document.title='run'">
<details open ontoggle="document.title='run'"><summary>more</summary>x</details>
<noscript><p title="</noscript><img src=x onerror=document.title='run'>">
"""
ARABIC = """# Hala

<div dir="rtl" lang="ar">

## نماذج عربية

نحن نبني نماذج لغوية عربية مفتوحة تسمى `Hala-350M` وهي صغيرة وسريعة.

- الأول
- الثاني

```python
print("left to right")
```

| اسم | قيمة |
|---|---|
| متوسط | 51.5 |

</div>
"""
STYLE = """selector => {
  const style = getComputedStyle(document.querySelector(selector));
  return [style.direction, style.fontFamily];
}"""
ENDS = """selector => {
  const text = document.querySelector(selector).firstChild, range = document.createRange();
  const left = (from, to) => {
    range.setStart(text, from); range.setEnd(text, to); return range.getBoundingClientRect().left
  };
  const line = text.data.trimEnd();
  return [left(0, line.indexOf(' ')), left(line.lastIndexOf(' ') + 1, line.length)];
}"""


def png(colour: tuple[int, int, int]) -> bytes:
    """A picture of 40 by 20 points in one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = (b"\0" + bytes(colour) * 40) * 20
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 20, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A place that no page may ask for anything: its address, and who came all the same."""
    came = list[str]()

    class Visit(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            came.append(repr(self.request.recv(1000)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Visit) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", came
        server.shutdown()
        thread.join()


def test_a_hostile_card_runs_nothing_and_loads_nothing(
    page: Page, preview: Preview, screenshot: Screenshot, elsewhere: tuple[str, list[str]]
) -> None:
    place, came = elsewhere
    said, opened = list[str](), list[str]()

    def dismiss(dialog: Dialog) -> None:
        opened.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("console", lambda message: said.append(message.text))
    address = preview(HOSTILE.replace("ELSEWHERE", place))
    page.goto(address)
    page.wait_for_timeout(500)
    for link in page.get_by_text("press").all():
        link.click()
    screenshot(page)
    assert (page.title(), page.url) == ("acme/hala", address)
    for gone in ("script", "iframe", "svg", "form", "input", "meta[http-equiv]", "base", "link", "object", "[style]"):
        assert page.locator(gone).count() == 0, gone
    attributes = page.evaluate("[...document.querySelectorAll('*')].flatMap(element => element.getAttributeNames())")
    assert "href" in attributes
    assert not [name for name in attributes if name.startswith("on")]
    assert not came
    assert not opened
    assert all("Content Security Policy" in line or "404" in line for line in said), said
    with pytest.raises(Error, match="ERR_EMPTY_RESPONSE"):
        page.goto(f"http://{place}")
    assert came


@pytest.mark.parametrize("text", ["<div>" * 30_000, "> " * 3_000 + "x", "<table><tr><td>" * 2_000, "<b><i>" * 3_000])
def test_bottomless_nesting_is_shown_all_the_same(page: Page, preview: Preview, text: str) -> None:
    page.goto(preview(f"# Deep\n\n{text}"))
    assert page.get_by_role("heading", name="Deep").is_visible()


def test_arabic_runs_from_right_to_left(page: Page, preview: Preview, screenshot: Screenshot) -> None:
    page.goto(preview(ARABIC))
    screenshot(page)
    direction, family = page.evaluate(STYLE, "article [lang=ar] p")
    assert direction == "rtl"
    assert "Arabic" in family
    block = page.locator("article [lang=ar]").bounding_box()
    words = page.evaluate(ENDS, "article [lang=ar] p")
    assert block
    assert words[0] > words[1]
    heading = page.evaluate(
        "() => { const r = document.createRange(); r.selectNodeContents(document.querySelector('[lang=ar] h2'));"
        " return r.getBoundingClientRect().right }"
    )
    assert abs(heading - (block["x"] + block["width"])) < 2
    assert page.evaluate(STYLE, "[lang=ar] pre")[0] == "ltr"
    assert page.evaluate(STYLE, "[lang=ar] p code")[0] == "ltr"
    assert page.evaluate("getComputedStyle(document.querySelector('[lang=ar] pre')).textAlign") == "left"
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('[lang=ar] p')).lineHeight)") >= 28


def test_arabic_reads_without_its_direction(page: Page, preview: Preview, screenshot: Screenshot) -> None:
    page.goto(preview(ARABIC.replace(' dir="rtl"', "")))
    screenshot(page)
    first, last = page.evaluate(ENDS, "article [lang=ar] p")
    assert first > last
    page.goto(preview(ARABIC.replace(' dir="rtl" lang="ar"', "")))
    first, last = page.evaluate(ENDS, "article p")
    assert first > last


def test_a_wide_table_scrolls_inside_its_own_box(browser: Browser, preview: Preview, screenshot: Screenshot) -> None:
    head = "| " + " | ".join(f"benchmark-{n}" for n in range(20)) + " |"
    table = f"{head}\n|{'---|' * 20}\n|{' 51.5 ± 0.3 |' * 20}\n"
    long = "word" * 100
    card = f"---\ntags: [{long}]\n---\n# {long}\n\n{table}\n```\n{long}\n```\n\n`{long}`\n\n[{long}](x)\n"
    address = preview(card)
    for width in (390, 1280):
        context = browser.new_context(viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(address)
        screenshot(page, str(width))
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("(t => t.scrollWidth > t.clientWidth)(document.querySelector('article table'))")
        context.close()


@pytest.fixture
def charts(preview: Preview) -> str:
    card = (
        '<img class="dark:hidden" src="assets/light.png" alt="light">\n\n'
        '<img class="hidden dark:block" src="assets/dark.png" alt="dark">\n\n'
        '<picture><source media="(prefers-color-scheme: dark)" srcset="assets/dark.png">'
        '<img src="assets/light.png" alt="either"></picture>\n'
    )
    return preview(card, light=png((250, 250, 250)), dark=png((10, 10, 10)))


@pytest.mark.parametrize(("scheme", "seen", "unseen"), [("light", "light", "dark"), ("dark", "dark", "light")])
def test_the_colour_scheme_chooses_the_image(
    page: Page, charts: str, screenshot: Screenshot, scheme: str, seen: str, unseen: str
) -> None:
    emulate: Callable[..., None] = page.emulate_media
    emulate(color_scheme=scheme)
    page.goto(charts)
    screenshot(page)
    assert page.get_by_alt_text(seen).is_visible()
    assert not page.get_by_alt_text(unseen).is_visible()
    assert page.get_by_alt_text(seen).evaluate("image => image.naturalWidth") == 40
    assert page.get_by_alt_text("either").evaluate("image => image.currentSrc").endswith(f"assets/{seen}.png")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 384) == (scheme == "dark")
