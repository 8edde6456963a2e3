"""Scores that somebody else published: a table with its source, never mixed with what was measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator

from hala_release import located
from hala_release.errors import ConfigError
from hala_release.escape import problem_with_text
from hala_release.manifest import Record

Percentage = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class Row(Record):
    """The scores of one model."""

    name: str
    scores: tuple[Percentage | None, ...]
    """In the order of the benchmarks."""
    mean: Percentage | None = None
    """As the source prints it."""


class Reported(Record):
    """A table of somebody else's, of 100."""

    title: str
    """Of the publication."""
    url: Annotated[str, Field(pattern=r"^https://[^\s()<>\[\]\"'`|]+$")]
    place: str = ""
    """Where in it, for example `Table 4`."""
    harness: str
    how: str
    """In which setting, as the source says."""
    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    models: Annotated[tuple[Row, ...], Field(min_length=1)]

    @field_validator("title", "place", "harness", "how")
    @classmethod
    def _readable(cls, text: str) -> str:
        if problem := problem_with_text(text):
            raise ValueError(problem)
        return text

    @model_validator(mode="after")
    def _every_row_is_whole(self) -> Reported:
        for row in self.models:
            if len(row.scores) != len(self.benchmarks):
                raise ValueError(f"{row.name} has {len(row.scores)} scores for {len(self.benchmarks)} benchmarks")
        for name in (*self.benchmarks, *(row.name for row in self.models)):
            if problem := problem_with_text(name):
                raise ValueError(f"{name!r} {problem}")
        return self


def load(path: Path) -> Reported:
    """Read a file of reported scores.

    Raises:
        ConfigError: it is missing or wrong; lists every mistake with its line.
    """
    try:
        document = located.Document(path.read_text(encoding="utf-8"))
        return Reported.model_validate(document.data)
    except located.Mistake as mistake:
        problems = mistake.problems
    except ValidationError as error:
        problems = located.explain(error, document, located.Models(kinds={}, parts={"": Reported, "models": Row}))
    except (OSError, UnicodeDecodeError) as error:
        problems = [str(error)]
    raise ConfigError(
        f"{path} holds no reported scores:\n" + "\n".join(f"  {problem}" for problem in problems),
        fix="write title, url, harness, how, benchmarks, and models with name and scores",
    )
