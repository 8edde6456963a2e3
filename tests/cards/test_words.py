"""Words of the cards: counts, links, quotes, and nothing that a kind of release makes untrue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from hala_release import regions
from hala_release.adopt import adopt
from hala_release.card import words
from hala_release.errors import ContractError
from tests import factories
from tests.cards.made import CORPUS, MODEL, frozen, rendered, results_of, sealed


def corpus(place: Path, rows: int, **reports: Any) -> str:  # noqa: ANN401
    """Render the card of a dataset that brings reports."""
    factories.write_rows(place / "raw" / "train.jsonl", factories.conversations(rows))
    for name, report in reports.items():
        path = place / "raw" / "reports" / f"{name.replace('_', '-')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report), encoding="utf-8")
    adopt(place / "raw", kind="dataset", out=place / "corpus")
    return rendered(place, CORPUS)


def test_one_is_not_many(tmp_path: Path) -> None:
    text = corpus(tmp_path, 1, dedup={"rows": 1, "total": {"kept": 1}})
    assert "1 row, " in text
    assert "1 rows" not in text
    assert "No duplicates were found in 1 row." in text
    assert "Duplicates were removed" not in text


def test_arabic_words_promise_no_table_of_rules_where_there_is_none(tmp_path: Path) -> None:
    arabic = regions.inner(corpus(tmp_path, 3, translate={"rows": 3}), "arabic")
    assert arabic is not None
    assert "متأثّرة بالإنجليزية" in arabic
    assert "قاعدةً قاعدةً" not in arabic


@pytest.mark.parametrize(
    "report",
    [
        {"contamination_source": {"side": "elsewhere", "benchmarks": {}}},
        {"dedup": {"rows": -1, "total": {}}},
    ],
)
def test_a_report_that_cannot_be_is_an_error(tmp_path: Path, report: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="is not the report that its name says"):
        corpus(tmp_path, 2, **report)


def test_a_card_without_a_comparison_speaks_of_none(tmp_path: Path) -> None:
    frozen(tmp_path / "model", "model")
    sealed(tmp_path / "results", results_of(tmp_path))
    text = rendered(tmp_path, {**MODEL, "results": ["results"]})
    assert "bold" not in text
    assert "بخط عريض" not in text


def test_a_model_without_a_base_says_nothing_of_its_data(tmp_path: Path) -> None:
    frozen(tmp_path / "model", "model")
    text = rendered(tmp_path, {key: value for key, value in MODEL.items() if key not in {"base", "relation"}})
    assert "the data that the base was trained on" not in text
    assert "Nothing is known here of test items in other words." in text


def test_links_lead_to_repositories_and_nowhere_else() -> None:
    assert words.hub_link("a/b", "dataset") == "[a/b](https://huggingface.co/datasets/a/b)"
    for name in ("x) <b>hi</b> [y](https://evil.example/@z", "../up/name", "a/b/c", "a/b\n", "a b/c"):
        inline = MarkdownIt("commonmark").parseInline(words.hub_link(name))[0].children or []
        assert {token.type for token in inline} <= {"text", "softbreak", "text_special"}, name


def test_a_block_of_code_cannot_be_left_from_inside() -> None:
    (only,) = MarkdownIt("commonmark").parse(words.fenced("@misc{x}\n```\n<script>", "bibtex"))
    assert (only.type, only.info) == ("fence", "bibtex")


def test_an_attribute_cannot_be_left_from_inside() -> None:
    assert words.attribute('x" onload="1<') == "x&quot; onload=&quot;1&lt;"
