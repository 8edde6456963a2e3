"""The release layer: each number beside a peer's from the same run.

Start-up beside `hf`; conversion and moved bytes beside `datasets`; a push beside `upload_folder`. Times are the best of
some runs on this machine; bytes are what an embedded Hub received. Rows are made from the demo's sentences, or read
from a JSON lines file: `python -m tests.bench.release ROWS.jsonl.gz`.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hala_release.manifest import Kind

ROWS = 50_000
Row = dict[str, Any]


def main() -> None:
    """Print one table."""
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        os.environ["HF_HOME"] = str(work / "home")
        rows = list(_read(Path(sys.argv[1]))) if len(sys.argv) > 1 else _made_rows()
        print(f"{len(rows):,} rows\n")
        print(f"{'':66}{'hala-release':>16}{'peer':>16}{'ratio':>8}")
        _start_up()
        _conversion(rows, work)
        _moved_bytes(rows, work)
        _push(work)


def _row(name: str, ours: float, peer: float, unit: str) -> None:
    print(f"{name:66}{ours:>13,.2f} {unit:2}{peer:>13,.2f} {unit:2}{ours / peer:>8.2f}", flush=True)


def _best(action: Callable[[], object], runs: int = 3) -> float:
    """Return the shortest time in seconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def _start_up() -> None:
    here = Path(sys.executable).parent
    ours, peer = (
        _best(lambda name=name: subprocess.run([here / name, "--help"], stdout=subprocess.DEVNULL, check=True), 5)  # type: ignore[misc]
        for name in ("hala-release", "hf")
    )
    _row("--help, beside hf", ours, peer, "s")


def _conversion(rows: list[Row], work: Path) -> None:
    from datasets import load_dataset

    from hala_release.payload import shards

    source = _write(work / "conversion.jsonl", rows)
    ours = _best(lambda: shards.write_shards(source, work / "ours", stem="train", scratch=work / "scratch"))

    def peer() -> None:
        with tempfile.TemporaryDirectory(dir=work) as cache:
            dataset = load_dataset("json", data_files=str(source), split="train", cache_dir=cache)
            dataset.to_parquet(work / "peer.parquet")

    _row("JSON lines to Parquet, beside datasets", ours, _best(peer), "s")


def _moved_bytes(rows: list[Row], work: Path) -> None:
    """Compare the second version's bytes on the wire, in MB, under Xet."""
    from datasets import Dataset

    from hala_release.payload import shards

    def ours(version: list[Row], name: str) -> Path:
        source = _write(work / f"{name}.jsonl", version)
        return shards.write_shards(source, work / "ours" / name, stem="train", scratch=work / "scratch")[0][0]

    def peer(version: list[Row], name: str) -> Path:
        path = work / f"{name}.parquet"
        Dataset.from_list(version).to_parquet(path)
        return path

    edits = _edits(rows)
    for name, edited in {"first version": rows, **edits}.items():
        moved = []
        for write in (ours, peer):
            with _hub(work) as send:
                received = send(write(rows, "first"))
                moved.append((received if edited is rows else send(write(edited, "second"))) / 1e6)
        _row(f"sent by Xet, beside datasets: {name}", moved[0], moved[1], "MB")


def _edits(rows: list[Row]) -> dict[str, list[Row]]:
    """Return second versions that each differ in 1% of the rows."""
    pick = random.Random(1)
    count, share = len(rows), len(rows) // 100
    column = next(key for key in reversed(rows[0]) if isinstance(rows[0][key], str))

    def changed(row: Row) -> Row:
        return {**row, column: f"{row[column]} {pick.random()}"}

    added = [
        {**changed(rows[index]), "id": f"row-{count + n}"} for n, index in enumerate(pick.sample(range(count), share))
    ]
    scattered = set(pick.sample(range(count), share))
    third = count // 3
    return {
        "1% appended": rows + added,
        "1% appended, 1% changed in one place": [
            changed(row) if third <= index < third + share else row for index, row in enumerate(rows)
        ]
        + added,
        "1% deleted in one place": rows[:third] + rows[third + share :],
        "1% changed, scattered": [changed(row) if index in scattered else row for index, row in enumerate(rows)],
    }


def _push(work: Path) -> None:
    """Publish 600 small files and 64 MB: time, and commits a reader sees."""
    from huggingface_hub import HfApi

    from hala_release import plan, push
    from hala_release.adopt import adopt
    from hala_release.hub import Hub
    from hala_release.localhub import daemon
    from hala_release.release import load
    from hala_release.wanted import wanted
    from tests import factories

    ours_folder, peer_folder = (_folder(work / f"checkpoint-{seed}", seed) for seed in (0, 1))
    adopt(ours_folder, kind="model", out=work / "sealed")
    artifact = {"kind": "model", "repo": "ours", "bundle": "sealed"}
    release = load(factories.write_release(work / "release.yaml", artifacts=[artifact]))
    running = daemon.start(work / "push-hub")
    try:
        api = HfApi(endpoint=running.url, token=running.token)
        hub = Hub(running.url, running.token)

        def ours() -> None:
            wants = wanted(release, work)
            push.perform(plan.make(release, wants, hub), wants, hub, receipts=work / "receipts.jsonl")

        def peer() -> None:
            api.create_repo("peer/model")
            api.upload_folder(repo_id="peer/model", folder_path=peer_folder)

        _row("push of 600 files and 64 MB, beside upload_folder", _best(ours, 1), _best(peer, 1), "s")
        commits = [len(api.list_repo_commits(repo)) - 1 for repo in (release.repo_id("ours"), "peer/model")]
        _row("commits of that push", commits[0], commits[1], "")
    finally:
        daemon.stop(work / "push-hub")


def _folder(path: Path, seed: int) -> Path:
    """Write a checkpoint with 600 small files and 64 MB that no other folder has."""
    from tests import factories

    factories.write_model(path)
    (path / "notes").mkdir()
    for number in range(600):
        (path / "notes" / f"{number}.txt").write_text(f"note {number} of {seed}\n")
    (path / "blob.dat").write_bytes(random.Random(seed).randbytes(64_000_000))
    return path


@contextmanager
def _hub(work: Path) -> Iterator[Callable[[Path], int]]:
    """Yield a function that publishes a file on a Hub that has nothing, and returns the bytes that it received."""
    from huggingface_hub import CommitOperationAdd, HfApi

    from hala_release.hub import Hub
    from hala_release.localhub import daemon

    root = Path(tempfile.mkdtemp(dir=work))
    running = daemon.start(root / "hub")
    api = HfApi(endpoint=running.url, token=running.token)
    hub = Hub(running.url, running.token)
    repos: list[tuple[Kind, str]] = [("dataset", "bench/data")]
    api.create_repo("bench/data", repo_type="dataset")

    def send(file: Path) -> int:
        before = hub.received_bytes(repos) or 0
        operations = [CommitOperationAdd("data.parquet", str(file))]
        api.create_commit("bench/data", operations, commit_message="version", repo_type="dataset")
        return (hub.received_bytes(repos) or 0) - before

    try:
        yield send
    finally:
        daemon.stop(root / "hub")


def _made_rows() -> list[Row]:
    from pipeline.demo.corpus import pairs

    pick = random.Random(0)
    sentences = [pair[side] for _, pair in pairs() for side in ("en", "ar")]
    return [
        {
            "id": f"row-{number}",
            "instruction": pick.choice(sentences),
            "output": " ".join(pick.choices(sentences, k=pick.randint(1, 12))),
        }
        for number in range(ROWS)
    ]


def _read(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
