"""`python -m tests.bench.translate`: what the translate stage costs, on an engine that computes nothing.

    busy    the echo server answers at once, so the stage and the bare client are measured against each other
    paced   it answers as an engine does, token by token for so many requests at a time: what the stage keeps of that
    cache   a million answers: writing them, finding them again, and what that takes of memory

`tests.bench.serve` measures the same on vLLM.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import NamedTuple

from pipeline.demo import corpus
from pipeline.engines import echo
from pipeline.engines.answers import Answer, Answers
from pipeline.engines.echo import Echo
from pipeline.translate import TranslateConfig
from tests.bench.serve import Served, measure

ENTRIES = 1_000_000


class Kept(NamedTuple):
    """What a million answers take."""

    written: float
    """Microseconds an answer."""
    loaded: float
    """Seconds until the index stands."""
    unindexed: float
    """Seconds where the index files are gone and every answer is read."""
    found: float
    """Microseconds an answer that is there."""
    missed: float
    """Microseconds an answer that is not."""
    peak: float
    """Bytes of memory an answer, at most while the index is made."""

    def line(self) -> str:
        """Say it to a person."""
        return (
            f"{ENTRIES:,} answers: {self.written:.0f} us to write one, {self.loaded:.2f} s to load all "
            f"({self.unindexed:.2f} s without the index), {self.found:.0f} us to find one, {self.missed:.0f} us to "
            f"miss one, at most {self.peak:.0f} bytes of memory each"
        )


def served(server: Echo, scratch: Path, *, texts: int, concurrency: int, joined: int = 1) -> Served:
    """Compare the stage with the bare client on an echo server; a text is so many sentences."""
    sentences = list(dict.fromkeys(pair["en"] for _, pair in corpus.pairs()))[: texts * joined]
    chosen = [" ".join(sentences[start : start + joined]) for start in range(0, len(sentences), joined)]
    plain = TranslateConfig(server=server, protect=())
    with echo.serving(server, scratch / "echo.log") as endpoint:
        return measure(endpoint, chosen, plain, concurrency, scratch)


def name(number: int) -> bytes:
    """Make a key."""
    return hashlib.sha256(b"%d" % number).digest()


def kept(folder: Path) -> Kept:
    """Measure the cache; loading in a process of its own, whose memory is looked at."""
    start = time.perf_counter()
    with Answers(folder, "00000") as answers:
        for number in range(ENTRIES):
            answers.put(name(number), Answer("كلمة " * 60 + str(number), "stop", 100, 100))
    written = (time.perf_counter() - start) / ENTRIES * 1e6
    loaded, peak = looked(folder)
    with Answers(folder, "00001") as answers:
        start = time.perf_counter()
        assert all(answers.get(name(number)) for number in range(0, ENTRIES, 10))
        found = (time.perf_counter() - start) / (ENTRIES / 10) * 1e6
        start = time.perf_counter()
        assert not any(answers.get(name(-number)) for number in range(1, ENTRIES, 10))
        missed = (time.perf_counter() - start) / (ENTRIES / 10) * 1e6
    for index in folder.glob("*.index"):
        index.unlink()
    return Kept(written, loaded, looked(folder)[0], found, missed, peak)


def looked(folder: Path) -> tuple[float, float]:
    """Return seconds and bytes an answer that loading takes."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.translate", str(folder)], capture_output=True, text=True, check=True
    )
    seconds, peak = map(float, told.stdout.split())
    return seconds, peak


def main() -> int:
    """Print the figures; leave with 1 where the stage keeps less than 95% of a paced engine."""
    if len(sys.argv) > 1:
        start = time.perf_counter()
        with Answers(Path(sys.argv[1]), "00001"):
            seconds = time.perf_counter() - start
        tracemalloc.start()
        with Answers(Path(sys.argv[1]), "00001") as answers:
            sys.stdout.write(f"{seconds} {tracemalloc.get_traced_memory()[1] / len(answers)}\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        busy = served(Echo(kind="echo", model="busy"), scratch / "busy", texts=4_000, concurrency=64)
        sys.stdout.write(f"{busy.line()}; {requests(busy):,.0f} requests/s\n")
        # 64 requests at a time, 100 tokens/s each: what vLLM makes of a model of 1B on a small GPU.
        paced = Echo(kind="echo", model="paced", slots=64, token_delay=0.01)
        engine = served(paced, scratch / "paced", texts=800, concurrency=96, joined=12)
        sys.stdout.write(f"{engine.line()}; {requests(engine):,.0f} requests/s\n")
        sys.stdout.write(kept(scratch / "answers").line() + "\n")
    return int(engine.ratio < 0.95)


def requests(bench: Served) -> float:
    """Return the requests per second of the stage's best round."""
    return bench.requests / min(run.seconds for run in bench.stage)


if __name__ == "__main__":
    sys.exit(main())
