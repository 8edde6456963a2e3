"""The Hub's lists are there, dated, and hold what everyone knows."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from hala_release import vocabulary

FOLDER = Path(vocabulary.__file__).parent / "vocabularies"


def test_there_are_vocabularies() -> None:
    assert len(vocabulary.names()) >= 14


@pytest.mark.parametrize("name", vocabulary.names())
def test_a_vocabulary_is_sorted_unique_and_dated(name: str) -> None:
    content = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert content["values"]
    assert content["values"] == sorted(set(content["values"]))
    assert date.fromisoformat(content["seen"])
    assert content["source"].startswith("huggingface/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("licenses", "cc-by-nc-4.0"),
        ("licenses", "gemma"),
        ("licenses", "other"),
        ("pipeline_tags", "text-generation"),
        ("pipeline_tags", "translation"),
        ("task_categories", "translation"),
        ("libraries", "transformers"),
        ("languages", "ar"),
        ("languages", "no"),
        ("languages", "arz"),
        ("languages", "apc"),
        ("annotations_creators", "machine-generated"),
        ("multilinguality", "translation"),
        ("size_categories", "1M<n<10M"),
        ("base_model_relations", "quantized"),
        ("sdks", "gradio"),
        ("colors", "indigo"),
        ("hardware", "cpu-basic"),
    ],
)
def test_well_known_ids_are_in_their_list(name: str, value: str) -> None:
    assert value in vocabulary.load(name).values


def test_no_list_holds_an_id_that_the_hub_does_not_have() -> None:
    assert "lfm1.0" not in vocabulary.load("licenses").values


def test_a_list_is_read_when_it_is_first_asked_for() -> None:
    code = "from hala_release import header, vocabulary; print(vocabulary.load.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
