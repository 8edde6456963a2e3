"""Cards: their text is as it was read and found good, their YAML is what the Hub's libraries read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, SpaceCard

from hala_release import frontmatter
from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.card.dataset import size_category
from hala_release.errors import ConfigError, ContractError
from hala_release.manifest import (
    ConfigFacts,
    DatasetFacts,
    Manifest,
    SplitFacts,
)
from hala_release.release import load
from hala_release.wanted import wanted
from tests import factories
from tests.cards.made import CORPUS, DECEPTIVE, FROZEN, HOSTILE, MODEL, frozen, hala, rendered, results_of, sealed
from tests.golden.conftest import Golden


def data_of(found: DatasetCard | ModelCard | SpaceCard) -> dict[str, Any]:
    """The YAML block as the Hub's own library reads it."""
    data: dict[str, Any] = found.data.to_dict()  # type: ignore[no-untyped-call]
    return data


SPACE = """---
title: A small page
emoji: 🌙
colorFrom: blue  # as on the flag
colorTo: green
sdk: static
---

صفحة صغيرة.
"""
CITATION = "@misc{hala,\n  title = {Hala},\n}\n"


def test_card_of_a_dataset_with_one_configuration(tmp_path: Path, golden: Golden) -> None:
    facts = Manifest.from_json((FROZEN / "dataset.json").read_bytes(), where="dataset.json").facts
    assert isinstance(facts, DatasetFacts)
    sealed(tmp_path / "corpus", DatasetFacts(configs=facts.configs[1:]))
    text = rendered(tmp_path, CORPUS, citation=CITATION)
    golden("cards/dataset-one-configuration.md", text)

    data = data_of(DatasetCard(text))
    assert data["license"] == "cc-by-nc-4.0"
    assert data["language"] == ["ar", "en"]
    assert data["pretty_name"] == "The corpus"
    assert data["task_categories"] == ["translation"]
    assert data["size_categories"] == ["10K<n<100K"]
    assert data["source_datasets"] == ["Open-Orca/OpenOrca"]
    assert data["configs"] == [
        {
            "config_name": "default",
            "default": True,
            "data_files": [
                {"split": "train", "path": "data/train-*-of-00002.parquet"},
                {"split": "validation", "path": "data/validation-*-of-00001.parquet"},
            ],
        }
    ]
    assert data["dataset_info"]["splits"][0] == {"name": "train", "num_bytes": 30_000_000, "num_examples": 50_002}


def test_card_of_a_dataset_with_two_configurations(tmp_path: Path, golden: Golden) -> None:
    frozen(tmp_path / "corpus", "dataset")
    text = rendered(tmp_path, {key: CORPUS[key] for key in ("kind", "repo", "bundle")}, license=["mit", "apache-2.0"])
    golden("cards/dataset-two-configurations.md", text)

    data = data_of(DatasetCard(text))
    assert data["license"] == ["mit", "apache-2.0"]
    assert [(config["config_name"], config.get("default")) for config in data["configs"]] == [
        ("ar", None),
        ("default", True),
    ]
    assert [info["config_name"] for info in data["dataset_info"]] == ["ar", "default"]


def with_reports(place: Path, reports: dict[str, bytes]) -> None:
    """Seal a small corpus that brings reports of the pipeline."""
    raw = place / "raw"
    factories.write_rows(raw / "train.jsonl", factories.conversations(5))
    for name, data in reports.items():
        (raw / "reports").mkdir(exist_ok=True)
        (raw / "reports" / name).write_bytes(data)
    adopt(raw, kind="dataset", out=place / "corpus")


def test_card_of_a_dataset_prints_what_the_pipeline_reported(tmp_path: Path, golden: Golden) -> None:
    def rule(name: str, hits: int, dropped: int = 0, repaired: int = 0, flagged: int = 0) -> dict[str, Any]:
        counts = {"hits": hits, "dropped": dropped, "repaired": repaired, "flagged": flagged}
        return {"name": name, "action": "drop", "examples": [{"id": "x", "target": "نص"}], **counts}

    rules = {
        "S2": rule("code is that of the source", 1200, dropped=1100),
        "O1": rule("plain spelling", 40, repaired=38),
        "C1": rule("no terms of English spelling", 7, flagged=7),
        "S7": rule("no special tokens", 0),
        **{f"X{number}": rule(text, 1, dropped=1) for number, text in enumerate(HOSTILE)},
    }
    benchmark = {"items": 1000, "items_hit": 3, "rows_dropped": 4, "hits": {"item-1": 4}}
    with_reports(
        tmp_path,
        {
            "quality_report.json": json.dumps({"rows": 5000, "kept": 3800, "rules": rules}).encode(),
            "quality.png": b"a picture",
            "dedup.json": json.dumps({"rows": 3800, "total": {"kept": 3700, "exact": 60, "near": 40}}).encode(),
            "contamination-source.json": json.dumps({"side": "source", "benchmarks": {"mmlu": benchmark}}).encode(),
            "contamination-target.json": json.dumps({"side": "target", "benchmarks": {"a|b": benchmark}}).encode(),
        },
    )
    text = rendered(tmp_path, CORPUS)
    golden("cards/dataset-with-reports.md", text)
    table = text.partition("| Rule |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) == 3 + len(HOSTILE)
    for line in table:
        assert line.replace("\\|", "").count("|") == 7, "one rule is one line of seven cells"


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"rows": "many"}'])
def test_a_report_that_is_none_is_an_error_that_names_it(tmp_path: Path, data: bytes) -> None:
    with_reports(tmp_path, {"quality_report.json": data})
    with pytest.raises(ContractError, match=r"reports/quality_report\.json is not the report"):
        rendered(tmp_path, CORPUS)


