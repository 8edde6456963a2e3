"""A card is rendered anew for every release, and what people wrote into it in between survives."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, RepoCard
from hypothesis import given
from hypothesis import strategies as st

from hala_release import frontmatter, regions
from hala_release.errors import ContractError, PayloadInvalid
from hala_release.regions import Merged, Side

METADATA = {"license": "apache-2.0", "tags": ["arabic"]}
ONE = regions.compose(METADATA, [("title", "# Hala"), ("results", "| 1 |"), ("citation", "Cite us.")])
TWO = regions.compose(
    {**METADATA, "license": "mit"}, [("title", "# Hala"), ("results", "| 2 |"), ("citation", "Cite us.")]
)


def merge(new: str, live: str | None, take: Side | None = None) -> Merged:
    """Merge, and see that the client of the Hub reads the result, and that a second merge is nothing."""
    merged = regions.merge(new, live, take=take, where="README.md")
    assert read_by_the_hub(merged.text) == {
        key: value for key, value in metadata(merged.text).items() if value is not None
    }
    again = regions.merge(new, merged.text, where="README.md")
    assert again.text == merged.text
    assert not (take and again.conflicts)
    return merged


def read_by_the_hub(card: str) -> dict[str, Any]:
    data: dict[str, Any] = RepoCard(card.removeprefix("\ufeff")).data.to_dict()  # type: ignore[no-untyped-call]
    return data


def metadata(card: str) -> dict[str, Any]:
    found = frontmatter.parts(card)
    return frontmatter.read(found.block, where="card")


def names(merged: Merged) -> list[str]:
    return [conflict.name for conflict in merged.conflicts]


def test_a_composed_card_is_regions_and_what_was_written() -> None:
    assert re.sub("[0-9a-f]{12}", "…", regions.compose({"license": "mit"}, [("a", "words\n"), ("b-2", "")])) == (
        "---\nlicense: mit\n---\n\n"
        "<!-- hala:begin a -->\nwords\n<!-- hala:end a -->\n\n"
        "<!-- hala:begin b-2 -->\n<!-- hala:end b-2 -->\n\n"
        '<!-- hala:written {"keys": {"license": "…"}, "regions": {"a": "…", "b-2": "…"}} -->\n'
    )


def test_a_card_without_metadata_has_no_block() -> None:
    assert regions.compose({}, [("a", "words")]).startswith("<!-- hala:begin a -->\nwords\n")


@pytest.mark.parametrize("name", ["", "A", "1", "a b", "a\n", "twice"])
def test_a_name_that_is_none_or_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="name of a region"):
        regions.compose({}, [("twice", ""), (name, "")])


@pytest.mark.parametrize("text", ["<!-- hala:end a -->", "so <!--hala:written", "<!--\nHALA:"])
def test_a_text_like_a_marker_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="like a marker"):
        regions.compose({}, [("a", text)])


def test_two_hyphens_never_come_into_the_written_line() -> None:
    card = regions.compose({"a--b---": 1, "-->": 2}, [("c--", "")])
    line = card.splitlines()[-1]
    assert "--" not in line.removeprefix("<!--").removesuffix("-->")
    assert merge(card, card) == (card, ())


@pytest.mark.parametrize("live", [None, ""])
def test_where_there_is_no_card_the_new_one_is_written(live: str | None) -> None:
    assert merge(ONE, live) == (ONE, ())


def test_an_untouched_card_becomes_the_new_one() -> None:
    assert merge(TWO, ONE) == (TWO, ())
    assert merge(ONE, ONE) == (ONE, ())


def test_what_people_write_around_regions_stays() -> None:
    live = ONE.replace("license: apache-2.0", "# ours?\nmine: [1,  2] # mine\nlicense: apache-2.0  # asked Ali")
    live = "\ufeff" + live.replace("<!-- hala:begin results", "Words  \n<b>\n<!-- hala:begin results") + "The end"
    merged = merge(TWO, live)
    assert not merged.conflicts
    assert (
        merged.text.split("<!-- hala:written")[0]
        == live.replace("apache-2.0", "mit").replace("| 1 |", "| 2 |").split("<!-- hala:written")[0]
    )
    assert merged.text.endswith("-->\nThe end")


def test_what_people_changed_and_we_did_not_stays_and_is_no_conflict() -> None:
    live = ONE.replace("- arabic", "- arabic\n- llm").replace("Cite us.", "Cite them.")
    merged = merge(TWO, live)
    assert not merged.conflicts
    assert regions.inner(merged.text, "citation") == "Cite them.\n"
    assert metadata(merged.text) == {"license": "mit", "tags": ["arabic", "llm"]}


@pytest.mark.parametrize(("take", "results", "license_"), [(None, 9, "bsd"), ("theirs", 9, "bsd"), ("ours", 2, "mit")])
def test_what_both_changed_is_a_conflict(take: Side | None, results: int, license_: str) -> None:
    live = ONE.replace("| 1 |", "| 9 |").replace("apache-2.0", "bsd")
    merged = merge(TWO, live, take)
    assert [(c.kind, c.name, c.live, c.new) for c in merged.conflicts] == [
        ("key", "license", "license: bsd", "license: mit"),
        ("region", "results", "| 9 |\n", "| 2 |\n"),
    ]
    assert regions.inner(merged.text, "results") == f"| {results} |\n"
    assert metadata(merged.text)["license"] == license_


def test_an_undecided_conflict_is_one_next_time_and_a_decided_one_only_when_we_change_again() -> None:
    live = ONE.replace("| 1 |", "| 9 |")
    assert names(regions.merge(TWO, merge(TWO, live).text, where="")) == ["results"]
    decided = merge(TWO, live, "theirs").text
    three = TWO.replace("| 2 |", "| 3 |")
    assert names(merge(three, decided)) == ["results"]
    assert regions.inner(merge(three, merge(TWO, live, "ours").text).text, "results") == "| 3 |\n"


def test_what_people_deleted_stays_deleted_until_we_change_it() -> None:
    live = re.sub(r"<!-- hala:begin results -->.*?end results -->\n\n", "", ONE, flags=re.DOTALL)
    live = live.replace("license: apache-2.0\n", "")
    assert merge(ONE, live) == (live, ())
    assert names(merge(TWO, live)) == ["license", "results"]
    assert regions.region_names(merge(TWO, live, "theirs").text) == ("title", "citation")
    back = merge(TWO, live, "ours").text
    assert regions.region_names(back) == ("title", "results", "citation")
    assert metadata(back) == metadata(TWO)


def test_a_region_that_is_new_comes_to_its_place() -> None:
    texts = [("title", "# Hala"), ("new", "N"), ("results", "| 1 |"), ("citation", "Cite us."), ("last", "L")]
    assert merge(regions.compose(METADATA, texts), ONE) == (regions.compose(METADATA, texts), ())
    first = regions.compose(METADATA, [("zero", "0"), *texts])
    assert merge(first, ONE) == (first, ())


def test_a_region_that_is_no_longer_rendered_goes_unless_people_changed_it() -> None:
    new = regions.compose({"license": "apache-2.0"}, [("title", "# Hala"), ("citation", "Cite us.")])
    assert merge(new, ONE) == (new, ())
    live = ONE.replace("| 1 |", "| 9 |").replace("- arabic", "- llm")
    assert names(merge(new, live)) == ["tags", "results"]
    assert merge(new, live, "ours").text == new
    assert "| 9 |" in merge(new, live, "theirs").text


def test_two_paragraphs_stay_two_when_the_region_between_them_goes() -> None:
    live = regions.compose({}, [("a", "x")])
    live = live.replace("<!-- hala:begin", "one\n<!-- hala:begin").replace("-->\n\n", "-->\ntwo\n\n")
    assert merge(regions.compose({}, []), live).text.startswith("one\n\ntwo\n\n<!-- hala:written")


def test_a_card_that_was_never_written_is_filled_up() -> None:
    merged = merge(ONE, "---\nlicense: apache-2.0 # mine\nmine: yes\n---\n# My model")
    assert not merged.conflicts
    assert merged.text.startswith(
        "---\nlicense: apache-2.0 # mine\nmine: yes\ntags:\n- arabic\n---\n"
        "# My model\n\n<!-- hala:begin title -->\n# Hala\n"
    )
    assert regions.region_names(merged.text) == ("title", "results", "citation")
    assert names(merge(ONE, "---\nlicense: mit\n---\n")) == ["license"]
    assert merge(ONE, "# Only words\n").text.startswith(
        "---\nlicense: apache-2.0\ntags:\n- arabic\n---\n\n# Only words\n\n<"
    )


@pytest.mark.parametrize("take", [None, "theirs"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<!-- hala:end results -->\n", ""),
        ("<!-- hala:begin results -->\n", ""),
        ("<!-- hala:begin results -->\n", "<!-- hala:begin results --> words\n<!-- hala:end results -->\n"),
        ("| 1 |", "<!-- hala:begin results -->\n| 1 |\n<!-- hala:end results -->"),
        ("| 1 |", "<!-- hala:begin other -->\n| 1 |"),
        (
            "Cite us.\n<!-- hala:end citation -->",
            "x\n<!-- hala:end citation -->\n<!-- hala:begin results -->\n<!-- hala:end results -->",
        ),
    ],
)
def test_broken_markers_are_text_of_people_and_are_told(old: str, new: str, take: Side | None) -> None:
    live = ONE.replace(old, new, 1)
    assert live != ONE
    merged = merge(ONE, live, take)
    assert regions.people(merged.text) == regions.people(live)
    assert "results" in names(merged)
    assert "no sound pair" in next(c.live for c in merged.conflicts if c.name == "results")
    ours = merge(ONE, live, "ours").text
    assert regions.inner(ours, "results") is not None
    for line in regions.people(live).splitlines():
        assert line in regions.people(ours)


def test_a_card_with_windows_endings_keeps_them() -> None:
    live = ONE.replace("\n", "\r\n").replace("<!-- hala:begin results", "words\n\r\n<!-- hala:begin results")
    new = regions.compose({**METADATA, "new": [1]}, [("title", "# Hala"), ("results", "a\nb"), ("more", "m")])
    text = merge(new, live).text
    assert text.replace("words\n", "").count("\n") == text.count("\r\n")
    assert "words\n\r\n<!-- hala:begin results -->\r\na\r\nb\r\n" in text


@pytest.mark.parametrize("block", ["a: 1\na: 2\n", "a: [\n", "- a\n"])
def test_a_live_block_that_cannot_be_read_is_refused(block: str) -> None:
    with pytest.raises(PayloadInvalid, match=r"^README\.md: its YAML block") as caught:
        regions.merge(ONE, f"---\n{block}---\n", where="README.md")
    assert caught.value.fix


def test_a_live_card_that_lost_its_block_is_refused() -> None:
    with pytest.raises(PayloadInvalid, match=r"^README\.md does not start with a YAML block"):
        regions.merge(ONE, "words\n" + ONE, where="README.md")


@pytest.mark.parametrize("line", ["{}", "{", '{"keys": {"a": 1}, "regions": {}}', '{"keys": [], "regions": {}}'])
def test_a_damaged_written_line_is_text_and_nothing_was_written(line: str) -> None:
    live = re.sub("hala:written .* -->", f"hala:written {line} -->", ONE)
    merged = merge(TWO, live)
    assert names(merged) == ["license", "results"]
    assert f"hala:written {line} -->" in regions.people(merged.text)


def test_a_large_card_is_merged_in_no_time() -> None:
    live = ONE.replace("<!-- hala:begin results", "Some words of people.\n" * 5000 + "<!-- hala:begin results")
    assert len(live) > 100_000
    took = []
    for _ in range(5):
        start = time.perf_counter()
        regions.merge(TWO, live, where="")
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02


SIDES: st.SearchStrategy[Side | None] = st.sampled_from([None, "ours", "theirs"])
NAMES = ("a", "b", "c", "d")
cards = st.tuples(
    st.dictionaries(
        st.sampled_from(["license", "tags", "x--y"]), st.sampled_from(["mit", "no", [1], {"k": None}, 1.5])
    ),
    st.lists(st.sampled_from(NAMES), unique=True).map(sorted),
    st.sampled_from(["", "| 1 |", "| 2 |\n\nmore", "مرحبا"]),
).map(lambda drawn: regions.compose(drawn[0], [(name, drawn[2] + name) for name in drawn[1]]))
lines = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda text: "hala:" not in text),
    st.sampled_from(
        [
            "---",
            "license: x",
            "<!-- hala:begin",
            "<!-- hala:written {",
            "<!-- note",
            "-->",
            " <!-- hala:end a -->",
            "#",
            "",
        ]
    ),
)
endings = st.sampled_from(["\n", "\r\n"])


def piece_starts(card: str) -> list[int]:
    """Where people can write in a body without touching a region: before and behind every marker pair and line."""
    found = frontmatter.parts(card)
    offset = len(card) - len(found.body)
    starts, inside = [offset], False
    position = offset
    for line in (
        found.body.splitlines(keepends=True) if "\r\n" not in found.body else re.findall(r"[^\n]*\n?", found.body)
    ):
        position += len(line)
        inside = line.startswith("<!-- hala:begin ") or (inside and not line.startswith("<!-- hala:end "))
        if not inside and line.endswith("\n"):
            starts.append(position)
    return starts


def words_of(card: str) -> list[str]:
    return [line.rstrip("\r") for line in regions.people(card).split("\n") if line.rstrip("\r")]


@given(st.data())
def test_text_of_people_survives_any_number_of_releases(data: st.DataObject) -> None:
    live = data.draw(cards.filter(lambda card: card.startswith("---")), label="first")
    for _ in range(data.draw(st.integers(1, 4), label="rounds")):
        own = data.draw(st.none() | st.sampled_from(["mine: 1 # c\n", "# comment\n", "other: {a:   b}\n"]), label="own")
        found = frontmatter.parts(live)
        if own and own not in found.block and found.block.strip() != "{}":
            live = found.before + found.opening + own + found.block + found.closing + found.body
        for _ in range(data.draw(st.integers(0, 3), label="edits")):
            place = data.draw(st.sampled_from(piece_starts(live)), label="place")
            live = live[:place] + data.draw(lines, label="line") + data.draw(endings, label="ending") + live[place:]
        before, block = words_of(live), frontmatter.parts(live).block
        new = data.draw(cards, label="new")
        merged = merge(new, live)
        assert not merged.conflicts
        assert words_of(merged.text) == before
        assert {name: regions.inner(merged.text, name) for name in regions.region_names(merged.text)} == {
            name: regions.inner(new, name) for name in regions.region_names(new)
        }
        for line in ("mine: 1 # c", "# comment", "other: {a:   b}"):
            assert (line in frontmatter.parts(merged.text).block) == (line in block)
        own_keys = {key: value for key, value in metadata(live).items() if key in {"mine", "other"}}
        assert metadata(merged.text) == own_keys | metadata(new)
        live = merged.text


@given(cards, cards, SIDES, st.data())
def test_an_edit_of_what_is_ours_is_kept_or_told(
    first: str, second: str, take: Side | None, data: st.DataObject
) -> None:
    kept = regions.region_names(first)
    live = first
    edited = set()
    for name in kept:
        if data.draw(st.booleans()):
            edited.add(name)
            live = live.replace(f"<!-- hala:begin {name} -->\n", f"<!-- hala:begin {name} -->\nedited {name}\n")
    keys = {key: "edited" for key in metadata(first) if data.draw(st.booleans())}
    found = frontmatter.parts(live)
    block = frontmatter.edited(found.block, keys, where="") if keys else found.block
    live = found.before + found.opening + block + found.closing + found.body
    merged = merge(second, live, take)
    for name in edited:
        inner = regions.inner(merged.text, name) or ""
        assert inner.startswith("edited") or name in names(merged)
        assert inner.startswith("edited") or take == "ours"
    for key in keys:
        assert metadata(merged.text).get(key) == "edited" or (key in names(merged) and take == "ours")


@given(
    cards,
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 60), lines)),
    cards,
    SIDES,
)
def test_no_damage_is_too_much(
    first: str,
    cuts: list[tuple[int, int, str]],
    second: str,
    take: Side | None,
) -> None:
    found = frontmatter.parts(first)
    body = found.body
    for start, length, text in cuts:
        body = body[: start % (len(body) + 1)] + text + body[start % (len(body) + 1) + length :]
    live = found.before + found.opening + found.block + found.closing + body
    merged = merge(second, live, take)
    if take != "ours" and not set(regions.region_names(live)) ^ set(regions.region_names(merged.text)):
        assert regions.people(live) in regions.people(merged.text)


def test_the_client_of_the_hub_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(merge(TWO, ONE.replace("\n", "\r\n")).text.encode())
    assert ModelCard.load(path).data.license == "mit"
