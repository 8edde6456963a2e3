"""Bundles of rows that a test writes itself, and what a stage makes of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hala_release.bundle import Bundle, seal
from hala_release.manifest import Provenance
from hala_release.payload.parquet import dataset_facts
from pipeline import rows
from pipeline.rows import Row, Target, Turn

ROOT = Path(__file__).parents[2]
WORDS = [f"{start}{middle}{end}" for start in "بتجدرسعقمن" for middle in "اويل" for end in ("ب", "ت", "دة", "ر", "س")]
"""Two hundred made-up Arabic words."""


def row(number: int, *said: str, arabic: Sequence[str] | None = None, source: str = "made", **more: Any) -> Row:  # noqa: ANN401
    """Make a row of turns that take turns, user first; `arabic` is its translation."""
    turns = [Turn(role=("user", "assistant")[place % 2], text=text) for place, text in enumerate(said)]
    target = None if arabic is None else [Target(text=text, finish_reason="stop") for text in arabic]
    return Row(**{**rows.new_row(source, "0" * 40, number, "mit", turns, target), **more})  # type: ignore[typeddict-item]


def bundle_of(root: Path, shards: Sequence[Sequence[Row]]) -> Bundle:
    """Seal rows as a stage would have left them."""
    for rank, shard in enumerate(shards):
        with rows.writing_rows(str(root / "files" / "data"), rank, len(shards)) as write:
            for one in shard:
                write(one)
    paths = [f"data/train-{rank:05d}-of-{len(shards):05d}.parquet" for rank in range(len(shards))]
    facts = dataset_facts(root / "files", paths)
    return seal(root, name="planted", facts=facts, provenance=Provenance(stage="planted"), digests={})


def read(bundle: Bundle, config: str = "data", split: str = "train") -> list[dict[str, Any]]:
    """Return the rows of a configuration, shard after shard."""
    return [one for path in sorted((bundle.files / config).glob(f"{split}-*")) for one in rows.read_rows(str(path))]


def sentence(pick: random.Random, words: int) -> str:
    """Return some made-up words."""
    return " ".join(pick.choices(WORDS, k=words))


def killed_and_resumed(command: Sequence[str], out: Path, moments: Sequence[str]) -> str:
    """Kill a command with all its processes when files that match each pattern appear in `out`, one pattern a run.

    Then let it finish, and return what it prints.
    """
    argv = [sys.executable, "-m", *command, "--out", str(out)]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    for moment in moments:
        running = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not any(out.glob(moment)):
            assert running.poll() is None, f"it ended before {moment} was there"
            time.sleep(0.002)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert not any(out.glob("*/*/manifest.json"))
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
