"""Items of benchmarks: what of a test must not be in a corpus, from local files or from the Hub."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import IO, Annotated, Any, Literal, NamedTuple, cast

import orjson
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from hala_release.errors import ConfigError, ContractError, HubError
from hala_release.manifest import Record
from pipeline.storage import reading

LETTERS = ("ABCDE", "abcde", "أبجده", "12345")
_LABEL = re.compile(r"\A\s*\(?(?:[A-Ea-e]|[أابجد]|هـ?|[1-5])\s*[).\-:]\s+")
"""What some benchmarks write before a choice: `أ) `."""


class Item(NamedTuple):
    """One item of a benchmark."""

    name: str
    """Where it stands: `SPLIT/NUMBER`, after the configuration where there is more than one."""
    question: str
    answer: str
    """The right one, in words; empty where the benchmark has none."""


class Benchmark(Record):
    """A benchmark: where its items lie, and which columns make one up; a column in a column is `outer.inner`."""

    name: str
    language: Literal["en", "ar"]
    files: tuple[str, ...] = ()
    """Local files of rows: .jsonl, .jsonl.gz or .parquet."""
    dataset: str | None = None
    """A dataset of the Hub, instead of files."""
    revision: str | None = None
    """Its commit; what a branch stood for is told in the report."""
    configs: tuple[str, ...] = ()
    """Its configurations; none for every one."""
    split: str = "test"
    question: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns that make up what is asked, in their order."""
    choices: tuple[str, ...] = ()
    """Columns of the answers to choose from; a column may be a list of them, and some rows may lack the last ones."""
    answer: str | None = None
    """The column of the right answer."""
    answer_is: Literal["text", "index", "letter"] = "text"
    """`index`: its number among the choices, from 0. `letter`: its letter (A, a, أ) or its number, from 1."""

    @model_validator(mode="after")
    def _one_place(self) -> Benchmark:
        if bool(self.files) == (self.dataset is not None):
            raise ValueError("give either files, or a dataset")
        if (self.dataset is None) != (self.revision is None):
            raise ValueError("a dataset needs a revision, and files have none")
        if self.answer_is != "text" and not (self.choices and self.answer):
            raise ValueError(f"an answer that is an {self.answer_is} needs `choices` and `answer`")
        return self

    def digests(self) -> list[dict[str, str]]:
        """Return name and sha256 of each local file, in their order, which names the items.

        Raises:
            ConfigError: a file cannot be read.
        """
        found = []
        for path in self.files:
            try:
                with reading(path) as file:
                    digest = hashlib.file_digest(cast("Any", file), "sha256").hexdigest()
                    found.append({"name": path.rsplit("/", 1)[-1], "sha256": digest})
            except OSError as error:
                raise ConfigError(
                    f"{self.name}: {path} cannot be read: {error.strerror or error}", fix="name files that are there"
                ) from error
        return found


def items(benchmark: Benchmark) -> Iterator[Item]:
    """Yield the items of a benchmark.

    Raises:
        ContractError: a row without the columns that the configuration names.
        HubError: the Hub does not give the dataset.
    """
    found = _local(benchmark) if benchmark.files else _remote(benchmark)
    for name, row in found:
        question = "\n".join(_texts(benchmark, row, benchmark.question))
        yield Item(name, question, _answer(benchmark, row))


def commit(benchmark: Benchmark) -> str | None:
    """Return the commit that a dataset's revision stands for; none for local files."""
    if benchmark.dataset is None or re.fullmatch(r"[0-9a-f]{40}", benchmark.revision or ""):
        return benchmark.revision
    import datasets

    with _asking(benchmark):
        names = benchmark.configs or _configs(benchmark)
        builder = datasets.load_dataset_builder(benchmark.dataset, names[0], revision=benchmark.revision)
    return builder.hash if re.fullmatch(r"[0-9a-f]{40}", builder.hash or "") else benchmark.revision


def _local(benchmark: Benchmark) -> Iterator[tuple[str, Mapping[str, Any]]]:
    number = 0
    for path in benchmark.files:
        with reading(path) as file:
            for row in _rows(path, file):
                yield f"{benchmark.split}/{number}", row
                number += 1


def _rows(path: str, file: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    if path.endswith(".parquet"):
        for batch in pq.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
        return
    with gzip.open(file) if path.endswith(".gz") else file as lines:
        for line in lines:
            if not line.isspace():
                yield orjson.loads(line)


def _remote(benchmark: Benchmark) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import datasets

    assert benchmark.dataset is not None  # noqa: S101 (a benchmark has files or a dataset)
    with _asking(benchmark):
        names = benchmark.configs or _configs(benchmark)
    for config in names:
        with _asking(benchmark):
            rows = datasets.load_dataset(benchmark.dataset, config, split=benchmark.split, revision=benchmark.revision)
        before = f"{config}/" if len(names) > 1 else ""
        for number, row in enumerate(rows):
            yield f"{before}{benchmark.split}/{number}", row


def _configs(benchmark: Benchmark) -> tuple[str, ...]:
    import datasets

    return tuple(datasets.get_dataset_config_names(benchmark.dataset, revision=benchmark.revision))


class _asking:  # noqa: N801 (it reads as a function)
    """Turn what `datasets` raises into our own error, once, at the door."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError)):
            one = self.benchmark
            raise HubError(
                f"{one.name}: the Hub does not give {one.dataset} at {one.revision}: {error}",
                fix="check its name, revision, configurations and split, and your access to it",
            ) from error


def _texts(benchmark: Benchmark, row: Mapping[str, Any], columns: tuple[str, ...]) -> list[str]:
    """Return the texts of some columns, those of a list one by one; what is missing is an empty text."""
    found: list[str] = []
    for column in columns:
        value = _value(row, column)
        if value is _NO_COLUMN:
            raise ContractError(
                f"{benchmark.name} has no column {column!r}; it has {', '.join(map(str, row))}",
                fix="name its columns in the configuration of the benchmark",
            )
        found += ["" if one is None else str(one) for one in (value if isinstance(value, list) else [value])]
    return found


_NO_COLUMN = object()


def _value(row: Mapping[str, Any], column: str) -> Any:  # noqa: ANN401
    value: Any = row
    for name in [column] if column in row else column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _NO_COLUMN
        value = value[name]
    return value


def _answer(benchmark: Benchmark, row: Mapping[str, Any]) -> str:
    given = _texts(benchmark, row, (benchmark.answer,)) if benchmark.answer else []
    if not given or benchmark.answer_is == "text":
        return " ".join(given)
    there = tuple(column for column in benchmark.choices if _value(row, column) is not _NO_COLUMN)
    choices = [_LABEL.sub("", choice, count=1) for choice in _texts(benchmark, row, there or benchmark.choices)]
    number = _place(given[0]) if benchmark.answer_is == "letter" else _number(given[0])
    return choices[number] if 0 <= number < len(choices) else ""  # tests whose answers are secret have -1 here


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else -1


def _place(letter: str) -> int:
    return max(letters.find(letter.strip()[:1]) if letter.strip() else -1 for letters in LETTERS)
