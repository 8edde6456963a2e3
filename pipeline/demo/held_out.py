"""The demo's English-Arabic strings in two files: `train.jsonl` to learn from, and `test.jsonl` to be measured on.

An English text is in one of them only, however it is cased and spaced.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from pipeline.demo.corpus import pairs

EVERY = 128
"""One English text in so many is held out."""
LONGEST = 80
"""Characters of a text that is measured on: what a toy can be asked."""


def write(out: Path) -> tuple[int, int]:
    """Write both files, always the same bytes, and return their rows."""
    out.mkdir(parents=True, exist_ok=True)
    counts = [0, 0]
    with (
        (out / "train.jsonl").open("w", encoding="utf-8") as train,
        (out / "test.jsonl").open("w", encoding="utf-8") as test,
    ):
        for _, pair in pairs():
            key = " ".join(pair["en"].casefold().split())
            held = int(hashlib.sha256(key.encode()).hexdigest(), 16) % EVERY == 0
            if held and len(pair["en"]) > LONGEST:
                continue
            counts[held] += 1
            line = json.dumps({"en": pair["en"], "ar": pair["ar"]}, ensure_ascii=False)
            (test if held else train).write(line + "\n")
    return counts[0], counts[1]


def main() -> int:
    """Write them where the command line says."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.held_out", description="Write train and test pairs.")
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write into")
    train, test = write(parser.parse_args().out)
    sys.stderr.write(f"{train:,} pairs to learn from, {test:,} to be measured on\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
