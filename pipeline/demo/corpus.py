"""The demo corpus: real English-Arabic software strings in the released schema.

Arabic text is normalised to NFC and otherwise kept as its translators wrote it. A row that would need more than that is
dropped and counted, never repaired. Placeholders such as `%(name)s` stay: both sides of a row carry the same ones.
Zero-width joiners and non-joiners stay too, because Arabic spelling uses them.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hala_release.errors import ContractError, HalaError

DATA = Path(__file__).parent / "data"
SOURCES = {
    "permissive": DATA / "ui_permissive.en-ar.jsonl.gz",
    "libreoffice": DATA / "ui_libreoffice.en-ar.jsonl.gz",
}
LICENSES = DATA / "LICENSES"

PROMPT = "Translate everything that follows into Arabic:\n\n{text}"
"""The user turn that HALA documents for its English to Arabic translator."""

VALIDATION_SHARE = 50
"""One English text in this many goes to validation."""

DEFECTS = {
    "bidi control": re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
    "replacement character": re.compile("\ufffd"),
    "presentation form": re.compile("[\ufb50-\ufdff\ufe70-\ufefc]"),
    "zero-width space": re.compile("[\u200b\ufeff]"),
}


@dataclass(frozen=True)
class Tally:
    """How many rows were written to each split, and how many were dropped for each reason."""

    kept: dict[str, int]
    dropped: dict[str, int]


def write_corpus(out: Path) -> Tally:
    """Write `train.jsonl`, `validation.jsonl`, `ATTRIBUTION.md` and `LICENSES/` into `out`, always the same bytes."""
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    dropped = dict.fromkeys([*DEFECTS, "duplicate"], 0)
    seen: set[tuple[str, str]] = set()
    for kind, pair in pairs():
        english, arabic = (unicodedata.normalize("NFC", pair[side]) for side in ("en", "ar"))
        reason = "duplicate" if (english, arabic) in seen else defect(english + "\n" + arabic)
        if reason:
            dropped[reason] += 1
            continue
        seen.add((english, arabic))
        splits[split_of(english)].append(
            {
                "id": identifier(kind, english, arabic),
                "conversations": [
                    {"from": "human", "value": PROMPT.format(text=english)},
                    {"from": "gpt", "value": arabic},
                ],
                "source": pair["source"],
                "license": pair["licence"],
            }
        )

    rows = [row for split in splits.values() for row in split]
    out.mkdir(parents=True, exist_ok=True)
    copy_licenses({row["license"] for row in rows}, out / "LICENSES")
    (out / "ATTRIBUTION.md").write_text(attribution(rows), encoding="utf-8", newline="\n")
    for split, members in splits.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in sorted(members, key=lambda row: row["id"]))
        (out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    return Tally(kept={split: len(members) for split, members in splits.items()}, dropped=dropped)


def pairs() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every pair of the committed files with the kind of its source."""
    for kind, path in SOURCES.items():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield kind, json.loads(line)


def sample(count: int) -> list[dict[str, Any]]:
    """Return so many pairs, spread over all of them: always the same."""
    found = [pair for _, pair in pairs()]
    return found[:: max(1, len(found) // count)][:count]


def defect(text: str) -> str | None:
    """Name the first reason for which a text is not fit to be released, if there is one."""
    return next((name for name, pattern in DEFECTS.items() if pattern.search(text)), None)


def split_of(english: str) -> str:
    """Choose the split from the words alone, so that texts which differ in case or punctuation stay together."""
    words = " ".join(re.findall(r"\w+", english.casefold()))
    number = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
    return "validation" if number % VALIDATION_SHARE == 0 else "train"


def identifier(kind: str, english: str, arabic: str) -> str:
    """Name a row after its text, so that it keeps its name when other rows come or go."""
    digest = hashlib.sha256(f"{english}\0{arabic}".encode()).hexdigest()
    return f"{kind}-{digest[:16]}"


def copy_licenses(licenses: set[str], out: Path) -> None:
    """Copy the licence texts, after making sure that no row's licence is without one."""
    missing = sorted(name for name in licenses if not (LICENSES / f"{name}.txt").is_file())
    if missing:
        raise ContractError(
            f"rows are licensed under {', '.join(missing)}, and {LICENSES} has no such text",
            fix=f"add the text as {LICENSES / (missing[0] + '.txt')}",
        )
    out.mkdir(exist_ok=True)
    for path in sorted(LICENSES.iterdir()):
        shutil.copyfile(path, out / path.name)


def attribution(rows: list[dict[str, Any]]) -> str:
    """Say whose text this is, under which licence, and what was changed."""
    counts = Counter((row["source"], row["license"]) for row in rows)
    table = "\n".join(
        f"| {source} | {name} | {count:,} |"
        for (source, name), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    return f"""# Attribution

The texts are strings of free software, written and translated by the contributors of these projects.
Every row names its `source` and its `license`; the licence texts and notices are in `LICENSES/`.

| source | license | rows |
|---|---|---:|
{table}

Changed for this corpus: strings were selected, normalised to Unicode NFC and set into conversations.
LibreOffice's own form of its strings is at <https://git.libreoffice.org/translations>.
"""


def main() -> int:
    """Write the corpus where the command line says, and tell what was kept and dropped."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.corpus", description="Write the demo corpus.")
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write into")
    try:
        tally = write_corpus(parser.parse_args().out)
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    for verb, counts in (("kept", tally.kept), ("dropped", tally.dropped)):
        for name, count in counts.items():
            sys.stderr.write(f"{verb} {count:,} ({name})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
