"""The whole rule table beside two filters of datatrove, on the same rows in one process.

The peer reads the targets only; the rules read sources and targets, repair, and count for the report.
"""

from __future__ import annotations

import gzip
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter

from pipeline.filter import BATCH_ROWS
from pipeline.quality import Tally
from pipeline.rows import Row, Target, Turn, new_row
from pipeline.rules.table import Judge, Rules

DATA = Path(__file__).parents[2] / "../shared/data/pairs/tico19_dev.en-ar.jsonl"
SENTENCES = (
    ("The bread cools on the shelf for an hour.", "يبرد الخبز على الرف مدة ساعة."),
    ("Then cut it in thin slices and keep them dry.", "ثم اقطعه شرائح رقيقة واحفظها جافة."),
    ("Our library opens at nine in the morning.", "تفتح مكتبتنا في التاسعة صباحا."),
    ("Whoever borrows a book brings it back within a month.", "من يستعير كتابا يعيده خلال شهر."),
    ("The river was high after the rain of last week.", "كان النهر مرتفعا بعد أمطار الأسبوع الماضي."),
    ("She measured the walls twice and wrote both numbers down.", "قاست الجدران مرتين ودونت الرقمين معا."),
)


def made_rows(count: int) -> list[Row]:
    """Return rows of about 150 characters of request and 500 of answer, of human pairs where they are at hand."""
    pairs = list(SENTENCES)
    if DATA.exists():
        text = gzip.decompress(DATA.read_bytes()) if DATA.suffix == ".gz" else DATA.read_bytes()
        pairs = [(one["en"], one["ar"]) for one in map(json.loads, text.splitlines())]
    supply = itertools.cycle(pairs)

    def turn(size: int) -> tuple[str, str]:
        source: list[str] = []
        target: list[str] = []
        while len(" ".join(source)) < size:
            english, arabic = next(supply)
            source.append(english)
            target.append(arabic)
        return " ".join(source), " ".join(target)

    rows = []
    for number in range(count):
        texts = [turn(110), turn(440)]
        turns = [Turn(role=role, text=text[0]) for role, text in zip(("user", "assistant"), texts, strict=True)]  # type: ignore[typeddict-item]
        target = [Target(text=text[1], finish_reason="stop") for text in texts]
        rows.append(new_row("bench", "0" * 40, number, "cc0-1.0", turns, target))
    return rows


def measure(rows: Sequence[Row], language: str = "ara", runs: int = 3) -> tuple[float, float]:
    """Return the seconds of the rule table and those of the two Gopher filters, the best of some runs."""
    judge = Judge(Rules())
    judge.judge(rows[:10])

    def ours() -> None:
        tally = Tally(3)
        for start in range(0, len(rows), BATCH_ROWS):
            tally.add(*judge.judge(rows[start : start + BATCH_ROWS]))

    filters = (GopherRepetitionFilter(language=language), GopherQualityFilter(language=language))
    texts = [[turn["text"] for turn in row["target"] or ()] for row in rows]

    def gopher() -> None:
        for row in texts:
            for text in row:
                for one in filters:
                    one.filter(Document(text=text, id=""))

    filters[0].filter(Document(text="كلمة أولى", id=""))
    return _best(ours, runs), _best(gopher, runs)


def _best(action: Callable[[], None], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print milliseconds a row, for Arabic words and for datatrove's default."""
    rows = made_rows(2_000)
    for language in ("ara", "eng"):
        ours, gopher = measure(rows, language)
        sys.stdout.write(
            f"{language}: {1000 * ours / len(rows):.3f} ms a row, Gopher {1000 * gopher / len(rows):.3f} ms\n"
        )


if __name__ == "__main__":
    main()
