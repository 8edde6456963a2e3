"""The demo's English-Arabic strings in two files: `train.jsonl` to learn from, and `test.jsonl` to be measured on.

An English text is in one of them only, however it is cased and spaced.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from hala_release.disk import write_atomic
from pipeline.demo.corpus import pairs

EVERY = 128
"""One English text in so many is held out."""
LONGEST = 80
"""Characters of a text that is measured on: what a toy can be asked."""


def write(out: Path) -> tuple[int, int]:
    """Write both files, always the same bytes, and return their rows."""
    train: list[str] = []
    test: list[str] = []
    for _, pair in pairs():
        key = " ".join(pair["en"].casefold().split())
        held = int(hashlib.sha256(key.encode()).hexdigest(), 16) % EVERY == 0
        if not held or len(pair["en"]) <= LONGEST:
            line = json.dumps({"en": pair["en"], "ar": pair["ar"]}, ensure_ascii=False)
            (test if held else train).append(line + "\n")
    out.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train", train), ("test", test)):
        write_atomic(out / f"{name}.jsonl", "".join(lines).encode())
    return len(train), len(test)


def main() -> int:
    """Write them where the command line says."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.held_out", description="Write train and test pairs.")
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write into")
    train, test = write(parser.parse_args().out)
    sys.stderr.write(f"{train:,} pairs to learn from, {test:,} to be measured on\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
