"""Cards: their text is as it was read and found good, their YAML is what the Hub's libraries read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from hala_release import card, frontmatter, results
from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError
from hala_release.manifest import (
    ConfigFacts,
    DatasetFacts,
    Manifest,
    ModelFacts,
    Provenance,
    ResultsFacts,
    Score,
    SplitFacts,
    weights_sha256,
)
from hala_release.release import load
from tests import factories
from tests.golden.conftest import Golden

FROZEN = Path(__file__).parent.parent / "contract" / "v1"

HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    "`code`",
    "[click](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "two\nlines",
    "---",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "name: yaml",
    "# heading",
    "no",
    "1.10",
    "\u202egnirts",
    "back\\slash",
    "'\"",
    "عمود",
)


def sealed(place: Path, facts: DatasetFacts | ResultsFacts) -> None:
    place.mkdir()
    manifest = Manifest(name=place.name, facts=facts, files=(), provenance=Provenance(stage="test"))
    (place / "manifest.json").write_bytes(manifest.to_json())


def frozen(place: Path, name: str) -> None:
    place.mkdir()
    shutil.copyfile(FROZEN / f"{name}.json", place / "manifest.json")


def rendered(place: Path, artifact: dict[str, Any], **changes: Any) -> str:  # noqa: ANN401
    path = factories.write_release(place / "release.yaml", namespace="hala", artifacts=[artifact], **changes)
    release = load(path)
    first = release.artifacts[0]
    bundle, measured = Bundle.open(place / first.bundle), results.measured(first, place)
    text = card.render(first, bundle, release, measured)
    assert card.render(first, bundle, release, measured) == text
    return text.decode()


def data_of(found: DatasetCard | ModelCard) -> dict[str, Any]:
    """The YAML block as the Hub's own library reads it."""
    data: dict[str, Any] = found.data.to_dict()  # type: ignore[no-untyped-call]
    return data


CORPUS = {
    "kind": "dataset",
    "repo": "corpus",
    "bundle": "corpus",
    "title": "The corpus",
    "summary": "What the rows are.\n\nAnd where they come from.\n",
    "summary_ar": "ما هذه الأسطر.\n",
    "task_categories": ["translation"],
    "sources": ["Open-Orca/OpenOrca"],
    "tags": ["arabic"],
}
MODEL = {
    "kind": "model",
    "repo": "model",
    "bundle": "model",
    "summary": "What the model does.",
    "base": "LiquidAI/LFM2-350M",
    "relation": "finetune",
    "datasets": ["corpus", "other/pairs"],
    "license": {"id": "other", "name": "lfm1.0", "link": "LICENSE"},
    "tags": ["arabic", "lfm2"],
}
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


def results_of(place: Path, **changes: Any) -> ResultsFacts:  # noqa: ANN401
    """What was measured on the frozen model, with facts changed."""
    model = Bundle.open(place / "model").manifest
    assert isinstance(model.facts, ModelFacts)
    exams = Score(
        task="hala_exams", title="EXAMS", version="1", metric="acc_norm", value=0.3692, out_of=1, stderr=0.0204, n=562,
        shots=0, language="ar", data="OALL/Arabic_EXAMS@bc7a29346dbcaa16a8cd883b1f3e681ab2b7ff2a",
    )  # fmt: skip
    mine = exams.model_copy(
        update={
            "task": "translation-mine",
            "title": "Mine",
            "metric": "chrf++",
            "value": 64.2,
            "out_of": 100,
            "stderr": None,
            "n": 1012,
            "language": "en-ar",
            "data": f"sha256:{'5' * 64}",
            "signature": "nrefs:1|case:mixed",
        }
    )
    known: dict[str, Any] = {
        "weights_sha256": weights_sha256(model.files),
        "tokenizer_sha256": model.facts.tokenizer_sha256,
        "chat_template_sha256": model.facts.chat_template_sha256,
        "harness": "lm-eval 0.4.13, sacreBLEU 2.6.0",
        "backend": "transformers 5.17.0",
        "dtype": "bfloat16",
        "scores": (exams, mine.model_copy(update={"metric": "bleu", "value": 48.25, "stderr": 0.51}), mine),
        "note": "Measured with tasks of this project, as means over all items: not comparable with leaderboards.",
    }
    return ResultsFacts(**{**known, **changes})


