"""What is found that is not prose, what is not, and how long that takes on hostile texts."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.markup import Kind, Span, spans

FOUND: list[tuple[str, list[tuple[Kind, str]]]] = [
    ("```python\nx\n``\n```\ntext", [("fence", "```python\nx\n``\n```")]),
    ("~~~\na\n```\n~~~~ \nb", [("fence", "~~~\na\n```\n~~~~ ")]),
    ("````md\n```\ninner\n```\n````", [("fence", "````md\n```\ninner\n```\n````")]),
    ("```\nnever closed\n\nnot even here", [("fence", "```\nnever closed\n\nnot even here")]),
    ("  > ```\n  > x\n  > ```\ny", [("fence", "```\n  > x\n  > ```")]),
    ("Use it: ```js\nx\n```\nnow", [("fence", "```js\nx\n```")]),
    ("Use `a` and ``b`c`` and ```d``` now", [("code", "`a`"), ("code", "``b`c``"), ("code", "```d```")]),
    ("one ` tick\n\nand ` another", []),
    ("<code>a < b</code> <PRE>x</PRE>", [("code", "<code>a < b</code>"), ("code", "<PRE>x</PRE>")]),
    ("$x^2$ and $$a+b$$ and $n$", [("latex", "$x^2$"), ("latex", "$$a+b$$"), ("latex", "$n$")]),
    (r"\(y\) \[z\] ", [("latex", r"\(y\)"), ("latex", r"\[z\]")]),
    (r"\begin{align}a\end{align}", [("latex", r"\begin{align}a\end{align}")]),
    (r"\begin{a}\begin{a}x\end{a}\end{a} \begin{b}", [("latex", r"\begin{a}\begin{a}x\end{a}\end{a}")]),
    (r"so \frac{1}{2} + \alpha", [("latex", r"\frac{1}{2}"), ("latex", r"\alpha")]),
    ("costs $5 and $10, or 5$, US$7-$9", []),
    ("$HOME:$PATH is set", []),
    ("see https://x.org/a_(b), or (http://y.com/q?x=1).", [("url", "https://x.org/a_(b)"), ("url", "http://y.com/q?x=1")]),
    ("انظر https://x.com/a، ثم «http://a.b/c».", [("url", "https://x.com/a"), ("url", "http://a.b/c")]),
    ("www.x.com and example.org/a.", [("url", "www.x.com"), ("url", "example.org/a")]),
    ("Note: this, that. 3.5 e.g. Mr.Smith", []),
    ("mail a.b+c@d-e.co.uk.", [("email", "a.b+c@d-e.co.uk")]),
    ("at @user, or me@home", []),
    ("in /etc/hosts, ./run.sh or ~/x/y", [("path", "/etc/hosts"), ("path", "./run.sh"), ("path", "~/x/y")]),
    (r"C:\Users\me\a.txt, src/main.py", [("path", r"C:\Users\me\a.txt"), ("path", "src/main.py")]),
    ("and/or, km/h, 24/7, 1/2, he/she. عزيزي/عزيزتي", []),
    ('{"a": [1, {"b": "}"}]} then', [("json", '{"a": [1, {"b": "}"}]}')]),
    ('["a", "b"] [1, 2] [1] [note]', [("json", '["a", "b"]'), ("json", "[1, 2]")]),
    ('{"a": } and [1, 2', []),
    ("<b>x</b> <br/>", [("tag", "<b>"), ("tag", "</b>"), ("tag", "<br/>")]),
    ("<img src='a.png' alt=x>", [("tag", "<img src='a.png' alt=x>")]),
    ("a < b and c > d, x<y and z>w", []),
    ("<!-- a --> <your name>", [("tag", "<!-- a -->")]),
    ("<|im_start|>user [INST]", [("token", "<|im_start|>"), ("token", "[INST]")]),
    ("<s> <<SYS>> <start_of_turn>", [("token", "<s>"), ("token", "<<SYS>>"), ("token", "<start_of_turn>")]),
    ("%(name)s %s %d %1$s %5.2f", [("placeholder", one) for one in ("%(name)s", "%s", "%d", "%1$s", "%5.2f")]),
    ("%sبطاقات {name} {0} {}", [("placeholder", one) for one in ("%s", "{name}", "{0}", "{}")]),
    ("{{ x|y }} {% if a %}", [("placeholder", "{{ x|y }}"), ("placeholder", "{% if a %}")]),
    ("${x} $(ARG1) %{count}", [("placeholder", "${x}"), ("placeholder", "$(ARG1)"), ("placeholder", "%{count}")]),
    ("50% discount, 5%d, {a, b}", []),
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_what_is_not_prose_is_found(text: str, expected: list[tuple[Kind, str]]) -> None:
    assert [(span.kind, text[span.start : span.end]) for span in spans(text)] == expected


def test_every_kind_is_tried() -> None:
    assert {kind for _, found in FOUND for kind, _ in found} == set(get_args(Kind))
    assert sum(not found for _, found in FOUND) >= 8


OPENERS = [
    "`", "``` ", "~", "~~~ ", "$", "$$ ", "$a ", "$(", "${", "\\", "\\(", "\\[", "\\begin{a}", "\\begin{", "\\a{", "<",
    "<a ", "<a b=", "<!--", "<code>", "<|", "[", "[1,", '["a"', "[[\"a\",", "{", "{{", '{"a":', '{"', "%", "%(",
    "@", "a@", "a@b.", "://", "a://", "www.", "/", "a/", "/a", "./", "~/", "C:\\", ".com", "x.com ",
    "```\n", "~~~\n", "`\n\n",
    '"', "\\)", "\\]", "$$", "\ud800", "\x00", "{%", "<a", "[INST", "a.", "_", "x ~~~\\$", "\\frac{",
]  # fmt: skip


@pytest.mark.parametrize("opener", OPENERS)
def test_a_million_openers_are_read_in_bounded_time(opener: str) -> None:
    text = (opener * 1_000_000)[:1_000_000]
    start = time.process_time()
    found = spans(text)
    assert time.process_time() - start < 5
    assert in_order(text, found)


@pytest.mark.parametrize(
    "opener", ["[", "{", '["a",', "`a", "$a ", "<a", "/a", "a@", "\\(", "\\begin{a}", "~~~ a\n", "x ~~~\\$"]
)
def test_time_grows_as_the_text_does(opener: str) -> None:
    def seconds(size: int) -> float:
        text = (opener * size)[:size]
        start = time.process_time()
        spans(text)
        return time.process_time() - start

    short = min(seconds(100_000) for _ in range(3))
    assert seconds(800_000) < 8 * 4 * max(short, 0.002)


def in_order(text: str, found: list[Span]) -> bool:
    place = 0
    for start, end, _ in found:
        if not place <= start < end <= len(text):
            return False
        place = end
    return True


PIECES = st.sampled_from(
    [
        *OPENERS[:-1],
        "a",
        " ",
        "\n",
        "\n\n",
        "```",
        "`",
        "}",
        "]",
        ")",
        ">",
        '"',
        "1",
        ",",
        ":",
        "|>",
        "\\end{a}",
        "</code>",
        "ب",
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=500, deadline=None)
def test_spans_are_in_order_share_nothing_and_do_not_change(text: str) -> None:
    found = spans(text)
    assert in_order(text, found)
    assert found == spans(text)
    for start, end, kind in found:
        if kind in ("placeholder", "token", "tag"):
            assert [(kind, end - start)] == [(one.kind, one.end - one.start) for one in spans(text[start:end])][:1]