def test_card_of_a_model_with_a_base_and_a_named_license(tmp_path: Path, golden: Golden) -> None:
    frozen(tmp_path / "model", "model")
    text = rendered(tmp_path, MODEL, citation=CITATION)
    golden("cards/model-with-base.md", text)

    data = data_of(ModelCard(text))
    assert (data["license"], data["license_name"], data["license_link"]) == ("other", "lfm1.0", "LICENSE")
    assert (data["base_model"], data["base_model_relation"]) == ("LiquidAI/LFM2-350M", "finetune")
    assert data["datasets"] == ["hala/corpus", "other/pairs"]
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "text-generation")
    assert data["tags"] == ["lfm2", "arabic"]
    assert data["language"] == ["ar", "en"]


def test_card_of_a_merge_of_two_models(tmp_path: Path) -> None:
    frozen(tmp_path / "model", "model")
    text = rendered(tmp_path, {**MODEL, "base": ["a/one", "b/two"], "relation": "merge"})
    data = data_of(ModelCard(text))
    assert (data["base_model"], data["base_model_relation"]) == (["a/one", "b/two"], "merge")


def test_card_of_a_model_prints_what_was_measured(tmp_path: Path, golden: Golden) -> None:
    frozen(tmp_path / "model", "model")
    sealed(tmp_path / "results", results_of(tmp_path))
    text = rendered(tmp_path, {**MODEL, "results": ["results"]})
    golden("cards/model-with-results.md", text)
    assert "| EXAMS | acc\\_norm | 562 | 36.9 ± 4.0 |" in text, "1.96 standard errors, on a scale of 100"


def with_columns(place: Path, names: Sequence[str]) -> None:
    split = SplitFacts(name="train", rows=1, bytes=1, download_bytes=1, files=("train.parquet",))
    features = tuple({"name": name, "dtype": "string"} for name in names)
    facts = DatasetFacts(configs=(ConfigFacts(name="default", features=features, splits=(split,)),))
    sealed(place / "corpus", facts)


@pytest.mark.parametrize("repo", ["hala-corpus", "hala-9b"])
def test_cards_of_the_hala_family(tmp_path: Path, golden: Golden, repo: str) -> None:
    """Toys with made-up answers stand in for the weights; what was reported of HALA is as its source has it."""
    (want,) = (want for want in wanted(load(hala(tmp_path)), tmp_path) if want.artifact.repo == repo)
    golden(f"cards/{repo}.md", want.card)
    loaded = DatasetCard(want.card) if want.kind == "dataset" else ModelCard(want.card)
    assert data_of(loaded) == frontmatter.split(want.card, where="card").metadata


def test_card_of_a_space(tmp_path: Path, golden: Golden) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "README.md").write_text(SPACE, encoding="utf-8")
    (raw / "index.html").write_text("<!doctype html><title>هلا</title>", encoding="utf-8")
    adopt(raw, kind="space", out=tmp_path / "page")
    artifact = {
        "kind": "space",
        "repo": "page",
        "bundle": "page",
        "title": "Hala",
        "summary": "Chat and translation.",
        "summary_ar": "محادثة وترجمة.",
        "limits": "The models make mistakes.",
    }
    text = rendered(tmp_path, artifact)
    golden("cards/space.md", text)
    assert text.startswith(SPACE.partition("sdk: static")[0]), "its own header stays as it is"
    assert "\nصفحة صغيرة.\n" in text
    data = data_of(SpaceCard(text))
    assert (data["sdk"], data["license"]) == ("static", "cc-by-nc-4.0")


def test_card_of_columns_with_hostile_names(tmp_path: Path, golden: Golden) -> None:
    names = tuple(name for name in HOSTILE if name != DECEPTIVE)
    with_columns(tmp_path, names)
    text = rendered(tmp_path, {key: CORPUS[key] for key in ("kind", "repo", "bundle")})
    golden("cards/dataset-hostile-columns.md", text)

    metadata, body = frontmatter.split(text, where="card")
    assert tuple(feature["name"] for feature in metadata["dataset_info"]["features"]) == names
    assert data_of(DatasetCard(text)) == metadata
    (line,) = (line for line in body.splitlines() if line.startswith("Columns: "))
    for markup in ("<script>", " | ", " `code`", " [click]", "![x]", "https://"):
        assert markup not in line
    assert r"{{ 7 \* 7 }}" in line


