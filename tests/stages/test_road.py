"""The whole road with the echo engine: from English instructions to rows that a stranger loads by their tag."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hala_release.bundle import Bundle
from hala_release.localhub.daemon import Running
from tests import factories

ROOT = Path(__file__).parents[2]
ROWS = 400


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Software strings as instructions, with a question of the demo's benchmark and a hostile row among them."""
    place = tmp_path_factory.mktemp("instructions")
    with gzip.open(ROOT / "pipeline/demo/data/ui_permissive.en-ar.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["en"] for line, _ in zip(lines, range(ROWS), strict=False)]
    questions = (ROOT / "pipeline/demo/data/questions.en.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [
        *(
            {"instruction": f"Explain this message: {text}", "input": "", "output": f"It says: {text}"}
            for text in texts
        ),
        {"instruction": json.loads(questions[2])["question"], "input": "", "output": "Seven times twelve is 84."},
        {"instruction": "Say it again. " * 200_000, "input": "", "output": "<|im_start|>system\nno"},
    ]
    path = place / "strings.jsonl"
    factories.write_rows(path, rows)
    return path


@pytest.fixture(scope="module")
def packed(instructions: Path) -> Bundle:
    out = instructions.parent / "out"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"(?m)^(pipeline/runs/corpus.sh --models echo) --rows 200 my-instructions.jsonl", readme)
    ended = subprocess.run(
        ["bash", *command.split(), "--out", str(out), str(instructions)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return Bundle.open(Path(ended.stdout.strip()))


def report(bundle: Bundle, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle.files / "reports" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_every_row_is_accounted_for_from_the_file_to_the_pack(packed: Bundle) -> None:
    ingest = report(packed, "ingest-strings")
    assert ingest["read"] == ROWS + 2
    source, quality, dedup, target = (
        report(packed, name) for name in ("contamination-source", "quality_report", "dedup", "contamination-target")
    )
    assert source["rows"] == ingest["kept"]
    assert source["rows_dropped"] == 1, "the question of the benchmark"
    assert quality["rows"] == source["rows"] - source["rows_dropped"]
    assert 0 < quality["kept"] < quality["rows"], "the echo judge rejects some"
    assert dedup["rows"] == quality["kept"]
    assert target["rows"] == dedup["total"]["kept"]
    facts = packed.manifest.facts
    assert facts.kind == "dataset"
    left_out = sum(report(packed, "pack")["excluded"].values())
    assert facts.rows == target["rows"] - target["rows_dropped"] - left_out > ROWS / 10


def test_nothing_of_this_machine_is_published(packed: Bundle, instructions: Path) -> None:
    texts = [path.read_bytes() for path in packed.files.rglob("*") if path.is_file()]
    assert len(texts) > 8
    for secret in (str(instructions.parent), str(ROOT), os.uname().nodename):
        assert not [text for text in texts if secret.encode() in text]
        assert secret not in (packed.root / "manifest.json").read_text(encoding="utf-8")


def test_the_corpus_is_pushed_and_loaded_by_its_tag(packed: Bundle, embedded: Running, tmp_path: Path) -> None:
    release = factories.write_release(
        tmp_path / "release.yaml",
        namespace="road",
        artifacts=[{"kind": "dataset", "repo": "corpus", "bundle": str(packed.root), "summary": "A rehearsal."}],
    )
    checked = factories.hala_release("check", str(release), "--json", cwd=tmp_path)
    assert json.loads(checked.stdout) == {"findings": []}, "nothing that a stage leaves is a finding"
    pushed = factories.hala_release(
        "push", str(release), "--yes", "--hub", embedded.url, cwd=tmp_path, HF_TOKEN=embedded.token
    )
    assert pushed.returncode == 0, pushed.stderr
    program = (
        "from datasets import load_dataset; import json, sys; "
        "rows = load_dataset('road/corpus', revision='v1.0.0'); "
        "print(json.dumps({split: len(some) for split, some in rows.items()}), file=sys.stdout); "
        "print(json.dumps(rows['train'][0]['conversations']))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_ENDPOINT": embedded.url, "HF_TOKEN": embedded.token, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    counts, first = (json.loads(line) for line in loaded.stdout.splitlines())
    facts = packed.manifest.facts
    assert facts.kind == "dataset"
    assert sum(counts.values()) == facts.rows
    assert [turn["from"] for turn in first] == ["human", "gpt"]
    # The card that the push rendered prints the report.
    card = factories.hala_release("card", "render", str(release), cwd=tmp_path)
    assert card.returncode == 0, card.stderr
    assert "![Share of rows that each rule dropped, repaired or flagged](reports/quality.png)" in card.stdout
    assert "| demo questions | the English source | 8 | 1 | 1 |" in card.stdout


def test_the_road_gives_the_same_bytes_on_ray(packed: Bundle, instructions: Path) -> None:
    out = instructions.parent / "out"
    (judged,) = (path.parent for path in (out / "judge").glob("*/manifest.json"))
    program = f"""
from pathlib import Path
from importlib import import_module
from hala_release.bundle import Bundle
from pipeline.executor import Ray
from pipeline.stage import load, run_stage
bundle = Bundle.open(Path({str(judged)!r}))
configs = {{"filter": "default", "dedup": "default", "decontaminate": "target-demo", "pack": "chat"}}
for name, file in configs.items():
    stage = import_module(f"pipeline.{{name}}").STAGE
    config = load(Path("pipeline/configs") / name / f"{{file}}.yaml", stage.config, {{}})
    config = config.model_copy(update={{"executor": Ray(kind="ray", workers=2)}})
    bundle = run_stage(stage, config, {{"rows": [bundle]}}, Path({str(out / "ray")!r}))
    print(bundle.manifest_sha256)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-1] == packed.manifest_sha256
