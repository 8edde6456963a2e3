"""Every check finds what it is for, and is silent otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hala_release import checks
from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.checks import dataset, model, terms
from hala_release.finding import Finding
from hala_release.manifest import Manifest, ModelFacts, Provenance, ResultsFacts, weights_sha256
from hala_release.release import Gates, load
from tests import factories

Change = Callable[[Path], dict[str, Any]]
"""Changes raw files in a directory and returns what to change in release.yaml."""


def release_of(place: Path, change: Change) -> Path:
    """Make a family whose raw files and release were changed before it was sealed."""
    factories.write_rows(place / "raw" / "corpus" / "train.jsonl", factories.conversations(3))
    factories.write_model(place / "raw" / "model")
    changes = change(place / "raw")
    for kind in ("dataset", "model"):
        source = place / "raw" / ("corpus" if kind == "dataset" else "model")
        adopt(source, kind=kind, out=place / source.name)
    return factories.write_release(place / "release.yaml", **changes)


def findings(place: Path, change: Change) -> list[Finding]:
    path = release_of(place, change)
    return checks.run(load(path), path.parent)


def nothing(_: Path) -> dict[str, Any]:
    return {}


def artifacts(
    *, dataset_keys: dict[str, Any] | None = None, model_keys: dict[str, Any] | None = None
) -> dict[str, Any]:
    corpus = {"kind": "dataset", "repo": "corpus", "bundle": "corpus", "summary": "Rows.", **(dataset_keys or {})}
    checkpoint = {
        "kind": "model",
        "repo": "model",
        "bundle": "model",
        "summary": "A model.",
        "base": "a/b",
        "relation": "finetune",
        **(model_keys or {}),
    }
    return {"artifacts": [{k: v for k, v in artifact.items() if v is not None} for artifact in (corpus, checkpoint)]}


def empty_split(raw: Path) -> dict[str, Any]:
    schema = pa.schema({"id": pa.string()})
    (raw / "corpus" / "train.jsonl").unlink()
    pq.write_table(pa.table({"id": ["x"]}, schema=schema), raw / "corpus" / "train.parquet")
    pq.write_table(schema.empty_table(), raw / "corpus" / "test.parquet")
    return {}


def empty_column(raw: Path) -> dict[str, Any]:
    factories.write_rows(raw / "corpus" / "train.jsonl", [{"id": "1", "note": None}, {"id": "2"}])
    return {}


def empty_lists(raw: Path) -> dict[str, Any]:
    factories.write_rows(raw / "corpus" / "train.jsonl", [{"id": "1", "note": []}])
    return {}


def stray_table(raw: Path) -> dict[str, Any]:
    (raw / "corpus" / "more.csv").write_text("a\n1\n")
    (raw / "corpus" / "reports").mkdir()
    (raw / "corpus" / "reports" / "more.json").write_text("{}\n")  # what a stage tells is no table
    return {}


def no_tokenizer(raw: Path) -> dict[str, Any]:
    (raw / "model" / "tokenizer.json").unlink()
    return {}


def no_generation(raw: Path) -> dict[str, Any]:
    (raw / "model" / "generation_config.json").unlink()
    return {}


def no_template(raw: Path) -> dict[str, Any]:
    (raw / "model" / "chat_template.jinja").unlink()
    return {}


def no_license(_: Path) -> dict[str, Any]:
    return {"license": {"id": "other", "name": "lfm1.0", "link": "LICENSE"}}


def no_words(_: Path) -> dict[str, Any]:
    return artifacts(dataset_keys={"summary": None}) | {"language": []}


SHOWN: dict[checks.Check, tuple[Change, list[tuple[str, str, str]]]] = {
    dataset.splits_have_rows: (empty_split, [("error", "corpus, default/test", "the split has no rows")]),
    dataset.data_files_are_in_a_split: (
        stray_table,
        [("warning", "corpus, more.csv", "it is published, but belongs to no split")],
    ),
    dataset.columns_have_types: (
        empty_column,
        [("warning", "corpus, default", "column note, or a part of it, is empty in every row")],
    ),
    model.a_model_brings_its_tokenizer: (no_tokenizer, [("error", "model", "no tokenizer among the files")]),
    model.a_model_says_how_to_generate: (
        no_generation,
        [("warning", "model", "no generation_config.json: generation falls back to the library's defaults")],
    ),
    model.a_chat_model_has_a_template: (no_template, [("warning", "model", "no chat template")]),
    model.a_model_does_what_its_task_says: (
        lambda raw: encoder(raw),
        [("warning", "model", "its task is text-generation, its architecture is BertForMaskedLM")],
    ),
    model.entries_of_leaderboards_have_one_score: (
        lambda _: artifacts(model_keys={"eval_results": {"exams": "default"}}),
        [
            (
                "error",
                "model",
                "`eval_results` names exams, of which there is not one score, the higher the better, "
                "on data of the Hub at a commit",
            )
        ],
    ),
    terms.a_license_file_is_there: (
        no_license,
        [
            ("error", "corpus", "the license text LICENSE is not among the files"),
            ("error", "model", "the license text LICENSE is not among the files"),
        ],
    ),
    terms.the_card_says_what_this_is: (
        no_words,
        [
            ("warning", "corpus", "the card has no summary"),
            ("warning", "corpus", "the card has no language"),
            ("warning", "model", "the card has no language"),
        ],
    ),
}


def license_among_files(raw: Path) -> dict[str, Any]:
    for folder in ("corpus", "model"):
        (raw / folder / "LICENSE").write_text("terms")
    return no_license(raw)


def license_elsewhere(_: Path) -> dict[str, Any]:
    return {"license": {"id": "other", "name": "lfm1.0", "link": "https://example.org/LICENSE"}}


def own_words(_: Path) -> dict[str, Any]:
    return artifacts(dataset_keys={"language": ["ar"]}, model_keys={"language": ["ar"]}) | {"language": []}


def translator_without_template(raw: Path) -> dict[str, Any]:
    no_template(raw)
    return artifacts(model_keys={"pipeline_tag": "translation"})


def encoder(raw: Path) -> dict[str, Any]:
    config = raw / "model" / "config.json"
    config.write_text(config.read_text().replace("Lfm2ForCausalLM", "BertForMaskedLM"))
    return {}


def encoder_that_says_so(raw: Path) -> dict[str, Any]:
    encoder(raw)
    return artifacts(model_keys={"pipeline_tag": "fill-mask"})


def quantized_without_template(raw: Path) -> dict[str, Any]:
    no_template(raw)
    return artifacts(model_keys={"relation": "quantized"})


def template_in_the_tokenizer(raw: Path) -> dict[str, Any]:
    no_template(raw)
    (raw / "model" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
    return {}


def sentencepiece(raw: Path) -> dict[str, Any]:
    (raw / "model" / "tokenizer.json").rename(raw / "model" / "tokenizer.model")
    return {}


def column_with_one_value(raw: Path) -> dict[str, Any]:
    factories.write_rows(raw / "corpus" / "train.jsonl", [{"id": "1", "note": None}, {"id": "2", "note": "x"}])
    return {}


SILENT: dict[checks.Check, list[Change]] = {
    dataset.splits_have_rows: [nothing],
    dataset.data_files_are_in_a_split: [nothing],
    dataset.columns_have_types: [nothing, column_with_one_value],
    model.a_model_brings_its_tokenizer: [nothing, sentencepiece],
    model.a_model_says_how_to_generate: [nothing],
    model.a_chat_model_has_a_template: [
        nothing,
        translator_without_template,
        quantized_without_template,
        template_in_the_tokenizer,
    ],
    model.a_model_does_what_its_task_says: [nothing, encoder_that_says_so],
    model.entries_of_leaderboards_have_one_score: [nothing],
    terms.a_license_file_is_there: [nothing, license_among_files, license_elsewhere],
    terms.the_card_says_what_this_is: [nothing, own_words],
}

WITH_PROVENANCE = {"it_was_made_from_what_it_says"}
"""Shown in tests/cards/test_provenance.py: what is adopted has none."""
ALL = tuple(check for check in (*dataset.CHECKS, *model.CHECKS, *terms.CHECKS) if check.__name__ not in WITH_PROVENANCE)


def test_every_check_is_shown_finding_and_silent() -> None:
    assert len(ALL) == len({check.__name__ for check in ALL}) >= 8
    assert (
        {check.__name__ for check in ALL} == {check.__name__ for check in SHOWN} == {check.__name__ for check in SILENT}
    )


def test_every_function_that_yields_findings_is_in_a_list() -> None:
    written = {
        name
        for module in (dataset, model, terms)
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__annotations__", {}).get("return") == "Iterator[Finding]"
    }
    assert written == {check.__name__ for check in ALL} | WITH_PROVENANCE


@pytest.mark.parametrize("check", SHOWN, ids=lambda check: check.__name__)
def test_a_check_finds_what_it_is_for(tmp_path: Path, check: checks.Check) -> None:
    change, expected = SHOWN[check]
    found = findings(tmp_path, change)
    assert [(finding.level, finding.where, finding.message) for finding in found] == expected
    assert all(finding.fix for finding in found)


@pytest.mark.parametrize(
    "change",
    [pytest.param(change, id=f"{check.__name__}-{change.__name__}") for check in SILENT for change in SILENT[check]],
)
def test_a_check_is_silent_where_nothing_is_wrong(tmp_path: Path, change: Change) -> None:
    assert findings(tmp_path, change) == []


def test_a_list_that_is_always_empty_has_no_type(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, empty_lists)
    assert found.message == "column note, or a part of it, is empty in every row"


def test_findings_of_all_artifacts_show_at_once_errors_first(tmp_path: Path) -> None:
    def change(raw: Path) -> dict[str, Any]:
        empty_column(raw)
        return no_tokenizer(raw)

    found = findings(tmp_path, change)
    assert [(finding.level, finding.where) for finding in found] == [("error", "model"), ("warning", "corpus, default")]


def test_a_bundle_that_is_not_sound_is_a_finding_beside_the_others(tmp_path: Path) -> None:
    path = release_of(tmp_path, no_tokenizer)
    (tmp_path / "corpus" / "manifest.json").unlink()
    first, second = checks.run(load(path), tmp_path)
    assert (first.where, first.level) == ("corpus", "error")
    assert "is not finished: it has no manifest.json" in first.message
    assert second.where == "model"


def test_a_bundle_of_another_kind_is_a_finding(tmp_path: Path) -> None:
    path = release_of(tmp_path, lambda _: artifacts(dataset_keys={"bundle": "model"}))
    (finding,) = checks.run(load(path), tmp_path)
    assert "corpus is a dataset in the release, its bundle" in finding.message
    assert finding.fix == "correct `kind` or `bundle`"


def test_results_that_are_not_there_or_of_another_model_are_a_finding(tmp_path: Path) -> None:
    path = release_of(tmp_path, lambda _: artifacts(model_keys={"results": ["results"]}))
    (finding,) = checks.run(load(path), tmp_path)
    assert (finding.level, finding.where) == ("error", "model")
    assert "results is not a bundle: it has no manifest.json" in finding.message
    model = Bundle.open(tmp_path / "model").manifest
    assert isinstance(model.facts, ModelFacts)
    known = {
        "tokenizer_sha256": model.facts.tokenizer_sha256,
        "chat_template_sha256": None,
        "harness": "lm-eval 0.4.13",
        "backend": "transformers 5.17.0",
        "dtype": "bfloat16",
        "scores": (),
    }
    for weights, problems in ((weights_sha256(model.files), []), ("0" * 64, ["was measured on other weights"])):
        facts = ResultsFacts(weights_sha256=weights, **known)
        place = tmp_path / "results"
        place.mkdir(exist_ok=True)
        manifest = Manifest(name="results", facts=facts, files=(), provenance=Provenance(stage="evaluate"))
        (place / "manifest.json").write_bytes(manifest.to_json())
        found = checks.run(load(path), tmp_path)
        assert [problem in one.message for one, problem in zip(found, problems, strict=True)] == [True] * len(problems)
    corpus = factories.write_release(tmp_path / "release.yaml", **artifacts(model_keys={"results": ["corpus"]}))
    (finding,) = checks.run(load(corpus), tmp_path)
    assert "corpus holds a dataset, not results" in finding.message


def test_a_changed_byte_is_a_finding(tmp_path: Path) -> None:
    path = release_of(tmp_path, nothing)
    file = tmp_path / "model" / "files" / "config.json"
    file.write_text(file.read_text().replace("128", "256"))
    (finding,) = checks.run(load(path), tmp_path)
    assert "config.json has other bytes than were sealed" in finding.message


@pytest.mark.parametrize(("gate", "stops"), [("error", ["error"]), ("warning", ["error", "warning"])])
def test_the_gate_says_which_level_stops_a_push(gate: Literal["error", "warning"], stops: list[str]) -> None:
    found = [Finding(level=level, where="x", message="x", fix="x") for level in ("error", "warning")]
    assert [finding.level for finding in checks.stopping(found, Gates(fail_on=gate))] == stops


@pytest.mark.parametrize(("gate", "code"), [("error", 0), ("warning", 4)])
def test_the_command_ends_as_the_gate_says(tmp_path: Path, gate: str, code: int) -> None:
    release_of(tmp_path, lambda raw: no_generation(raw) | {"gates": {"fail_on": gate}})
    run = factories.hala_release("check", cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert "warning: model: no generation_config.json" in run.stdout + run.stderr
    document = json.loads(factories.hala_release("check", "--json", cwd=tmp_path).stdout)
    listed = document["error"]["findings"] if code else document["findings"]
    assert [finding["level"] for finding in listed] == ["warning"]
