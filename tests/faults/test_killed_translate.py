"""`translate` is killed with -9 at random moments: the corpus is that of an undisturbed run, nothing is asked twice.

ROUNDS in the environment says how often; `make faults` kills fifty times.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hala_release.bundle import Bundle
from pipeline.engines.answers import Answers, key
from pipeline.engines.echo import ROOT
from tests.stages.echoes import Running, bundle_of, conversation, echoing, tree

ROUNDS = int(os.environ.get("ROUNDS", "4"))
REQUESTS_A_ROUND = 40
"""At most, before the kill."""
SHARDS = 3
WORKERS = 2
CONCURRENCY = 8
DIGEST = "e1"


class Kill(NamedTuple):
    """What was known when the command was killed."""

    running: bool
    """Whether it had not ended by itself before."""
    received: int
    """Requests that the server had got."""
    kept: frozenset[bytes]
    """Of these, the ones whose answer lies in the cache."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Rows that need some more requests than the kills leave time for."""
    count = max(120, ROUNDS * REQUESTS_A_ROUND // 3)
    made = [
        conversation(
            number,
            f"Question {number}: what does `f_{number}()` do, and why?\n\n```\nf_{number}()\n```",
            f"It counts to {number}. " * (1 + number % 5),
        )
        for number in range(count)
    ]
    return bundle_of(made, tmp_path_factory.mktemp("rows") / "made", shards=SHARDS)


def command(rows: Bundle, server: Running, out: Path) -> list[str]:
    """Return the command of a user."""
    config = out.with_name(f"{out.name}.yaml")
    config.write_text(
        f"server: {{kind: endpoint, url: {server.url}, model: echo, digest: {DIGEST}}}\n"
        "segment_characters: 60\n"
        f"cache: {out}-answers\n"
        f"client: {{concurrency: {CONCURRENCY}, first_wait: 0.05}}\n"
        f"executor: {{kind: local, workers: {WORKERS}}}\n"
    )
    return [sys.executable, "-m", "pipeline", "translate", str(config), f"--from={rows.root}", f"--out={out}"]


def finished(arguments: Sequence[str]) -> Bundle:
    """Run the command to its end."""
    told = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return Bundle.open(Path(told.stdout.strip()))


def name(request: dict[str, Any]) -> bytes:
    """Return the key of a request in the journal."""
    parameters = {field: value for field, value in request.items() if field not in {"model", "messages"}}
    return key(request["messages"], DIGEST, parameters)


def killed(arguments: Sequence[str], server: Running, answers: Path) -> Kill:
    """Start the command, kill its whole process group at a random moment, and look at what is there."""
    before = len(server.entries())
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        wanted = before + secrets.randbelow(REQUESTS_A_ROUND)
        quiet = time.monotonic()
        seen = before
        while seen < wanted and process.poll() is None and (seen == before or time.monotonic() - quiet < 1):
            now = len(server.entries())
            quiet = time.monotonic() if now > seen else quiet
            seen = now
            time.sleep(0.001)
        time.sleep(secrets.randbelow(30) / 1_000)
        running = process.poll() is None
        if running:
            os.killpg(process.pid, signal.SIGKILL)
    time.sleep(0.3)  # requests that were on their way arrive
    names = [name(request) for request in server.asked()]
    with Answers(answers, "look") as cache:
        kept = frozenset(one for one in names if cache.get(one))
    return Kill(running, len(names), kept)


def test_the_corpus_is_that_of_an_undisturbed_run_and_nothing_is_asked_twice(rows: Bundle, tmp_path: Path) -> None:
    with echoing(tmp_path) as server:
        reference = finished(command(rows, server, tmp_path / "reference"))
        needed = Counter(map(name, server.asked()))
    (tmp_path / "journal.jsonl").unlink()
    assert set(needed.values()) == {1}

    with echoing(tmp_path, "--delay=0.01") as server:
        arguments = command(rows, server, tmp_path / "disturbed")
        kills = [killed(arguments, server, tmp_path / "disturbed-answers") for _ in range(ROUNDS)]
        result = finished(arguments)
        names = [name(request) for request in server.asked()]

    assert tree(result.files) == tree(reference.files)
    assert (result.root / "manifest.json").read_bytes() == (reference.root / "manifest.json").read_bytes()
    assert set(names) == set(needed)
    assert sum(kill.running for kill in kills) >= ROUNDS - 1
    for kill in kills:
        assert not kill.kept & set(names[kill.received :]), "an answer that lay in the cache was asked again"
        assert len(set(names[: kill.received]) - kill.kept) <= WORKERS * CONCURRENCY, "only what flew was lost"
    for one, times in Counter(names).items():
        flew = sum(one in names[: kill.received] and one not in kill.kept for kill in kills)
        assert times <= 1 + flew
    sys.stderr.write(f"{ROUNDS} kills, {len(needed)} requests, {len(names) - len(needed)} sent again\n")


def test_a_result_killed_after_its_last_answer_is_sealed_without_a_question(rows: Bundle, tmp_path: Path) -> None:
    with echoing(tmp_path) as server:
        reference = finished(command(rows, server, tmp_path / "out"))
        asked = len(server.asked())
        manifest = (reference.root / "manifest.json").read_bytes()
        files = tree(reference.files)
        for lost in ("work/report", "work/translate"):
            (reference.root / "manifest.json").unlink()
            shutil.rmtree(reference.root / lost)
            again = finished(command(rows, server, tmp_path / "out"))
            assert (again.root / "manifest.json").read_bytes() == manifest
            assert tree(again.files) == files
        assert len(server.asked()) == asked
