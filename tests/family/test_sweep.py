"""Scores over t: the parents at the ends, merged models in between, and nothing done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hala_release.bundle import Bundle
from hala_release.manifest import weights_sha256
from tests.family.conftest import ALONE, ROOT
from tests.family.test_merge import model_of, trained

CONFIGS = ROOT / "pipeline" / "configs"
STEPS = ["--merge", str(CONFIGS / "merge/slerp.yaml"), "--evaluate", str(CONFIGS / "evaluate/demo.yaml")]


def sweep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.sweep", *STEPS, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **ALONE},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_sweep_scores_what_lies_between_two_models(tiny: Bundle, tmp_path: Path) -> None:
    tuned = model_of(tiny, tmp_path / "tuned", trained)
    parents = ["--from", f"tuned={tuned.root}", "--from", f"base={tiny.root}"]
    arguments = [*parents, "--t", "0.25,0", "--out", str(tmp_path)]
    done = sweep(*arguments)
    assert done.returncode == 0, done.stderr
    root = Path(done.stdout.strip())
    assert root.parent == tmp_path / "sweep"
    assert (root / "sweep.png").read_bytes().startswith(b"\x89PNG")
    first, second = json.loads((root / "sweep.json").read_bytes())["points"]
    (merged,) = (Bundle.open(path) for path in (tmp_path / "merge").iterdir())
    assert (first["t"], second["t"]) == (0, 0.25)
    assert first["weights_sha256"] == weights_sha256(tiny.manifest.files)
    assert second["weights_sha256"] == weights_sha256(merged.manifest.files)
    assert merged.manifest.provenance.config["t"] == 0.25
    assert [score["task"] for score in first["scores"]] == ["hala_demo_exam"]
    started = time.monotonic()
    assert sweep(*arguments).stdout == done.stdout
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "tuned=a", "--from", "base=b", "--t", "0,half"], "not all of it are numbers"),
        (["--from", "tuned=a", "--from", "base=b", "--t", "0,2"], "two values or more, from 0 to 1"),
        (["--from", "tuned=a"], "from one model to another"),
        (["--from", "tuned=a", "--from", "base=b"], "b is not a bundle"),
    ],
)
def test_what_cannot_be_swept_is_told(arguments: list[str], says: str) -> None:
    done = sweep(*arguments)
    assert done.returncode in {2, 3}
    assert says in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr
