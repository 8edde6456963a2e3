"""Headers of cards: typed, told apart from mistakes, and read by the Hub's library as they were meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, EvalResult, ModelCard, ModelCardData, SpaceCard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hala_release import frontmatter
from hala_release.finding import Finding
from hala_release.header import DatasetHeader, Kind, ModelHeader, SpaceHeader, findings

SHA = "0123456789abcdef0123456789abcdef01234567"
RESULT: dict[str, Any] = {
    "task": {"type": "text-generation", "name": "Text generation"},
    "dataset": {
        "type": "MBZUAI/ArabicMMLU",
        "name": "ArabicMMLU",
        "config": "All",
        "split": "test",
        "revision": SHA,
        "args": {"num_few_shot": 0},
    },
    "metrics": [{"type": "acc", "value": 52.25, "name": "accuracy", "args": {"stderr": 0.41, "n": 14_455}}],
    "source": {"url": "https://example.org/run", "name": "lm-eval 0.4.13"},
}
MODEL: dict[str, Any] = {
    "language": ["ar", "arz", "no"],
    "license": "other",
    "license_name": "lfm1.0",
    "license_link": "LICENSE",
    "library_name": "transformers",
    "pipeline_tag": "text-generation",
    "base_model": "LiquidAI/LFM2-350M",
    "base_model_relation": "finetune",
    "new_version": "hala/Hala-2",
    "datasets": ["hala/pairs"],
    "metrics": ["accuracy"],
    "tags": ["merge", "عربي"],
    "thumbnail": "https://example.org/a.png",
    "co2_eq_emissions": {"emissions": 12.5, "source": "codecarbon", "hardware_used": "H100"},
    "model-index": [{"name": "Hala", "results": [RESULT]}],
}
DATASET: dict[str, Any] = {
    "language": ["ar"],
    "license": "cc-by-nc-4.0",
    "pretty_name": "Hala: أزواج",
    "annotations_creators": ["machine-generated"],
    "language_creators": ["machine-generated"],
    "language_details": ["ar-001"],
    "multilinguality": ["translation"],
    "size_categories": ["1M<n<10M"],
    "source_datasets": ["original", "org/data"],
    "task_categories": ["translation", "text-generation"],
    "tags": ["synthetic"],
    "configs": [
        {"config_name": "a", "default": True, "data_files": [{"split": "train", "path": "a/*.parquet"}]},
        {"config_name": "b", "data_files": [{"split": "train", "path": ["b/1.parquet", "b/2.parquet"]}]},
    ],
    "dataset_info": [
        {
            "config_name": name,
            "features": [{"name": "x", "dtype": "string"}, {"name": "y", "list": [{"name": "z", "dtype": "int64"}]}],
            "splits": [{"name": "train", "num_bytes": 10, "num_examples": 0}],
            "download_size": 5,
            "dataset_size": 10,
        }
        for name in "ab"
    ],
}
SPACE: dict[str, Any] = {
    "title": "Hala",
    "emoji": "👩🏽‍🚀",
    "colorFrom": "indigo",
    "colorTo": "green",
    "sdk": "gradio",
    "sdk_version": "6.31.0",
    "python_version": "3.10",
    "app_file": "app.py",
    "fullWidth": False,
    "header": "mini",
    "short_description": "Arabic chat",
    "models": ["hala/Hala-350M"],
    "datasets": ["hala/pairs"],
    "pinned": False,
    "startup_duration_timeout": "1h",
    "suggested_hardware": "cpu-basic",
    "preload_from_hub": [f"hala/Hala-350M config.json {SHA}"],
    "license": "apache-2.0",
}
HEADERS: dict[Kind, tuple[type[ModelHeader | DatasetHeader | SpaceHeader], dict[str, Any]]] = {
    "model": (ModelHeader, MODEL),
    "dataset": (DatasetHeader, DATASET),
    "space": (SpaceHeader, SPACE),
}
READERS: dict[Kind, Any] = {"model": ModelCard, "dataset": DatasetCard, "space": SpaceCard}
KINDS: list[Kind] = ["model", "dataset", "space"]


def found(kind: Kind, metadata: dict[str, Any]) -> list[Finding]:
    return list(findings(kind, metadata, "README.md"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_library_of_the_hub_reads_a_header_without_loss(kind: Kind, tmp_path: Path) -> None:
    record, metadata = HEADERS[kind]
    data = record.model_validate(metadata).data()
    assert data == metadata
    assert list(data) == list(metadata)
    path = tmp_path / "README.md"
    path.write_text(frontmatter.join(frontmatter.Card(data, "# Hala\n")), encoding="utf-8")
    assert READERS[kind].load(path).data.to_dict() == data
    assert frontmatter.split(path.read_text(encoding="utf-8"), where="README.md").metadata == data


def test_error_and_number_of_items_of_a_score_are_kept_by_the_library(tmp_path: Path) -> None:
    data = ModelHeader.model_validate(MODEL).data()
    path = tmp_path / "README.md"
    path.write_text(frontmatter.join(frontmatter.Card(data, "")), encoding="utf-8")
    card = ModelCard.load(path).data
    assert isinstance(card, ModelCardData)
    assert card.eval_results is not None
    (result,) = card.eval_results
    assert isinstance(result, EvalResult)
    assert (result.metric_value, result.metric_args) == (52.25, {"stderr": 0.41, "n": 14_455})
    written: Any = ModelCardData(model_name=card.model_name, eval_results=card.eval_results)
    assert written.to_dict()["model-index"] == MODEL["model-index"]


def test_norwegian_stays_a_language() -> None:
    text = frontmatter.join(frontmatter.Card(ModelHeader(language=("no",)).data(), ""))
    assert frontmatter.split(text, where="README.md").metadata == {"language": ["no"]}
    (finding,) = found("dataset", yaml.safe_load("language: [no]"))
    assert (finding.level, finding.where) == ("error", "README.md, language.0")
    assert "in quotes" in finding.message


def test_what_is_empty_is_not_written() -> None:
    assert ModelHeader().data() == {}
    assert DatasetHeader(configs=(), license=("mit",)).data() == {"license": "mit"}


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as error:
        ModelHeader.model_validate({"licence": "mit", "tags": 3, "base_model_relation": "copy"})
    assert {problem["loc"][0] for problem in error.value.errors()} == {"licence", "tags", "base_model_relation"}


def result(**changes: Any) -> list[Any]:  # noqa: ANN401
    return [{"name": "Hala", "results": [{**RESULT, **changes}]}]


REFUSED: list[tuple[Kind, dict[str, Any], str]] = [
    ("model", {"license_name": None}, "license"),
    ("model", {"license_link": "http://example.org"}, "license_link"),
    ("model", {"license_link": "../LICENSE"}, "license_link"),
    ("model", {"base_model_relation": "copy"}, "base_model_relation"),
    ("model", {"base_model": None}, "base_model_relation"),
    ("model", {"language": ["Arabic"]}, "language.0"),
    ("model", {"language": False}, "language"),
    ("model", {"tags": ["a\u202eb"]}, "tags.0"),
    ("model", {"tags": ["a\u200bb"]}, "tags.0"),
    ("model", {"tags": ["a\nb"]}, "tags.0"),
    ("model", {"thumbnail": "javascript://x"}, "thumbnail"),
    ("model", {"co2_eq_emissions": {"emissions": -1}}, "co2_eq_emissions.emissions"),
    ("model", {"model-index": result(metrics=[{"type": "acc", "value": float("nan")}])}, "model-index.0.results.0"),
    ("model", {"model-index": result(dataset={**RESULT["dataset"], "revision": "main"})}, "model-index.0.results.0"),
    ("model", {"model-index": result(source={"name": "x"})}, "model-index.0.results.0.source.url"),
    ("model", {"model-index": [{"name": "x", "results": [RESULT, RESULT]}]}, "model-index.0"),
    ("dataset", {"configs": [{"config_name": n, "default": True} for n in "ab"]}, "configs"),
    ("dataset", {"configs": [{"config_name": "a"}] * 2}, "configs"),
    ("dataset", {"configs": [{"data_files": "x"}]}, "configs.0.config_name"),
    ("dataset", {"dataset_info": {"download_size": "5"}}, "dataset_info.0.download_size"),
    ("space", {"short_description": "x" * 61}, "short_description"),
    ("space", {"emoji": "ab"}, "emoji"),
    ("space", {"emoji": "🚀🚀"}, "emoji"),
    ("space", {"colorFrom": "teal"}, "colorFrom"),
    ("space", {"sdk": "flask"}, "sdk"),
    ("space", {"title": None}, "title"),
    ("space", {"app_file": "/app.py"}, "app_file"),
    ("space", {"app_port": 7860}, "app_port"),
    ("space", {"python_version": 3.1}, "python_version"),
    ("space", {"pinned": "yes"}, "pinned"),
]


@pytest.mark.parametrize(("kind", "changes", "key"), REFUSED)
def test_a_refused_value_is_an_error_with_its_key(kind: Kind, changes: dict[str, Any], key: str) -> None:
    record, metadata = HEADERS[kind]
    changed = {k: v for k, v in {**metadata, **changes}.items() if v is not None}
    with pytest.raises(ValidationError):
        record.model_validate(changed)
    errors = [finding for finding in found(kind, changed) if finding.level == "error"]
    assert errors
    assert errors[0].where.startswith(f"README.md, {key}")
    assert errors[0].message


@pytest.mark.parametrize("emoji", ["🚀", "❤️", "🇸🇦", "1️⃣", "👩🏽‍🚀", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "©"])
def test_one_emoji_may_be_many_characters(emoji: str) -> None:
    assert SpaceHeader(title="x", sdk="static", emoji=emoji).emoji == emoji


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_card_has_no_findings(kind: Kind) -> None:
    also = {
        "widget": [{"text": "x"}],
        "inference": False,
        "extra_gated_prompt": "x",
        "extra_gated_fields": {"Name": "text"},
    }
    assert found(kind, HEADERS[kind][1] | also | {"something_of_ours": [1]}) == []


@pytest.mark.parametrize(
    "configs",
    [
        [{"config_name": "a", "data_files": "*.csv", "sep": "\t"}],
        [{"config_name": "a", "data_dir": "data"}],
        [{"config_name": "a", "data_files": ["a.csv", "b.csv"]}],
        [{"config_name": "a", "data_files": {"train": "a.csv", "test": ["b.csv"]}}],
    ],
)
def test_forms_that_the_loader_takes_are_no_findings(configs: list[Any]) -> None:
    assert found("dataset", {"configs": configs}) == []


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("model", {"licence": "mit"}, "`license`"),
        ("model", {"pipeline-tag": "x"}, "`pipeline_tag`"),
        ("space", {"colourFrom": "red"}, "`colorFrom`"),
        ("dataset", {"configs": [{"config_name": "a", "data_file": "x"}]}, "`data_files`"),
        ("model", {"license": "cc-by-nc-4"}, "`cc-by-nc-4.0`"),
        ("model", {"pipeline_tag": "text-generations"}, "`text-generation`"),
        ("model", {"library_name": "transformer"}, "`transformers`"),
        ("model", {"language": ["ar", "qqq"]}, "qqq"),
        ("dataset", {"size_categories": ["1M"]}, "1M"),
    ],
)
def test_what_is_doubtful_is_a_warning_with_a_way_out(kind: Kind, changes: dict[str, Any], words: str) -> None:
    (finding,) = found(kind, HEADERS[kind][1] | changes)
    assert finding.level == "warning"
    assert words in finding.message + finding.fix


@pytest.mark.parametrize(
    ("kind", "changes", "place", "sentence"),
    [
        (
            "model",
            {"language": False},
            "language",
            "YAML reads False, which is no list; if `no` is meant, put it in quotes",
        ),
        ("space", {"sdk_version": 4.0}, "sdk_version", "YAML reads 4.0, which is not text; put it in quotes"),
        (
            "dataset",
            {"configs": [{"config_name": "a", "data_files": [{"split": "x"}]}]},
            "configs.0.data_files.0.path",
            "missing",
        ),
        ("model", {"model-index": [{"name": "x", "results": 3}]}, "model-index.0.results", "has to be a list"),
        ("dataset", {"dataset_info": {"features": [1]}}, "dataset_info.0.features.0", "has to hold `key: value` lines"),
        (
            "model",
            {"model-index": result(metrics=[{"type": "acc", "value": "12"}])},
            "model-index.0.results.0.metrics.0.value",
            "has to be a number",
        ),
    ],
)
def test_a_mistake_is_told_once_and_in_words(kind: Kind, changes: dict[str, Any], place: str, sentence: str) -> None:
    (finding,) = found(kind, HEADERS[kind][1] | changes)
    assert (finding.where, finding.message) == (f"README.md, {place}", sentence)


def test_an_id_that_is_not_known_is_told_with_the_day_of_the_list() -> None:
    (finding,) = found("dataset", {"license": "lfm1.0"})
    assert finding.message == "'lfm1.0' is not in the Hub's list as of 2026-09-22"


def test_a_model_card_says_library_task_and_license() -> None:
    assert [(finding.level, finding.where) for finding in found("model", {})] == [
        ("warning", f"README.md, {key}") for key in ("library_name", "pipeline_tag", "license")
    ]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary(max_size=3) | st.text(max_size=9)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(sorted(MODEL | DATASET | SPACE)) | st.text(max_size=9) | st.integers() | st.none()


@given(st.sampled_from(KINDS), st.dictionaries(keys, anything, max_size=6))
def test_no_yaml_is_too_odd_for_findings(kind: Kind, metadata: dict[Any, Any]) -> None:
    assert all(
        finding.where.startswith("README.md") and finding.fix for finding in findings(kind, metadata, "README.md")
    )


@given(st.sampled_from(KINDS), st.data())
def test_no_odd_value_in_a_good_card_is_too_odd_for_findings(kind: Kind, data: st.DataObject) -> None:
    metadata = HEADERS[kind][1]
    key = data.draw(st.sampled_from(sorted(metadata)))
    assert all(finding.message for finding in findings(kind, metadata | {key: data.draw(anything)}, "README.md"))


@pytest.mark.parametrize("kind", KINDS)
def test_yaml_that_holds_itself_is_survived(kind: Kind) -> None:
    for key in HEADERS[kind][1]:
        for text in ("&a [*a]", "&a {args: *a, results: [*a], task: *a, emissions: *a, features: [*a], x: *a}"):
            metadata = yaml.safe_load(f"{key}: {text}")
            assert all(finding.message for finding in findings(kind, metadata, "README.md"))
