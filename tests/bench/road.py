"""`python -m tests.bench.road [ROWS]`: the road after translation, filter to pack, on a million rows made of real text.

English sides are real instructions with some words changed; Arabic sides are real Arabic sentences joined to the length
that a translation would have. Planted among them: copies, near copies, other answers to one prompt, defects, and items
of benchmarks. Seconds and the most memory of all processes together, for each stage; workers: 2.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from hala_release.bundle import Bundle
from pipeline import rows
from pipeline.executor import Local, Phase
from pipeline.row_stage import RowConfig, row_stage
from pipeline.stage import Stage, load, run_stage
from pipeline.storage import join

SHARED = Path(__file__).parents[2] / "../shared/data"
CONFIGS = Path(__file__).parents[2] / "pipeline/configs"
ROWS = 1_000_000
SHARD_ROWS = 50_000
ROAD = ("filter", "dedup", "decontaminate", "pack")
BENCHMARKS = ("arabic_exams_validation.jsonl", "acva_validation.jsonl")


class MadeConfig(RowConfig):
    """How many rows are made, and with which shares of what is planted."""

    rows: int = ROWS
    seed: int = 0
    copies: float = 0.05
    near: float = 0.08
    answers: float = 0.03
    defects: float = 0.03
    contaminated: float = 0.002


def made(config: MadeConfig, _shards: Sequence[str], files: str, _work: str) -> list[Phase]:
    """Make the rows, a shard a task."""
    return [Phase("make", [Make(config, files)], max(1, -(-config.rows // SHARD_ROWS)))]


MADE = row_stage("made", MadeConfig, made, needs_rows=False)


class Make(PipelineStep):
    """Write one shard of made rows."""

    type = "READER"
    name = "make"

    def __init__(self, config: MadeConfig, files: str) -> None:
        super().__init__()
        self.config = config
        self.folder = join(files, "data")

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        """Make the rows of one shard; what is planted has its twin in the same shard or the one before."""
        count = min(SHARD_ROWS, self.config.rows - rank * SHARD_ROWS)
        with rows.writing_rows(self.folder, rank, world_size) as write:
            for number in range(count):
                write(one_row(self.config, rank * SHARD_ROWS + number))


def one_row(config: MadeConfig, number: int, depth: int = 0) -> dict[str, Any]:
    """Make row `number`; the same number gives the same row."""
    pick = random.Random(f"{config.seed}:{number}")
    kind = pick.random() if number and depth < 3 else 1.0
    for name in ("copies", "near", "answers"):
        share = getattr(config, name)
        if kind < share:
            twin = one_row(config, pick.randrange(max(0, number - SHARD_ROWS), number), depth + 1)
            return _planted(twin, name, number, pick)
        kind -= share
    english, arabic = _pools()
    prompt, answer = (_edited(text, pick, 0.05) for text in pick.choice(english))
    asked, answered = (_arabic(len(text), pick, arabic) for text in (prompt, answer))
    if kind < config.defects:
        answered = _defect(answered, pick)
    elif kind < config.defects + config.contaminated:
        asked = " ".join(pick.choice(_items()))
    return _row(number, prompt, answer, asked, answered)


def _planted(twin: dict[str, Any], kind: str, number: int, pick: random.Random) -> dict[str, Any]:
    prompt, answer = (turn["text"] for turn in twin["turns"])
    asked, answered = (turn["text"] for turn in twin["target"])
    if kind == "near":
        asked, answered = _edited(asked, pick, 0.02), _edited(answered, pick, 0.02)
    if kind == "answers":
        answered = _arabic(len(answered), pick, _pools()[1])
    return _row(number, prompt, answer, asked, answered)


def _row(number: int, prompt: str, answer: str, asked: str, answered: str) -> dict[str, Any]:
    source = ("alpaca", "dolly", "orca")[number % 3]
    turns: list[rows.Turn] = [{"role": "user", "text": prompt}, {"role": "assistant", "text": answer}]
    target: list[rows.Target] = [{"text": text, "finish_reason": "stop"} for text in (asked, answered)]
    row = rows.new_row(source, "0" * 40, number, "apache-2.0", turns, target)
    return {**row, "verdict": {"accept": number % 17 != 0, "reason": ""}}


def _arabic(length: int, pick: random.Random, pool: list[str]) -> str:
    wanted, held = max(12, int(0.9 * length)), 0
    parts = []
    while held < wanted:
        parts.append(_edited(pick.choice(pool), pick, 0.1))
        held += len(parts[-1]) + 1
    text = " ".join(parts)
    return text if held < 2 * wanted else text[: text.find(" ", wanted) if text.find(" ", wanted) > 0 else wanted]


def _edited(text: str, pick: random.Random, share: float) -> str:
    words = text.split(" ")
    for _ in range(round(share * len(words) + pick.random() * 0.99)):
        words[pick.randrange(len(words))] = words[pick.randrange(len(words))]
    return " ".join(words)


def _defect(text: str, pick: random.Random) -> str:
    match pick.randrange(4):
        case 0:
            return (text[:40] + " ") * 20
        case 1:
            return "إليك الترجمة العربية:\n" + text
        case 2:
            return text + " <|im_end|>"
        case _:
            return "عذرًا، لا أستطيع المساعدة في ذلك."


@lru_cache(1)
def _pools() -> tuple[list[tuple[str, str]], list[str]]:
    """Return English instructions with answers, and Arabic sentences."""
    english = [
        (" ".join(filter(None, [row["instruction"], row[more]])), row[answer])
        for name, more, answer in (("alpaca_50k", "input", "output"), ("dolly_15k", "context", "response"))
        for row in _read(SHARED / f"en_instructions/{name}.jsonl.gz")
        if row["instruction"] and row[answer]
    ]
    texts = [
        row["ar"] for name in ("tatoeba", "ui_libreoffice") for row in _read(SHARED / f"pairs/{name}.en-ar.jsonl.gz")
    ]
    texts += [row["ar"] for row in _read(SHARED / "pairs/tico19_dev.en-ar.jsonl")]
    texts += [row["context"] for row in _read(SHARED / "ar_instructions/arcd_train.jsonl.gz")]
    texts += [row["context_ar"] for row in _read(SHARED / "ar_instructions/xquad_en_ar_dev.jsonl.gz")]
    return english, sorted({part for text in texts for part in text.split(". ") if len(part) > 10})


@lru_cache(1)
def _items() -> list[tuple[str, ...]]:
    """Return items of benchmarks as a row would hold them."""
    found = [row for name in BENCHMARKS for row in _read(SHARED / "benchmarks" / name)]
    return [(row["question"], *(row[key] for key in "ABCD" if key in row), row["answer"]) for row in found]


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@dataclass
class Measure:
    """What a stage took."""

    stage: str
    seconds: float = 0.0
    memory: int = 0
    """The most bytes that all its processes together held, shared pages counted once."""
    rows: dict[str, int] = field(default_factory=dict)


def road(work: Path, count: int = ROWS, workers: int = 2, stages: Sequence[str] = ROAD) -> list[Measure]:
    """Run the stages one after the other on made rows, and return what each took; `work` keeps the rows made."""
    run = Local(workers=workers)
    bundle = run_stage(MADE, MadeConfig(rows=count, executor=run), {}, work)
    found = []
    for name in stages:
        stage: Stage[Any] = import_module(f"pipeline.{name}").STAGE
        config = load(CONFIGS / ROAD_CONFIGS[name], stage.config, {"executor": {"kind": "local", "workers": workers}})
        took = Measure(name)
        with tempfile.TemporaryDirectory(dir=work) as out, _memory(took):
            start = time.perf_counter()
            result = run_stage(stage, config, {"rows": [bundle]}, Path(out))
            took.seconds = time.perf_counter() - start
            kept = work / "road" / name
            _replace(result.root, kept)
        bundle = Bundle.open(kept)
        took.rows = {f"{one.name}/{split.name}": split.rows for one in _configs(bundle) for split in one.splits}
        found.append(took)
    return found


ROAD_CONFIGS = {
    "filter": "filter/default.yaml",
    "dedup": "dedup/default.yaml",
    "decontaminate": "decontaminate/local.yaml",
    "pack": "pack/chat.yaml",
}


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _configs(bundle: Bundle) -> Sequence[Any]:
    facts = bundle.manifest.facts
    assert facts.kind == "dataset"
    return facts.configs


@contextmanager
def _memory(took: Measure) -> Iterator[None]:
    """Note the most memory that this process and those under it hold, looking five times a second."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            took.memory = max(took.memory, sum(map(_held, _tree(os.getpid()))))

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it is gone
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [root]
    for one in found:
        found += children.get(one, [])
    return found


def _held(process: int) -> int:
    """Return the bytes of a process, each shared page divided among those that share it."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=ROWS)
    parser.add_argument("--work", type=Path, help="keeps the rows made from one run to the next")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--stages", nargs="*", default=[name for name in ROAD if importlib.util.find_spec(f"pipeline.{name}")]
    )
    given = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit("the rows are made of ../shared/data, which is not here")
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        print(f"{given.rows:,} rows, {given.workers} workers, load {os.getloadavg()[0]:.1f}")
        total = 0.0
        for took in road(work, given.rows, given.workers, given.stages):
            total += took.seconds
            held = ", ".join(f"{name} {count:,}" for name, count in took.rows.items())
            print(f"{took.stage:14}{took.seconds:>8.1f} s{took.memory / 1e6:>10,.0f} MB   {held}", flush=True)
        print(f"{'all':14}{total:>8.1f} s")


if __name__ == "__main__":
    main()
