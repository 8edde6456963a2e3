"""What a source is: where it lies, under which terms, and who speaks in a record of it.

A record is read by one of three shapes, whose fields are names of columns; `translation.ar` is a field of a struct.
The same shapes serve the sources of the catalogue and the files of a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from hala_release.manifest import Record

Fields = Mapping[str, Any]
"""A record as it was read: anything may be in it."""


class Said(NamedTuple):
    """Who says what in a record, unchecked: a record may hold anything where a text is expected."""

    turns: list[tuple[object, object]]
    arabic: object = None
    """The other side of a bilingual pair."""
    is_pair: bool = False


class Exchange(Record):
    """A question and an answer in columns of their own."""

    kind: Literal["exchange"] = "exchange"
    instruction: str
    output: str
    input: str | None = None
    """What the instruction is about; where it holds text, it follows the instruction after an empty line."""
    system: str | None = None

    def paths(self) -> tuple[str, ...]:
        """Name the columns that have to be there."""
        return tuple(name for name in (self.system, self.instruction, self.input, self.output) if name)

    def said(self, record: Fields) -> Said:
        """Return the system prompt, where there is one, the question and the answer."""
        turns: list[tuple[object, object]] = []
        system = pick(record, self.system) if self.system else None
        if not is_blank(system):
            turns.append(("system", system))
        question, more = pick(record, self.instruction), pick(record, self.input) if self.input else None
        if not is_blank(more):
            question = f"{question}\n\n{more}" if isinstance(question, str) and isinstance(more, str) else None
        return Said([*turns, ("user", question), ("assistant", pick(record, self.output))])


class Conversation(Record):
    """Turns in one column: a list of structs."""

    kind: Literal["conversation"] = "conversation"
    column: str
    role: str = "from"
    text: str = "value"

    def paths(self) -> tuple[str, ...]:
        """Name the columns that have to be there."""
        return f"{self.column}.{self.role}", f"{self.column}.{self.text}"

    def said(self, record: Fields) -> Said:
        """Return the turns in their order."""
        turns = pick(record, self.column)
        if not isinstance(turns, list):
            return Said([])
        return Said([(pick(turn, self.role), pick(turn, self.text)) for turn in turns])


class Pair(Record):
    """An English text and its Arabic translation."""

    kind: Literal["pair"] = "pair"
    english: str
    arabic: str

    def paths(self) -> tuple[str, ...]:
        """Name the columns that have to be there."""
        return self.english, self.arabic

    def said(self, record: Fields) -> Said:
        """Return the English as a user's turn, and the Arabic."""
        return Said([("user", pick(record, self.english))], pick(record, self.arabic), is_pair=True)


Shape = Annotated[Exchange | Conversation | Pair, Field(discriminator="kind")]


@dataclass(frozen=True)
class Source:
    """A dataset of the Hub that can be ingested."""

    name: str
    repository: str
    license: str
    """As the Hub spells it; `unknown` also where the card states none."""
    files: tuple[str, ...]
    """Data files of the one configuration and split that is read, in the order of their rows; patterns are allowed."""
    shape: Exchange | Conversation | Pair
    revision: str | None = None
    """The commit that was read for this catalogue; none: it is not known here, and the configuration has to say it."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> values: other rows are left out."""


def pick(record: object, path: str) -> object:
    """Return a column of a record, or nothing."""
    for name in path.split("."):
        if not isinstance(record, Mapping):
            return None
        record = record.get(name)
    return record


def is_blank(value: object) -> bool:
    """Tell what an optional column holds where there is nothing to say."""
    return value is None or (isinstance(value, str) and not value.strip())
