"""A sheet for two human readers, and what they agree on.

    python -m pipeline.audit sheet BUNDLE --rows 300 --out sheet.csv
    python -m pipeline.audit agreement FIRST.csv SECOND.csv --out audit.json

Rows are drawn by a digest of their id, from each source as many as its share. With `--dropped N` the sheet holds rows
that a rule dropped as well, without a sign of it, so that the readers judge the rules, too; which rule it was stands in
a file of its own, `SHEET.key.csv`. Dropped rows of which only the start is kept are not drawn: readers would see it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import heapq
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError, HalaError
from pipeline import rows
from pipeline.storage import writing

ANSWERS = ("adequacy 1-5", "fluency 1-5", "format ok", "error category", "comment")
CATEGORIES = (
    "none", "mistranslation", "omission", "addition", "untranslated", "terminology", "grammar", "spelling", "register",
    "markup", "hallucination", "source",
)  # fmt: skip
"""A short list after MQM; `source` means that the original is at fault."""
COLUMNS = ("id", "source turns", "target turns", *ANSWERS)
GOOD = 4
"""A row is good when a reader gives it this for adequacy and fluency, and its format is right."""
DRAWS = 2_000
Table = dict[str, dict[str, str]]


class Pick(NamedTuple):
    """A row of the sheet, and the rule that dropped it, or nothing."""

    order: str
    row: dict[str, Any]
    rule: str


class Sheet(NamedTuple):
    """The rows of a sheet in their order, and how many could not be drawn."""

    picks: list[Pick]
    cut: int
    """Dropped rows of which only the start is kept."""


def sheet(bundle: Bundle, count: int, dropped: int, seed: int) -> Sheet:
    """Draw rows for the sheet; the same bundle and seed give the same rows in the same order.

    Raises:
        ContractError: the bundle does not hold rows.
    """
    try:
        shards = rows.shards([bundle])
    except ContractError as error:
        raise ContractError(str(error), fix="give the bundle of `filter`, or of another stage before `pack`") from error
    picks, cut = _draw(shards, count, seed), 0
    if dropped:
        shards = rows.shards([bundle], "dropped")
        picks += _draw(shards, dropped, seed, _whole)
        cut = sum(not _whole(row) for shard in shards for row in rows.read_rows(shard))
    return Sheet(sorted(picks, key=lambda pick: pick.order), cut)


def _whole(row: Mapping[str, Any]) -> bool:
    """Tell whether a dropped row is kept as it was; a text of just so many characters may be cut."""
    return all(len(turn["text"]) < rows.DROPPED_CHARACTERS for turn in (*row["turns"], *(row["target"] or ())))


def _draw(
    shards: Sequence[str], count: int, seed: int, fit: Callable[[Mapping[str, Any]], bool] = lambda _: True
) -> list[Pick]:
    """Draw rows that fit, from each source its share, at least one; memory is that of the rows drawn."""
    sizes = Counter(row["source"] for shard in shards for row in filter(fit, rows.read_rows(shard)))
    if not sizes:
        return []
    wanted = _shares(sizes, min(count, sizes.total()))
    best: dict[str, list[tuple[int, int, str, dict[str, Any]]]] = defaultdict(list)
    number = 0
    for shard in shards:
        for row in filter(fit, rows.read_rows(shard)):
            number += 1
            order = hashlib.sha256(f"{seed} {row['id']}".encode()).hexdigest()
            heap = best[row["source"]]
            entry = (-int(order[:15], 16), -number, order, row)
            if len(heap) < wanted[row["source"]]:
                heapq.heappush(heap, entry)
            elif heap and entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, entry)
    return [Pick(order, row, row.get("rule") or "") for heap in best.values() for _, _, order, row in heap]


def _shares(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Divide `count` by size, the largest remainders first; where there is room, nobody goes empty."""
    total = sum(sizes.values())
    exact = {name: count * size / total for name, size in sizes.items()}
    least = 1 if count >= len(sizes) else 0
    shares = {name: max(least, int(part)) for name, part in exact.items()}
    by_need = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    while (left := count - sum(shares.values())) != 0:
        step = 1 if left > 0 else -1
        for name in by_need if step > 0 else reversed(by_need):
            if least <= shares[name] + step <= sizes[name]:
                shares[name] += step
                left -= step
            if left == 0:
                break
    return shares


