"""The six benchmarks that HALA is scored on, and a demo: how a row of each becomes a prompt, choices and an answer.

lm-eval loads this file by its path, so it stands alone. The prompts follow those of the second Open Arabic LLM
Leaderboard: its instructions, its order, its letters. What is ours: values are means over all items, where the
leaderboard takes the mean over subsets; rows of MadinahQA without a context get none.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = Mapping[str, Any]

LETTERS = ("أ", "ب", "ج", "د", "هـ")
ONE_QUESTION = "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة:"
QUESTIONS = "الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح"
IN_CONTEXT = "بناءً على السياق أدناه، اختر الإجابة الصحيحة للسؤال التالي من قائمة الأجوبة:"
ANSWER = "الإجابة:"


class Item(NamedTuple):
    """What a model is asked, and what it may answer."""

    prompt: str
    choices: list[str]
    answer: int
    """Which choice is right, from 0."""


def arabic_mmlu(row: Row) -> Item:
    """Return an item of ArabicMMLU; options that a row lacks are left out, its context is not shown."""
    letters, options = _options(row)
    return Item(f"{ONE_QUESTION}\n\n{row['Question']}\n{options}{ANSWER}", letters, _place(row["Answer Key"], letters))


def arabic_mmlu_ht(row: Row) -> Item:
    """Return an item of the human translation of MMLU; its choices are numbers from 1."""
    numbers = [str(number) for number in range(1, len(row["choices"]) + 1)]
    options = _lines(f"{number}. {choice}" for number, choice in zip(numbers, row["choices"], strict=True))
    return Item(f"{ONE_QUESTION}\n\n{row['question']}\n{options}{ANSWER}", numbers, _within(row["answer"], numbers))


def aratrust(row: Row) -> Item:
    """Return an item of AraTrust, whose options bring their letters with them."""
    letters = list(LETTERS[:3])
    options = _lines(row[column] for column in "ABC")
    prompt = f"{ONE_QUESTION} أ، ب أو ج. \n\n{row['Question']}\n{options}{ANSWER}"
    return Item(prompt, letters, letters.index(row["Answer"].strip()))


def exams(row: Row) -> Item:
    """Return an item of EXAMS, with an empty line after each option."""
    letters = list(LETTERS[:4])
    options = _lines(f" {letter}) {row[column]}\n" for letter, column in zip(letters, "ABCD", strict=True))
    subject = row["subject"].replace("_", " ")
    prompt = f"{QUESTIONS} حول {subject}. \n\nالسؤال: {row['question']}\n{options}{ANSWER}"
    return Item(prompt, letters, ["A", "B", "C", "D"].index(row["answer"]))


def alghafa(row: Row) -> Item:
    """Return an item of AlGhafa; its choices are numbers from 0, and some subsets have fewer."""
    choices = [choice for number in range(1, 6) if (choice := row.get(f"sol{number}")) is not None]
    numbers = [str(number) for number in range(len(choices))]
    options = _lines(f"{number}) {choice}" for number, choice in zip(numbers, choices, strict=True))
    return Item(f"{QUESTIONS}\n\nالسؤال: {row['query']}\n{options}{ANSWER}", numbers, _within(row["label"], numbers))


def madinah_qa(row: Row) -> Item:
    """Return an item of MadinahQA."""
    letters, options = _options(row)
    context = f"السياق:\n{row['Context']}\n" if row["Context"] else ""
    prompt = f"{IN_CONTEXT}\n\n\n{context}السؤال:\n{row['Question']}\n{options}{ANSWER}"
    return Item(prompt, letters, _place(row["Answer Key"], letters))


class Layout(NamedTuple):
    """How the rows of a benchmark look, and become items."""

    item: Callable[[Row], Item]
    columns: Sequence[str]
    """That every row has to have."""


OPTIONS = tuple(f"Option {number}" for number in range(1, 6))
LAYOUTS = {
    "arabic_mmlu": Layout(arabic_mmlu, ("Question", "Answer Key", *OPTIONS[:2])),
    "arabic_mmlu_ht": Layout(arabic_mmlu_ht, ("question", "choices", "answer")),
    "aratrust": Layout(aratrust, ("Question", "A", "B", "C", "Answer")),
    "exams": Layout(exams, ("subject", "question", "A", "B", "C", "D", "answer")),
    "alghafa": Layout(alghafa, ("query", "sol1", "sol2", "label")),
    "madinah_qa": Layout(madinah_qa, ("Context", "Question", "Answer Key", *OPTIONS[:2])),
}


def load(
    layout: str,
    split: str = "test",
    repository: str = "",
    subsets: Sequence[str] = (),
    revision: str | None = None,
    file: str = "",
    **_: object,  # lm-eval gives its own metadata to what loads a dataset
) -> dict[str, Any]:
    """Return the items of a benchmark as lm-eval takes a dataset.

    Args:
        layout: one of `LAYOUTS`.
        repository: a dataset of the Hub, of which all `subsets` are taken, in their order.
        revision: its commit.
        file: rows in the columns of that dataset instead: .jsonl, .jsonl.gz or .parquet.

    Raises:
        ValueError: there is no row, a column is missing, or a row has no right answer.
    """
    import datasets

    columns = LAYOUTS[layout].columns
    items: list[dict[str, Any]] = []
    for subset in [""] if file else subsets:
        if file:
            rows = read(Path(__file__).parent / file)
        else:
            rows = datasets.load_dataset(repository, subset, split=split, revision=revision).to_list()
        where = file or f"{subset}/{split}"
        if not rows:
            raise ValueError(f"{where} has no rows")
        if missing := [column for column in columns if column not in rows[0]]:
            raise ValueError(f"{where} has no column {', '.join(missing)}; it has {', '.join(rows[0])}")
        for number, row in enumerate(rows):
            try:
                items.append({"subset": subset, **LAYOUTS[layout].item(row)._asdict()})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"row {number} of {where} is no item: {type(error).__name__}: {error}") from error
    return {"test": datasets.Dataset.from_list(items)}


def read(file: Path) -> list[Row]:
    """Return the rows of a .jsonl, .jsonl.gz or .parquet file."""
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        found: list[Row] = pq.read_table(file).to_pylist()
        return found
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        return [json.loads(line) for line in lines if not line.isspace()]


def _options(row: Row) -> tuple[list[str], str]:
    """Return the letters of the options that a row has, and their lines; a letter stays with its column."""
    there = [(letter, row[column]) for letter, column in zip(LETTERS, OPTIONS, strict=True) if row.get(column)]
    return [letter for letter, _ in there], _lines(f"{letter}. {option}" for letter, option in there)


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _place(key: str, letters: list[str]) -> int:
    """Return which of the letters a Latin key stands for."""
    return letters.index(LETTERS[["A", "B", "C", "D", "E"].index(key)])


def _within(answer: object, choices: list[str]) -> int:
    number = int(str(answer))
    if not 0 <= number < len(choices):
        raise ValueError(f"the answer is {number}, and there are {len(choices)} choices")
    return number
