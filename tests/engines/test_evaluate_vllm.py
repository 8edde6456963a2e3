"""A model scores the same whether transformers or vLLM computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from tests.family.conftest import WORK, run_pipeline

TOLERANCE = 0.001
"""Of a log-likelihood, in float32; 3e-6 was measured."""
PAIRS = [{"en": "Save the file.", "ar": "احفظ الملف."}, {"en": "Open a new window.", "ar": "افتح نافذة جديدة."}]


@pytest.mark.skipif(not WORK.exists(), reason="needs lm-eval: run `make env-work`")
def test_scores_are_the_same_on_both_backends(environment: Path, lfm2: Path, tmp_path: Path) -> None:
    adopt(lfm2, kind="model", out=tmp_path / "model")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in PAIRS), encoding="utf-8")
    config = tmp_path / "evaluate.yaml"
    given = {
        "tasks": ["hala_demo_exam"],
        "translation": [{"name": "mine", "file": str(pairs), "max_tokens": 16}],
        "dtype": "float32",
        "server": {
            "environment": str(environment),
            "max_model_len": 1024,
            "parity": {"chats": 4, "tokens": 8, "records": str(tmp_path / "parity")},
        },
    }
    config.write_text(yaml.safe_dump(given), encoding="utf-8")

    def run(backend: str) -> Bundle:
        arguments = ("--from", tmp_path / "model", "--out", tmp_path / "out", "--set", f"backend={backend}")
        return run_pipeline("evaluate", config, *arguments)

    here, there = run("hf"), run("vllm")
    assert here.manifest.facts.kind == there.manifest.facts.kind == "results"
    assert here.manifest.facts.backend.startswith("transformers ")
    assert there.manifest.facts.backend.startswith("vllm ")
    assert here.manifest.facts.scores == there.manifest.facts.scores
    differences = []
    for one, other in zip(_samples(here, "hala_demo_exam"), _samples(there, "hala_demo_exam"), strict=True):
        assert one["prompt_sha256"] == other["prompt_sha256"]
        differences += [abs(a - b) for a, b in zip(one["loglikelihoods"], other["loglikelihoods"], strict=True)]
    assert len(differences) == 160
    assert max(differences) < TOLERANCE
    assert "was not compared" not in there.manifest.facts.note
    assert len(list((tmp_path / "parity").iterdir())) == 1
    assert _samples(here, "translation-mine") == _samples(there, "translation-mine")


def _samples(bundle: Bundle, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bundle.files / "samples" / f"{task}.jsonl").read_bytes().splitlines()]
