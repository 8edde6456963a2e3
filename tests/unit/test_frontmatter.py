"""The YAML block of a card goes out and comes back as data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hala_release import frontmatter
from hala_release.errors import PayloadInvalid

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(["---", "a---", "no", "1.10"])
blocks = st.dictionaries(
    words,
    st.recursive(
        st.none() | st.booleans() | st.integers() | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=6,
    ),
    min_size=1,
    max_size=4,
)


@given(blocks, words)
def test_a_card_comes_back_as_it_was_written(metadata: dict[str, Any], body: str) -> None:
    text = frontmatter.join(frontmatter.Card(metadata, body))
    assert frontmatter.split(text, where="README.md") == (metadata, "\n" + body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Only words\n", ({}, "# Only words\n")),
        ("---\n---\nwords", ({}, "words")),
        ("---\na: 1\n---", ({"a": 1}, "")),
        ("---\r\na: 1\r\n---\r\nwords", ({"a": 1}, "words")),
        ("---\na: b---\nc: 2\n---\nwords", ({"a": "b---", "c": 2}, "words")),
        ("---\na: 1\n---\nwords\n---\nmore", ({"a": 1}, "words\n---\nmore")),
        ("---\na: 1\n", ({}, "---\na: 1\n")),
        ("\n---\na: 1\n---\n", ({}, "\n---\na: 1\n---\n")),
    ],
)
def test_the_block_ends_at_the_first_line_of_dashes(text: str, expected: tuple[dict[str, Any], str]) -> None:
    assert frontmatter.split(text, where="README.md") == expected


@pytest.mark.parametrize("block", ["a: [", "- a", "a: 2026-02-31", "!!python/name:os.system {}", "a: " + "[" * 5000])
def test_a_block_that_is_no_mapping_is_refused(block: str) -> None:
    with pytest.raises(PayloadInvalid, match=r"^README\.md: its YAML block"):
        frontmatter.split(f"---\n{block}\n---\n", where="README.md")
