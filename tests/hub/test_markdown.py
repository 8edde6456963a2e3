"""The text of a card as HTML: what is kept, what goes, and where its addresses lead."""

from __future__ import annotations

import re
import time

import pytest
from markdown_it import MarkdownIt

from hala_release.localhub.markdown import Targets, render

FILES = "/acme/m/resolve/0a1b"


def shown(text: str) -> str:
    return render(text, Targets(FILES))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# بطاقة", '<h1 id="بطاقة">بطاقة</h1>'),
        ("~~old~~ **new** `x`", "<p><s>old</s> <strong>new</strong> <code>x</code></p>"),
        (
            '<div dir="rtl" lang="ar">\n\n**نص**\n\n</div>',
            '<div dir="rtl" lang="ar">\n<p><strong>نص</strong></p>\n</div>',
        ),
        ('<span lang="ar" dir="rtl">نص</span>', '<p><span lang="ar" dir="rtl">نص</span></p>'),
        ("```mermaid\ngraph TD\n```", '<pre><code class="language-mermaid">graph TD\n</code></pre>'),
        ("<details open><summary>More</summary>x</details>", '<details open=""><summary>More</summary>x</details>'),
        ("before <!-- hala:begin results --> after", "<p>before  after</p>"),
        ("https://example.org", "<p>https://example.org</p>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("3. a", '<ol start="3">\n<li>a</li>\n</ol>'),
        ("> a\n\n---", "<blockquote>\n<p>a</p>\n</blockquote>\n<hr>"),
        (
            "a  \nb *c* [d](e 'f')",
            f'<p>a<br>\nb <em>c</em> <a href="{FILES}/e" title="f" rel="noopener noreferrer nofollow">d</a></p>',
        ),
    ],
)
def test_what_people_write_is_shown(text: str, html: str) -> None:
    assert shown(text).strip() == html


def test_everything_that_markdown_makes_is_kept() -> None:
    text = (
        "# a\n###### b\n\n| a |\n|---|\n| ~~b~~ |\n\n1. *c*\n- **d**\n\n> e\n\n---\n\n    f\n\n`g`  \n![h](i) [j](k)\n"
    )
    made = set(re.findall(r"<(\w+)", str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))))
    assert len(made) >= 18
    assert set(re.findall(r"<(\w+)", shown(text))) == made


def test_a_table_keeps_its_alignment_without_a_style() -> None:
    html = shown("| a | b | c |\n|:--|--:|---|\n| 1 | 2 | 3 |\n")
    assert '<th align="left">a</th>' in html
    assert '<td align="right">2</td>' in html
    assert "<td>3</td>" in html
    assert "style" not in html
    assert 'colspan="2"' in shown('<table><tr><td colspan="2">x</td></tr></table>')


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("assets/a b.png", f"{FILES}/assets/a%20b.png"),
        ("assets/a%20b.png", f"{FILES}/assets/a%20b.png"),
        ("./x/../y.png#top", f"{FILES}/y.png#top"),
        ("مخطط.png", f"{FILES}/%D9%85%D8%AE%D8%B7%D8%B7.png"),
        ("/acme/other", "/acme/other"),
        ("#results", "#results"),
        ("?rev=v1", "?rev=v1"),
        ("https://example.org/x", "https://example.org/x"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("../../../secret", None),
        ("javascript:alert(1)", None),
        ("JaVa\tScRiPt:alert(1)", None),
        ("data:text/html,x", None),
        ("vbscript:x", None),
        ("file:///etc/passwd", None),
        ("//evil.example/x", None),
        ("\\\\evil.example\\x", None),
        ("/\\evil.example", None),
        ("https://[", None),
        ("", None),
    ],
)
def test_addresses_lead_into_the_repository_or_to_the_web_or_nowhere(address: str, leads_to: str | None) -> None:
    assert Targets(FILES).link(address) == leads_to


@pytest.mark.parametrize("address", ["http://example.org/x.png", "mailto:a@example.org", "data:image/png;base64,aGk="])
def test_images_come_from_the_repository_or_over_https(address: str) -> None:
    assert Targets(FILES).image(address) is None
    assert "src" not in shown(f'<img src="{address}" alt="chart">')
    assert 'alt="chart"' in shown(f'<img src="{address}" alt="chart">')


def test_pictures_for_light_and_dark_are_kept() -> None:
    html = shown(
        '<picture><source media="(prefers-color-scheme: dark)" srcset="d.png 1x, e.png 2x">'
        '<img src="l.png"></picture>\n\n'
        '<img class="hidden dark:block evil" src="assets/dark.png">\n<img class="evil" src="x.png">'
    )
    assert f'srcset="{FILES}/d.png 1x, {FILES}/e.png 2x"' in html
    assert 'media="(prefers-color-scheme: dark)"' in html
    assert 'class="hidden dark:block"' in html
    assert "evil" not in html
    assert "srcset" not in shown('<picture><source srcset="a.png, javascript:x"><img src="l.png"></picture>')


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "![a](javascript:alert(1))",
        '<a href="jav&#x09;ascript:alert(1)">a</a>',
        '<a href=" &#1;javascript:alert(1)">a</a>',
        "<style>body{background:url(//evil.example)}</style>",
        '<p style="background:url(//evil.example)">a</p>',
        '<iframe src="//evil.example"></iframe>',
        '<svg onload="alert(1)"><script>alert(1)</script></svg>',
        "<svg><style><img src=x onerror=alert(1)></style></svg>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        '<meta http-equiv="refresh" content="0;url=//evil.example">',
        '<form action="//evil.example"><input name=a><button formaction="javascript:alert(1)">go</button></form>',
        '<base href="//evil.example/">',
        '<link rel="stylesheet" href="//evil.example/x.css">',
        '<object data="//evil.example"></object><embed src="//evil.example">',
        '<video src="//evil.example" poster="//evil.example" onloadstart=alert(1)></video>',
        '<img srcset="//evil.example/x 1x">',
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<table background='//evil.example'><tr><td>a</td></tr></table>",
        '```"><script>alert(1)</script>\nx\n```',
        "<!--><script>alert(1)</script>-->",
        "<textarea><img title='</textarea><img src=x onerror=alert(1)>'></textarea>",
    ],
)
def test_nothing_that_acts_is_kept(text: str) -> None:
    html = shown(text)
    tags = re.findall(r"<[^>]*>", html)
    for word in (
        "script",
        "style",
        "iframe",
        "svg",
        "meta",
        "form",
        "evil.example",
        "object",
        "embed",
        "video",
        "base",
    ):
        assert not [tag for tag in tags if re.search(rf"<{word}|\w=\"[^\"]*{word}:|\b{re.escape(word)}/?\"", tag)], html
    assert not [tag for tag in tags if re.search(r"\son\w+=", re.sub(r'"[^"]*"', '""', tag))], html
    assert not [tag for tag in tags if "javascript:" in tag and "title" not in tag], html


@pytest.mark.parametrize(
    "text",
    ["<div>" * 20_000, "> " * 20_000 + "x", "[" * 20_000, "*a **b " * 10_000, "<!--" * 20_000, "- " * 5_000 + "x"],
)
def test_a_card_cannot_keep_the_server_busy(text: str) -> None:
    start = time.monotonic()
    shown(text)
    assert time.monotonic() - start < 10


def test_headings_can_be_linked_to() -> None:
    html = shown("# How to use\n\n## How to use\n\n[there](#how-to-use-1)\n")
    assert '<h1 id="how-to-use">' in html
    assert '<h2 id="how-to-use-1">' in html
