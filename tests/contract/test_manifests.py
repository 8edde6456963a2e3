"""Manifests that were written once are read for ever. The files beside this one are never edited."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from hala_release.bundle import Bundle
from hala_release.errors import ContractError, SchemaTooNew
from hala_release.manifest import SCHEMA, DatasetFacts, Manifest, ModelFacts, ResultsFacts, SpaceFacts

HERE = Path(__file__).parent
FROZEN = {
    "v1/dataset.json": "13feb00a723b262bdf9dbe0d489a6b90feee6703f297bfc2cfef516d9eda354d",
    "v1/model.json": "3e1041299c17667dc0d848f788c87aeb451267c6dbeaa1e282c058c2d4e32465",
    "v1/results.json": "1a22829739eaee48b74038101a5ba73fb807d29bb44462cbb0673f7fc3822671",
    "v1/space.json": "3e316f55783901ea55279fda277b085e913a069a6ccb25798c7d521162ab019c",
    "broken.json": "b0f0a61d04c39a66b996004c035722a84945cd2856a71082798d01cf74aeca30",
    "future.json": "3ea04a47e9f3aca738f181d4331041b5bba8d5d4b38291add93de8bc262ea036",
}


def test_every_frozen_file_is_as_it_was_written() -> None:
    found = {path.relative_to(HERE).as_posix(): path for path in HERE.rglob("*.json")}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()} == FROZEN


def test_every_schema_version_has_its_frozen_files() -> None:
    assert {name.partition("/")[0] for name in FROZEN if "/" in name} == {f"v{n}" for n in range(1, SCHEMA + 1)}


def test_a_dataset_of_schema_1_is_read(tmp_path: Path) -> None:
    manifest = opened("v1/dataset.json", tmp_path)
    assert isinstance(manifest.facts, DatasetFacts)
    assert manifest.name == "corpus"
    assert manifest.facts.rows == 50_122
    arabic, default = manifest.facts.configs
    assert (arabic.name, default.name) == ("ar", "default")
    assert [(split.name, split.rows) for split in default.splits] == [("train", 50_002), ("validation", 100)]
    assert default.features[1]["list"] == [{"name": "from", "dtype": "string"}, {"name": "value", "dtype": "string"}]
    assert manifest.files[-1].path == "data/validation-00000-of-00001.parquet"
    assert manifest.provenance.inputs[0].name == "pairs"
    assert manifest.provenance.config["converted"]


def test_a_model_of_schema_1_is_read(tmp_path: Path) -> None:
    manifest = opened("v1/model.json", tmp_path)
    assert isinstance(manifest.facts, ModelFacts)
    assert manifest.facts.total_parameters == 354_483_968
    assert manifest.facts.parameters == {"BF16": 354_483_712, "F32": 256}
    assert manifest.facts.context == 128_000
    assert manifest.facts.quantization is None
    assert len(manifest.files) == 5


def test_results_of_schema_1_are_read(tmp_path: Path) -> None:
    manifest = opened("v1/results.json", tmp_path)
    assert isinstance(manifest.facts, ResultsFacts)
    assert manifest.facts.harness == "lm-eval 0.4.13, sacreBLEU 2.6.0"
    assert manifest.facts.weights_sha256.startswith("bfffeeb7")
    exam, _, chrf = manifest.facts.scores
    assert (exam.task, exam.metric, exam.value, exam.out_of, exam.n) == ("hala_demo_exam", "acc_norm", 0.25, 1, 40)
    assert (chrf.language, chrf.out_of) == ("en-ar", 100)
    assert "not comparable with leaderboards" in manifest.facts.note


def test_a_space_of_schema_1_is_read(tmp_path: Path) -> None:
    manifest = opened("v1/space.json", tmp_path)
    assert manifest.facts == SpaceFacts(sdk="gradio", sdk_version="5.49.1", app_file="app.py")
    assert [entry.path for entry in manifest.files] == ["README.md", "app.py"]


def test_what_schema_1_wrote_is_written_alike_today() -> None:
    for name in ("v1/dataset.json", "v1/model.json", "v1/space.json"):
        data = (HERE / name).read_bytes()
        assert Manifest.from_json(data, where=name).to_json() == data


def test_a_manifest_from_the_future_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SchemaTooNew, match="schema 7") as caught:
        opened("future.json", tmp_path)
    assert "upgrade" in caught.value.fix


def test_a_broken_manifest_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        opened("broken.json", tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "facts.dataset.rows",
        "files.0.path",
        "provenance.stage",
    ]


def opened(name: str, root: Path) -> Manifest:
    shutil.copyfile(HERE / name, root / "manifest.json")
    return Bundle.open(root).manifest