def test_card_of_a_model_prints_what_was_measured(tmp_path: Path, golden: Golden) -> None:
    frozen(tmp_path / "model", "model")
    sealed(tmp_path / "results", results_of(tmp_path))
    text = rendered(tmp_path, {**MODEL, "results": ["results"]})
    golden("cards/model-with-results.md", text)
    assert "| EXAMS | acc\\_norm | 36.9 ± 4.0 | 562 | 0 | ar |" in text, "1.96 standard errors, on a scale of 100"


def test_results_with_hostile_words_stay_in_their_cells(tmp_path: Path) -> None:
    frozen(tmp_path / "model", "model")
    facts = results_of(tmp_path)
    scores = tuple(
        facts.scores[0].model_copy(update={"title": word, "metric": word, "data": word, "task": word})
        for word in HOSTILE
    )
    sealed(tmp_path / "results", facts.model_copy(update={"scores": scores, "note": "".join(HOSTILE)}))
    text = rendered(tmp_path, {**MODEL, "results": ["results"]})
    section = text.partition("## Results")[2].partition("## ")[0]
    table = section.partition("|---|")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(table) == len(HOSTILE)
    for line in table:
        assert line.replace("\\|", "").count("|") == 7
    for markup in ("<script>", " `code`", " [click]", "![x]", "\u202e"):
        assert markup not in section


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weights_sha256": "0" * 64}, "was measured on other weights"),
        ({"tokenizer_sha256": "0" * 64}, "was measured with another tokenizer"),
        ({"chat_template_sha256": "0" * 64}, "was measured with another chat template"),
    ],
)
def test_results_of_another_model_are_refused(tmp_path: Path, change: dict[str, str], problem: str) -> None:
    frozen(tmp_path / "model", "model")
    sealed(tmp_path / "results", results_of(tmp_path, **change))
    with pytest.raises(ContractError, match=problem):
        rendered(tmp_path, {**MODEL, "results": ["results"]})


def test_results_without_the_chat_template_say_so(tmp_path: Path) -> None:
    frozen(tmp_path / "model", "model")
    sealed(tmp_path / "results", results_of(tmp_path, chat_template_sha256=None))
    assert "in bfloat16, without the chat template." in rendered(tmp_path, {**MODEL, "results": ["results"]})


def test_card_of_columns_with_hostile_names(tmp_path: Path, golden: Golden) -> None:
    split = SplitFacts(name="train", rows=1, bytes=1, download_bytes=1, files=("train.parquet",))
    features = tuple({"name": name, "dtype": "string"} for name in HOSTILE)
    sealed(
        tmp_path / "corpus", DatasetFacts(configs=(ConfigFacts(name="default", features=features, splits=(split,)),))
    )
    text = rendered(tmp_path, {key: CORPUS[key] for key in ("kind", "repo", "bundle")})
    golden("cards/dataset-hostile-columns.md", text)

    metadata, body = frontmatter.split(text, where="card")
    assert tuple(feature["name"] for feature in metadata["dataset_info"]["features"]) == HOSTILE
    assert data_of(DatasetCard(text)) == metadata
    (line,) = (line for line in body.splitlines() if line.startswith("Columns: "))
    for markup in ("<script>", " | ", " `code`", " [click]", "![x]", "\u202e"):
        assert markup not in line
    assert r"{{ 7 \* 7 }}" in line


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
    assert {repo: text.encode() for repo, text in cards.items()} == {
        f"datasets/{release.namespace}/corpus"
        if artifact.kind == "dataset"
        else f"{release.namespace}/model": card.render(artifact, Bundle.open(tmp_path / artifact.bundle), release)
        for artifact in release.artifacts
    }
    factories.hala_release("card", "render", "--out", "cards", cwd=tmp_path)
    assert {repo: (tmp_path / "cards" / repo / "README.md").read_text(encoding="utf-8") for repo in cards} == cards


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")],
)
def test_size_categories_are_those_of_the_hub(rows: int, category: str) -> None:
    assert card.size_category(rows) == category


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
    text = card.render(release.artifacts[0], Bundle.open(tmp_path / "model"), release).decode()
    assert "AutoModel.from_pretrained" in text
    assert "generate" not in text
