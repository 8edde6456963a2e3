"""What is no prose comes back as it was, or the answer is not taken."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.markup import Kind
from pipeline.text.protect import Part, holds, mask, parts, restore

EVERYTHING: frozenset[Kind] = frozenset(get_args(Kind))
PIECES = [
    "word ",
    "كلمة ",
    ". ",
    "\n",
    "\n\n",
    "[[1]]",
    "[[ 2 ]]",
    "[[٣]]",
    "[",
    "]]",
    "`code`",
    "```py\nx = [[1]]\n```\n",
    "$$x^2$$",
    r"\(a+b\)",
    "https://example.org/a?b=c ",
    "<br>",
    "</b>",
    "{name}",
    "%(count)s",
    '{"a": [1, 2]}',
    "<|im_end|>",
    "/usr/lib/x.so",
    "someone@example.org",
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=60).map("".join)


def echoed(text: str, limit: int) -> str:
    """Return what a text becomes when the model says what it is told."""
    result = []
    for part in parts(text, limit, EVERYTHING):
        masked = mask(part)
        restored = restore(masked.text.strip(), masked.kept)
        assert restored.whole or not part.sent
        result.append(restored.text if part.sent else part.text)
    return "".join(result)


def sent(text: str, limit: int = 1_500) -> list[str]:
    """Return what the model sees of a text."""
    return [mask(part).text for part in parts(text, limit, EVERYTHING) if part.sent]


@settings(max_examples=1_000, deadline=None)
@given(texts, st.integers(1, 200))
def test_a_model_that_repeats_gives_the_text_back(text: str, limit: int) -> None:
    assert echoed(text, limit) == text


@settings(max_examples=500, deadline=None)
@given(texts)
def test_the_model_sees_no_span_and_each_marker_once(text: str) -> None:
    for part in parts(text, 200, EVERYTHING):
        if part.sent:
            masked = mask(part)
            assert restore(masked.text, masked.kept) == (part.text, True)
            assert any(letter.isalpha() for letter in restore(masked.text, [""] * len(masked.kept)).text)


def test_spans_in_a_sentence_become_markers() -> None:
    text = "Run `make` in /usr/src/app, read https://example.org/x, then {name} sees <b>it</b> & $a_1$."
    assert sent(text) == ["Run [[1]] in [[2]], read [[3]], then [[4]] sees [[5]]it[[6]] & [[7]]."]


def test_lines_without_a_word_of_their_own_are_not_sent() -> None:
    text = "Solve this:\n\n$$x^2 + 1 = 0$$\n\nThen run it:\n```python\nprint('hello there')\n```\nDone.\n<hr>\n"
    assert sent(text) == ["Solve this:", "Then run it:", "Done."]


@pytest.mark.parametrize(
    "text", ["", "  \n\t", "12 + 30 = 42", "`only code`", "<br><br>", "---\n***", "https://a.org/b\n"]
)
def test_a_text_without_a_word_is_not_sent(text: str) -> None:
    assert sent(text) == []
    assert "".join(part.text for part in parts(text, 100, EVERYTHING)) == text


def test_a_kind_that_is_not_protected_is_sent() -> None:
    assert [part.spans for part in parts("Run `make` now", 100, EVERYTHING - {"code"})] == [()]


def test_markers_count_from_one_in_every_piece_so_equal_pieces_are_equal_requests() -> None:
    text = "Press `a` now.\n\nPress `b` now.\n\nPress `c` now."
    assert sent(text, 24) == ["Press [[1]] now."] * 3


@pytest.mark.parametrize(
    ("answer", "restored"),
    [
        ("شغّل [[1]] في [[2]]", ("شغّل `make` في /src", True)),
        ("في [[2]] شغّل [[1]]", ("في /src شغّل `make`", True)),
        ("شغّل [[ 1 ]] في [[٢]]", ("شغّل `make` في /src", True)),
        ("شغّل [[1]]", ("شغّل `make`", False)),
        ("شغّل [[1]] و[[1]] في [[2]]", ("شغّل `make` و`make` في /src", False)),
        ("شغّل [[1]] في [[2]] أو [[3]]", ("شغّل `make` في /src أو [[3]]", False)),
        ("[[0]] [[1]] [[2]]", ("[[0]] `make` /src", False)),
        ("شغّل [1] في [2]", ("شغّل [1] في [2]", False)),
    ],
    ids=["in order", "other order", "other spelling", "lost", "doubled", "invented", "zero", "broken"],
)
def test_an_answer_is_whole_when_each_marker_stands_in_it_once(answer: str, restored: tuple[str, bool]) -> None:
    assert restore(answer, ["`make`", "/src"]) == restored


def test_what_a_marker_stands_for_is_not_searched_for_markers() -> None:
    assert restore("[[1]] [[2]]", ["`[[2]]`", "x"]) == ("`[[2]]` x", True)


def test_an_answer_to_the_piece_itself_holds_what_it_held() -> None:
    (part,) = parts("Use %s and %s, not {x}", 100, EVERYTHING)
    assert holds("استخدم %s و %s، لا {x}", part)
    assert not holds("استخدم %s، لا {x}", part)
    assert not holds("استخدم %s و %s و %s، لا {x}", part)
    assert not holds("استخدم %s و %s، لا {x} [[1]]", part)
    assert holds("كما هو [[1]]", Part("as is [[1]]", sent=True))


@pytest.mark.parametrize("bait", ["`c` ", "`c`\n", "x `c`\n", "[[1]]", "[[", "<b>", "```\n", "$", "{", "\\begin{a}"])
def test_the_time_grows_with_the_text_and_no_faster(bait: str) -> None:
    def seconds(size: int) -> float:
        text = bait * (size // len(bait))
        start = time.perf_counter()
        assert "".join(part.text for part in parts(text, 1_500, EVERYTHING)) == text
        return time.perf_counter() - start

    small = min(seconds(50_000) for _ in range(3))
    assert min(seconds(400_000) for _ in range(2)) < 8 * 4 * small + 0.1
