"""Real engines: `make engines` makes their environment and runs this folder; elsewhere what needs it is skipped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.demo import corpus, model

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "out" / "models"


@pytest.fixture(scope="session")
def environment() -> Path:
    """Where vLLM is installed."""
    if not (found := os.environ.get("HALA_SERVE")):
        pytest.skip("needs vLLM: run `make engines`")
    return Path(found)


@pytest.fixture(scope="session")
def lfm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the architecture of HALA's translator and random weights."""
    out = tmp_path_factory.mktemp("models") / "lfm2"
    model.write_model(out, [f"{pair['en']} {pair['ar']}" for _, pair in corpus.pairs()][:3000])
    return out


@pytest.fixture(scope="session")
def gemma(environment: Path) -> Path:
    """Gemma 3 270M, written once per checkout."""
    return _packaged("gemma", environment)


@pytest.fixture(scope="session")
def smollm(environment: Path) -> Path:
    """SmolLM2-135M-Instruct, likewise."""
    return _packaged("smollm", environment)


def _packaged(name: str, environment: Path) -> Path:
    out = MODELS / name
    made = subprocess.run(
        [environment / "bin" / "python", "-m", "pipeline.demo.packaged", name, out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return out
