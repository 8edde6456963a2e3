"""A long text is cut where a reader would cut it, and joined it is the text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text.markup import spans
from pipeline.text.segments import SPAN_WEIGHT, Border, split

PIECES = [
    "a",
    "B",
    ". ",
    "! ",
    "؟ ",
    "\n",
    "\r\n",
    "\n\n",
    "`c d`",
    "$x + y$",
    "<br>",
    "https://x.org/a ",
    "e.g. ",
    "٣",
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.characters(exclude_categories=["Cs"])), max_size=120).map(
    "".join
)


@settings(max_examples=500, deadline=None)
@given(texts, st.integers(SPAN_WEIGHT, 60), st.sampled_from([None, Border.PARAGRAPH, Border.LINE]))
def test_the_pieces_joined_are_the_text_and_none_is_too_long(text: str, limit: int, always: Border | None) -> None:
    protected = spans(text)
    pieces = split(text, limit, protected, always)
    assert "".join(pieces) == text
    assert all(pieces)
    place = 0
    for piece in pieces:
        inside = [span for span in protected if place <= span.start and span.end <= place + len(piece)]
        saved = sum(span.end - span.start - SPAN_WEIGHT for span in inside)
        assert len(piece) - saved <= limit or len(piece) == 1
        place += len(piece)
        assert not any(span.start < place < span.end for span in protected)


def test_a_text_within_the_limit_is_not_cut() -> None:
    text = "One. Two.\n\nThree."
    assert split(text, len(text)) == [text]
    assert split("", 10) == []


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("First part.\n\nSecond part. And more.", 30, ["First part.\n\n", "Second part. And more."]),
        ("A line\nanother line. Two", 20, ["A line\n", "another line. Two"]),
        ("One is here. Two is there. Three.", 28, ["One is here. Two is there. ", "Three."]),
        ("هل وصلت الرسالة؟ نعم، وصلت أمس. شكرا", 34, ["هل وصلت الرسالة؟ نعم، وصلت أمس. ", "شكرا"]),
        ('He said "stop!" Then he left the room.', 24, ['He said "stop!" ', "Then he left the room."]),
        ("no sentence ends in this one at all", 16, ["no sentence ", "ends in this ", "one at all"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
    ],
    ids=["paragraph", "line", "sentence", "arabic", "quote", "word", "nowhere"],
)
def test_the_best_border_within_the_limit_is_taken(text: str, limit: int, pieces: list[str]) -> None:
    assert split(text, limit) == pieces


def test_a_text_can_be_cut_at_each_paragraph_or_line() -> None:
    text = "One. Two.\nThree.\n\nFour.\n"
    assert split(text, 100, always=Border.PARAGRAPH) == ["One. Two.\nThree.\n\n", "Four.\n"]
    assert split(text, 100, always=Border.LINE) == ["One. Two.\n", "Three.\n\n", "Four.\n"]
    assert split(text, 5, always=Border.LINE) == ["One. ", "Two.\n", "Three", ".\n\n", "Four.", "\n"]


@pytest.mark.parametrize(
    "text",
    [
        "Ask Dr. Haddad about it.",
        "It is in the U.S. Senate now.",
        "Take fruit, e.g. Dates or figs.",
        "See Fig. 3 and Eq. 7 for it.",
        "It was approx. five metres.",
        "J. R. Smith wrote the book.",
        "سأل أ. محمد عن الكتاب",
    ],
)
def test_no_sentence_ends_at_an_abbreviation_an_initial_or_a_number(text: str) -> None:
    opening = "A sentence stands here. "
    pieces = split(opening + text, len(opening) + len(text) - 1)
    assert pieces[0] == opening


def test_the_number_of_a_list_is_not_cut_from_its_item() -> None:
    assert split("1. Boil the water first", 20) == ["1. Boil the water ", "first"]
    assert split("Title\n12. Boil the water! Then wait", 28) == ["Title\n", "12. Boil the water! ", "Then wait"]


def test_a_character_is_not_parted_from_its_marks() -> None:
    text = "e\u0301" * 50
    pieces = split(text, 7)
    assert "".join(pieces) == text
    assert len(pieces) > 5
    assert not any(piece.startswith("\u0301") for piece in pieces)


def test_a_span_counts_as_its_marker_and_is_never_cut() -> None:
    formula = "`" + "x + y = z. " * 50 + "`"
    text = f"The long formula {formula} holds. It is proven."
    found = spans(text)
    assert [text[span.start : span.end] for span in found] == [formula]
    assert split(text, 60, found) == [text]
    assert split(text, 40, found) == [f"The long formula {formula} holds. ", "It is proven."]


@pytest.mark.parametrize("bait", ["a", "a ", ".", ". ", "\n", " \n", "e\u0301", "`", "\u200d", "1. "])
def test_the_time_grows_with_the_text_and_no_faster(bait: str) -> None:
    def seconds(size: int) -> float:
        text = bait * (size // len(bait))
        start = time.perf_counter()
        assert "".join(split(text, 1_500)) == text
        return time.perf_counter() - start

    small = min(seconds(100_000) for _ in range(3))
    assert min(seconds(800_000) for _ in range(2)) < 8 * 4 * small + 0.1
