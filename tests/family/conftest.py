"""Stages that make and measure models, as a user starts them; they run in the environment of `make env-work`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from pipeline.demo import corpus, model

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".venv-work" / "bin" / "python"
ALONE = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def work() -> None:
    """The environment with the heavy libraries."""
    if not WORK.exists():
        pytest.skip("needs trl, mergekit, llm-compressor and lm-eval: run `make env-work`")


@pytest.fixture(scope="session")
def checkpoint(work: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001 -- nothing runs without
    """A model with the architecture of HALA's and random weights."""
    out = tmp_path_factory.mktemp("models") / "lfm2"
    model.write_model(out, [f"{pair['en']} {pair['ar']}" for _, pair in corpus.pairs()][:3000])
    return out


@pytest.fixture(scope="session")
def tiny(checkpoint: Path) -> Bundle:
    """The same, sealed."""
    return adopt(checkpoint, kind="model", out=checkpoint.parent / "tiny").bundle


def start_pipeline(*arguments: str | Path, variables: Mapping[str, str] = ALONE) -> subprocess.Popen[str]:
    """Start a stage, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_pipeline(*arguments: str | Path, variables: Mapping[str, str] = ALONE) -> Bundle:
    """Run a stage and return its result."""
    with start_pipeline(*arguments, variables=variables) as process:
        said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    return Bundle.open(Path(said.strip()))


def complaint_of(*arguments: str | Path, variables: Mapping[str, str] = ALONE) -> str:
    """Run a stage that fails as stages do, and return what it says."""
    with start_pipeline(*arguments, variables=variables) as process:
        _, complaint = process.communicate(timeout=300)
    assert process.returncode not in {0, -9}, complaint
    assert "Traceback" not in complaint, complaint
    assert "\n  fix: " in complaint, complaint
    return complaint