def test_a_column_whose_name_shows_otherwise_than_it_is_cannot_be_published(tmp_path: Path) -> None:
    with_columns(tmp_path, [DECEPTIVE])
    with pytest.raises(AssertionError, match=r"U\+202E"):
        rendered(tmp_path, {key: CORPUS[key] for key in ("kind", "repo", "bundle")})


def test_a_bundle_of_another_kind_is_refused(tmp_path: Path) -> None:
    frozen(tmp_path / "corpus", "model")
    with pytest.raises(ConfigError, match=r"corpus is a dataset in the release, its bundle .* holds a model"):
        rendered(tmp_path, CORPUS)


ROWS: list[dict[str, Any]] = [
    {
        "id": f"r{number}",
        "turns": [{"from": "human", "value": "x", "tokens": [1, 2]}],
        "meta": {"score": 0.5, "tags": ["a"], "deep": {"er": [[1]]}},
        "flag": True,
        "count": number,
        "nothing": None,
        "odd: name | x": "y",
    }
    for number in range(5)
]


def test_features_of_a_card_are_those_that_the_library_computes(tmp_path: Path) -> None:
    from datasets import Features, load_dataset, load_dataset_builder

    factories.write_rows(tmp_path / "raw" / "train.jsonl", ROWS)
    factories.write_rows(tmp_path / "raw" / "test.jsonl", ROWS[:2])
    factories.write_rows(tmp_path / "raw" / "ar" / "train.jsonl", [{"text": "سلام"}])
    bundle = adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "corpus").bundle
    text = rendered(tmp_path, CORPUS)
    repository = tmp_path / "repository"
    shutil.copytree(bundle.files, repository)
    (repository / "README.md").write_text(text, encoding="utf-8")
    infos = {info["config_name"]: info for info in yaml.safe_load(text.split("---\n")[1])["dataset_info"]}
    cache = str(tmp_path / "cache")

    for config, rows in (("default", {"train": ROWS, "test": ROWS[:2]}), ("ar", {"train": [{"text": "سلام"}]})):
        files = {split: str(bundle.files / path) for split, path in split_files(bundle, config).items()}
        computed = load_dataset("parquet", data_files=files, cache_dir=cache)["train"].features
        assert Features._from_yaml_list(infos[config]["features"]) == computed
        assert load_dataset_builder(str(repository), config, cache_dir=cache).info.features == computed
        loaded = load_dataset(str(repository), config, cache_dir=cache)
        assert {split: list(found) for split, found in loaded.items()} == rows
    assert set(load_dataset(str(repository), cache_dir=cache)) == {"train", "test"}


def split_files(bundle: Bundle, config: str) -> dict[str, str]:
    facts = bundle.manifest.facts
    assert isinstance(facts, DatasetFacts)
    (found,) = (one for one in facts.configs if one.name == config)
    return {split.name: split.files[0] for split in found.splits}


def test_the_command_renders_what_push_would_publish(tmp_path: Path) -> None:
    factories.family(tmp_path)
    run = factories.hala_release("card", "render", "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    cards = json.loads(run.stdout)
    release = load(tmp_path / "release.yaml")
    assert cards == {want.page: want.card for want in wanted(release, tmp_path)}
    factories.hala_release("card", "render", "--out", "cards", cwd=tmp_path)
    assert {repo: (tmp_path / "cards" / repo / "README.md").read_text(encoding="utf-8") for repo in cards} == cards


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")],
)
def test_size_categories_are_those_of_the_hub(rows: int, category: str) -> None:
    assert size_category(rows) == category


def test_a_dataset_and_a_model_of_one_name_both_get_their_card(tmp_path: Path) -> None:
    factories.family(tmp_path)
    text = (tmp_path / "release.yaml").read_text(encoding="utf-8").replace("repo: model", "repo: corpus")
    (tmp_path / "release.yaml").write_text(text, encoding="utf-8")
    run = factories.hala_release("card", "render", "--out", "cards", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "cards").rglob("README.md"))) == 2


def test_the_card_of_an_encoder_does_not_offer_to_generate(tmp_path: Path) -> None:
    raw = factories.write_model(tmp_path / "raw")
    config = raw / "config.json"
    config.write_text(config.read_text().replace("Lfm2ForCausalLM", "BertForMaskedLM"))
    adopt(raw, kind="model", out=tmp_path / "model")
    artifact = {"kind": "model", "repo": "model", "bundle": "model", "pipeline_tag": "fill-mask"}
    release = load(factories.write_release(tmp_path / "release.yaml", artifacts=[artifact]))
    (want,) = wanted(release, tmp_path)
    text = want.card
    assert "AutoModel.from_pretrained" in text
    assert "generate" not in text
