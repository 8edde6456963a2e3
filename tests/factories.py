"""Small real things to test with: rows, checkpoints, releases."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import yaml

from hala_release.adopt import adopt
from hala_release.bundle import Bundle, seal
from hala_release.manifest import ModelFacts, Provenance, ResultsFacts, Score, weights_sha256
from hala_release.payload.tensors import BITS

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def conversations(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Return rows in the schema of the released corpus."""
    return [
        {
            "id": f"row-{number}",
            "conversations": [
                {"from": "human", "value": f"Translate everything that follows into Arabic:\n\nText {number}"},
                {"from": "gpt", "value": f"النص رقم {number}"},
            ],
            "source": "test",
        }
        for number in range(start, start + count)
    ]


def write_tensors(path: Path, tensors: Mapping[str, tuple[str, Sequence[int]]]) -> Path:
    """Write a safetensors file of seeded bytes from {name: (dtype, shape)}."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(number % 251 for number in range(end)))
    return path


def write_model(folder: Path) -> Path:
    """Write the files of a small checkpoint: enough for every check, too little to load."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["Lfm2ForCausalLM"],
        "model_type": "lfm2",
        "max_position_embeddings": 128,
        "vocab_size": 16,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    write_tensors(folder / "model.safetensors", {"embed": ("BF16", (16, 8)), "norm": ("F32", (8,))})
    return folder


def score(**changes: Any) -> Score:  # noqa: ANN401
    """Return a number that an evaluation gave, with fields changed."""
    known: dict[str, Any] = {
        "task": "exams",
        "title": "EXAMS",
        "version": "1",
        "metric": "acc_norm",
        "value": 0.3692,
        "out_of": 1,
        "stderr": 0.0204,
        "n": 562,
        "shots": 0,
        "language": "ar",
        "data": f"sha256:{'5' * 64}",
    }
    return Score(**{**known, **changes})


def write_results(place: Path, model: Bundle, *scores: Score) -> Bundle:
    """Seal what was measured on a sealed model."""
    facts = model.manifest.facts
    assert isinstance(facts, ModelFacts)
    (place / "files").mkdir(parents=True)
    measured = ResultsFacts(
        weights_sha256=weights_sha256(model.manifest.files),
        tokenizer_sha256=facts.tokenizer_sha256,
        chat_template_sha256=facts.chat_template_sha256,
        harness="lm-eval 0.4.13",
        backend="transformers 5.17.0",
        dtype="bfloat16",
        scores=scores,
    )
    return seal(place, name=place.name, facts=measured, provenance=Provenance(stage="test"), digests={})


def write_release(path: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Write a release.yaml of a dataset in `corpus` and a model in `model` beside it, with keys changed or added."""
    document: dict[str, Any] = {
        "name": "family",
        "namespace": f"test-{secrets.token_hex(4)}",
        "version": "1.0.0",
        "license": "cc-by-nc-4.0",
        "language": ["ar", "en"],
        "artifacts": [
            {"kind": "dataset", "repo": "corpus", "bundle": "corpus", "summary": "Rows to test with."},
            {
                "kind": "model",
                "repo": "model",
                "bundle": "model",
                "summary": "A model to test with.",
                "base": "LiquidAI/LFM2-350M",
                "relation": "finetune",
                "datasets": ["corpus"],
            },
        ],
        **changes,
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def family(folder: Path, *, rows: int = 20) -> Path:
    """Make and seal a corpus and a model, and return the release.yaml that names them."""
    write_rows(folder / "raw" / "corpus" / "train.jsonl", conversations(rows))
    write_model(folder / "raw" / "model")
    adopt(folder / "raw" / "corpus", kind="dataset", out=folder / "corpus")
    adopt(folder / "raw" / "model", kind="model", out=folder / "model")
    return write_release(folder / "release.yaml")


def hala_release(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a fresh process."""
    return subprocess.run(
        [sys.executable, "-m", "hala_release", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
