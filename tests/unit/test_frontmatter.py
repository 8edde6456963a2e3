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
        ("\n---\na: 1\n---\n", ({"a": 1}, "")),
        ("\ufeff---\na: 1\n--- \nwords", ({"a": 1}, "words")),
        ("x\n---\na: 1\n---\n", ({}, "x\n---\na: 1\n---\n")),
    ],
)
def test_the_block_ends_at_the_first_line_of_dashes(text: str, expected: tuple[dict[str, Any], str]) -> None:
    assert frontmatter.split(text, where="README.md") == expected


@pytest.mark.parametrize(
    "block", ["a: [", "- a", "a: 2026-02-31", "!!python/name:os.system {}", "a: " + "[" * 100_000, "a: &x [*x]"]
)
def test_a_block_that_is_no_mapping_is_refused(block: str) -> None:
    with pytest.raises(PayloadInvalid, match=r"^README\.md: its YAML block"):
        frontmatter.split(f"---\n{block}\n---\n", where="README.md")


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(PayloadInvalid, match=r"^README\.md: .* `b` is there twice, the second time in line 4"):
        frontmatter.split("---\na:\n  b: 1\n  c: 2\n  b: 3\n---\n", where="README.md")


def test_aliases_that_would_fill_the_memory_are_refused() -> None:
    block = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(PayloadInvalid, match="aliases"):
        frontmatter.read(block, where="README.md")


@pytest.mark.parametrize(
    ("block", "changes", "drop", "expected"),
    [
        ("a: 1  # why\nb: 2\n", {"a": "x"}, [], "a: x  # why\nb: 2\n"),
        ("a: 1\nb:   '2'\n", {"a": [1, 2]}, [], "a:\n- 1\n- 2\nb:   '2'\n"),
        ("a:\n- 1\n- 2 # why\n\n# next\nb: 2\n", {"a": 3}, [], "a: 3 # why\n\n# next\nb: 2\n"),
        ("a: |\n  x\n  # in it\n\nb: {c:  1}\n", {"a": 3}, [], "a: 3\n\nb: {c:  1}\n"),
        ("# top\na: 1\n# next\nb: 2\n", {}, ["a"], "# top\n# next\nb: 2\n"),
        ("a: 1  # why\nb: 2\n", {}, ["a"], "# why\nb: 2\n"),
        ("a: 1\n# last\n", {"c": "no"}, [], "a: 1\n# last\nc: 'no'\n"),
        ("  a: 1\n  b: 2\n", {"a": [3], "c": 4}, [], "  a:\n  - 3\n  b: 2\n  c: 4\n"),
        ("a: 1\r\nb:  2\r\n", {"a": [3]}, [], "a:\r\n- 3\r\nb:  2\r\n"),
        ("\u0639: \U0001f600\nb: 1 # \u0639\n", {"b": 2}, [], "\u0639: \U0001f600\nb: 2 # \u0639\n"),
        ("a: 1\n", {}, ["a"], "{}\n"),
        ("", {"a": 1}, [], "a: 1\n"),
        ("a: 1\n", {}, ["b"], "a: 1\n"),
        ("{a: 1, b: 2}\n", {"a": 3}, [], "a: 3\nb: 2\n"),
        ("a: &x [1]\nb: *x # why\n", {"a": 3}, [], "a: 3\nb:\n- 1\n"),
        ("a: &x [1]\nb: *x # why\n", {"b": 3}, [], "a: &x [1]\nb: 3 # why\n"),
        ("? a\n: 1\nb: 2\n", {"b": 3}, [], "? a\n: 1\nb: 3\n"),
    ],
)
def test_only_what_changes_is_written_anew(block: str, changes: dict[str, Any], drop: list[str], expected: str) -> None:
    assert frontmatter.edited(block, changes, drop, where="README.md") == expected


@given(blocks, blocks, st.data(), st.sampled_from(["\n", "\r\n"]))
def test_an_edited_block_says_what_was_wanted(
    metadata: dict[str, Any], changes: dict[str, Any], data: st.DataObject, ending: str
) -> None:
    drop = data.draw(st.sets(st.sampled_from(sorted(metadata))))
    drop -= set(changes)
    block = "# first\n" + "".join(frontmatter.dump({key: value}) + "# next\n" for key, value in metadata.items())
    text = frontmatter.edited(block.replace("\n", ending), changes, drop, where="README.md")
    wanted = {key: value for key, value in metadata.items() if key not in drop} | changes
    assert frontmatter.canonical(frontmatter.read(text, where="")) == frontmatter.canonical(wanted)
    assert text.count("\n") == text.count(ending)


def test_values_that_yaml_tells_apart_are_told_apart() -> None:
    values = [
        "1",
        "1.0",
        "true",
        "'1'",
        "null",
        "''",
        "2026-01-01",
        "'2026-01-01'",
        "[1]",
        "{1: a}",
        "{'1': a}",
        "!!set {a}",
    ]
    texts = {frontmatter.canonical(frontmatter.read(f"a: {value}\n", where="")) for value in values}
    assert len(texts) == len(values)