def as_csv(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> bytes:
    """Return a table that spreadsheets open as UTF-8, with no cell that they would run as a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([[_cell(cell) for cell in line] for line in lines])
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", "replace")


_CELL_LIMIT = 32_000
"""Spreadsheets cut cells at 32,767 characters."""


def _cell(text: str) -> str:
    text = "".join(sign for sign in text if sign >= " " or sign in "\n\t")
    text = text if len(text) <= _CELL_LIMIT else f"{text[:_CELL_LIMIT]} […]"
    return f"'{text}" if text.lstrip(" \n\t")[:1] in tuple("=+-@＝＋－＠|%") else text


def _lines(picks: Sequence[Pick]) -> list[list[str]]:
    lines = []
    for pick in picks:
        roles = [turn["role"] for turn in pick.row["turns"]]
        sides = ([turn["text"] for turn in pick.row["turns"]], [turn["text"] for turn in pick.row["target"] or ()])
        source, target = (
            "\n\n".join(f"[{role}] {text}" for role, text in zip(roles, side, strict=False)) for side in sides
        )
        lines.append([pick.row["id"], source, target, *([""] * len(ANSWERS))])
    return lines


def read_sheet(path: Path) -> Table:
    """Read a sheet that a reader filled in, whatever separator the spreadsheet wrote.

    Raises:
        ConfigError: a column is missing, or an answer is none that can be counted; names all of them.
    """
    table = {(line["id"] or "").removeprefix("'"): _answers(line) for line in _read(path, ("id", *ANSWERS))}
    if problems := [f"{row}: {problem}" for row, answers in table.items() for problem in _problems(answers)]:
        raise ConfigError(f"{path}:\n  " + "\n  ".join(problems[:20]), fix="correct these cells")
    return table


def read_key(path: Path) -> dict[str, str]:
    """Read which rule dropped each row of a sheet.

    Raises:
        ConfigError: it is not the file that was written beside the sheet.
    """
    return {(line["id"] or "").removeprefix("'"): line["rule"] or "" for line in _read(path, ("id", "rule"))}


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str | None]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", fix="correct the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8", fix="save it as CSV UTF-8") from error
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
            raise ConfigError(f"{path} has no column {', '.join(missing)}", fix="keep the header as it was")
        return list(reader)
    except csv.Error as error:
        raise ConfigError(
            f"{path}, after line {reader.line_num}: {error}", fix="look there for a quotation mark that nothing closes"
        ) from error


def _answers(line: Mapping[str, str | None]) -> dict[str, str]:
    answers = {column: (line.get(column) or "").strip() for column in ANSWERS}
    for column in ANSWERS[:2]:
        answers[column] = answers[column].translate(str.maketrans("٠١٢٣٤٥٦٧٨٩", "0123456789")).removesuffix(".0")
    answers["format ok"] = _TRUTH.get(answers["format ok"].casefold(), answers["format ok"])
    answers["error category"] = answers["error category"].casefold()
    return answers


_TRUTH = {
    **dict.fromkeys(("yes", "y", "1", "true", "ok", "x", "نعم"), "yes"),
    **dict.fromkeys(("no", "n", "0", "false", "لا"), "no"),
}


def _problems(answers: Mapping[str, str]) -> Iterator[str]:
    for column in ANSWERS[:2]:
        if answers[column] not in ("", "1", "2", "3", "4", "5"):
            yield f"{column} is {answers[column]!r}"
    if answers["format ok"] not in ("", "yes", "no"):
        yield f"format ok is {answers['format ok']!r}, not yes or no"
    if answers["error category"] and answers["error category"] not in CATEGORIES:
        yield f"error category {answers['error category']!r} is none of {', '.join(CATEGORIES)}"


def kappa(first: Sequence[int], second: Sequence[int], labels: int, *, weighted: bool) -> float:
    """Return Cohen's kappa of two readers; nan where both always say the same one thing.

    Args:
        labels: answers are 0 to `labels` - 1.
        weighted: a disagreement counts as the square of its distance.
    """
    table = np.zeros((labels, labels))
    np.add.at(table, (np.array(first, int), np.array(second, int)), 1)
    place = np.arange(labels)
    distance = np.subtract.outer(place, place) ** 2 if weighted else 1 - np.eye(labels)
    by_chance = np.outer(table.sum(1), table.sum(0)) / table.sum()
    expected = float((distance * by_chance).sum())
    return 1 - float((distance * table).sum()) / expected if expected else float("nan")


def _interval(size: int, measure: Callable[[np.ndarray[Any, Any]], float], seed: int = 1) -> list[float] | None:
    """Return the 95% bootstrap interval of a measure over drawn rows."""
    draw = np.random.default_rng(seed)
    values = np.array([measure(draw.integers(0, size, size)) for _ in range(DRAWS)])
    values = values[~np.isnan(values)]
    return [round(float(bound), 4) for bound in np.percentile(values, (2.5, 97.5))] if len(values) else None


def agreement(first: Table, second: Table, key: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return how far two readers agree, what they found, and how right the rules were.

    Args:
        key: the rule that dropped each row, or nothing where it was kept.
    """
    both = sorted(first.keys() & second.keys())
    report: dict[str, Any] = {
        "rows": {"first": len(first), "second": len(second), "both": len(both)},
        "agreement": {},
        "categories": {
            name: {"first": _times(first, both, name), "second": _times(second, both, name)} for name in CATEGORIES
        },
    }
    for column, labels in _SCALES.items():
        shared = [row for row in both if first[row][column] and second[row][column]]
        one, other = (np.array([labels.index(of[row][column]) for row in shared], int) for of in (first, second))
        report["agreement"][column] = _agreement(one, other, len(labels), weighted=column in ANSWERS[:2])
    if key:
        report["rules"] = _rules(first, second, both, key)
    return report


_SCALES = {"adequacy 1-5": "12345", "fluency 1-5": "12345", "format ok": ("no", "yes"), "error category": CATEGORIES}


def _times(reader: Table, shared: Sequence[str], category: str) -> int:
    return sum(reader[row]["error category"] == category for row in shared)


def _agreement(one: Any, other: Any, labels: int, *, weighted: bool) -> dict[str, Any]:  # noqa: ANN401
    if not len(one):
        return {"rows": 0}
    value = kappa(one, other, labels, weighted=weighted)
    return {
        "rows": len(one),
        "raw": round(float((one == other).mean()), 4),
        "kappa": None if np.isnan(value) else round(value, 4),
        "kappa_weights": "quadratic" if weighted else "none",
        "kappa_95": _interval(len(one), lambda drawn: kappa(one[drawn], other[drawn], labels, weighted=weighted)),
        "mean": {"first": round(float(one.mean()) + 1, 3), "second": round(float(other.mean()) + 1, 3)}
        if weighted
        else None,
    }


def _rules(first: Table, second: Table, both: Sequence[str], key: Mapping[str, str]) -> dict[str, Any]:
    """Return precision and recall of the rules: a row is bad when both readers say so, good when both do.

    Dropped rows are drawn apart from kept ones, so recall is that of the sheet, not of the corpus.
    """
    verdicts = [(_bad(first[row]), _bad(second[row]), key[row]) for row in both if row in key]
    clear = [(bad, rule) for bad, other, rule in verdicts if bad is not None and bad == other]
    bad = np.array([one for one, _ in clear], bool)
    out = np.array([bool(rule) for _, rule in clear], bool)
    precision, recall = _share(bad, out), _share(out, bad)
    return {
        "rows": len(clear),
        "readers_differ": sum(one is not None and other is not None and one != other for one, other, _ in verdicts),
        "dropped_and_bad": int((bad & out).sum()),
        "dropped_and_good": int((~bad & out).sum()),
        "kept_and_bad": int((bad & ~out).sum()),
        "kept_and_good": int((~bad & ~out).sum()),
        "precision": precision,
        "recall_in_sheet": recall,
        "by_rule": {
            rule: {
                "dropped": sum(name == rule for _, name in clear),
                "bad": sum(b for b, name in clear if name == rule),
            }
            for rule in sorted({name for _, name in clear if name})
        },
    }


def _bad(answers: Mapping[str, str]) -> bool | None:
    if not all(answers[column] for column in ANSWERS[:3]):
        return None
    return any(int(answers[column]) < GOOD for column in ANSWERS[:2]) or answers["format ok"] == "no"


def _share(hits: Any, among: Any) -> dict[str, Any] | None:  # noqa: ANN401
    found = hits[among]
    if not len(found):
        return None
    return {
        "value": round(float(found.mean()), 4),
        "interval_95": _interval(len(found), lambda drawn: float(found[drawn].mean())),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write a sheet, or the agreement of two."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.audit", description="Let two people read a sample.")
    commands = parser.add_subparsers(dest="command", required=True)
    drawn = commands.add_parser("sheet", help="draw rows for two readers")
    drawn.add_argument("bundle", type=Path, metavar="BUNDLE")
    drawn.add_argument("--rows", type=int, default=300, help="rows that were kept (default: 300)")
    drawn.add_argument("--dropped", type=int, default=0, help="rows that a rule dropped, among the others")
    drawn.add_argument("--seed", type=int, default=1)
    drawn.add_argument("--out", type=Path, required=True, metavar="CSV")
    agreed = commands.add_parser("agreement", help="compare two sheets that were filled in")
    agreed.add_argument("first", type=Path, metavar="FIRST")
    agreed.add_argument("second", type=Path, metavar="SECOND")
    agreed.add_argument("--key", type=Path, metavar="CSV", help="the file SHEET.key.csv: says which rows were dropped")
    agreed.add_argument("--out", type=Path, required=True, metavar="JSON")
    given = parser.parse_args(arguments)
    try:
        if given.command == "sheet":
            picks, cut = sheet(Bundle.open(given.bundle), given.rows, given.dropped, given.seed)
            _write(given.out, as_csv(COLUMNS, _lines(picks)))
            if given.dropped:
                key = [[pick.row["id"], pick.rule] for pick in picks]
                _write(given.out.with_suffix(".key.csv"), as_csv(("id", "rule"), key))
                sys.stdout.write(
                    f"{sum(bool(pick.rule) for pick in picks)} dropped rows are in the sheet; {cut} were left out:"
                    f" of texts with {rows.DROPPED_CHARACTERS:,} characters and more only the start is kept\n"
                )
        else:
            rules = read_key(given.key) if given.key else None
            report = agreement(read_sheet(given.first), read_sheet(given.second), rules)
            _write(given.out, json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    sys.stdout.write(f"{given.out}\n")
    return 0


def _write(path: Path, data: bytes) -> None:
    with writing(str(path)) as file:
        file.write(data)


if __name__ == "__main__":
    sys.exit(main())
