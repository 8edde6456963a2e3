"""What keeps a record from becoming a row: it is no conversation, cannot be stored, is too long, or is about code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import orjson

from pipeline.rows import Turn
from pipeline.sources.files import Unreadable
from pipeline.sources.source import Said

RULES: Mapping[str, str] = {
    "S1": "turns are missing, empty or not text, or do not alternate from the user to the assistant",
    "I1": "not one JSON object",
    "I2": "holds NUL, half of a surrogate pair, or bytes that are not UTF-8",
    "I3": "more characters than `max_characters`",
    "I4": "a programming task, where `code` is `remove`",
}
"""Why a record becomes no row."""
ROLES: Mapping[object, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}

CODE_MARKS = (
    r"(?m)^ {0,3}(?:```|~~~)",
    r"(?m)^ {0,8}(?:def \w{1,80}\(|#include ?<|public (?:static|class|void) |console\.log\(|System\.out\.print)",
)
CODE_TASKS = (
    r"(?i)\b(?:python|java(?:script)?|typescript|c\+\+|c#|php|golang|kotlin|matlab|sql|html|css|bash|powershell|node\.js)"
    r"(?!\w)",
    r"(?i)\b(?:write|implement|create|develop|design|complete|fix|debug|refactor|optimi[sz]e) (?:\w{1,20} ){0,4}"
    r"(?:code|computer program|function|algorithm|subroutine|regex|sql query|api|unit tests?)\b",
)


class Fault(NamedTuple):
    """Why a record becomes no row."""

    rule: str
    reason: str


def fault_of(record: object, said: Said | None, limit: int) -> Fault | None:
    """Return why a record is no conversation, or nothing."""
    if isinstance(record, Unreadable):
        return Fault("I2" if record.reason.startswith("not UTF-8") else "I1", record.reason)
    if said is None:
        return Fault("I1", f"a {type(record).__name__}, not an object")
    fault = _turns_fault(said)
    if fault is not None:
        return fault
    texts = [str(text) for _, text in said.turns] + ([str(said.arabic)] if said.is_pair else [])
    for number, text in enumerate(texts, 1):
        if trouble := unstorable(text):
            return Fault("I2", f"text {number} holds {trouble}")
    characters = sum(map(len, texts))
    return Fault("I3", f"{characters:,} characters") if characters > limit else None


def _turns_fault(said: Said) -> Fault | None:
    if not said.turns:
        return Fault("S1", "no turns")
    expected = "user"
    for number, (role, text) in enumerate(said.turns, 1):
        if not isinstance(text, str):
            return Fault("S1", f"turn {number} is not text but {type(text).__name__}")
        if not text.strip():
            return Fault("S1", f"turn {number} is empty")
        speaker = ROLES.get(role) if isinstance(role, str) else None
        if speaker is None:
            return Fault("S1", f"turn {number} is of the unknown role {str(role)[:40]!r}")
        if speaker == "system" and number == 1:
            continue
        if speaker != expected:
            return Fault("S1", f"turn {number} is of the {speaker}, where the {expected} speaks")
        expected = "assistant" if expected == "user" else "user"
    if said.is_pair:
        if not isinstance(said.arabic, str) or not said.arabic.strip():
            return Fault("S1", "the Arabic is empty or not text")
        return None
    return Fault("S1", "the assistant does not answer") if expected == "assistant" or len(said.turns) < 2 else None


def unstorable(text: str) -> str | None:
    """Name what keeps a text from being stored."""
    if "\0" in text:
        return "NUL"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return None


class Code:
    """Tells programming tasks."""

    def __init__(self, marks: Sequence[str], tasks: Sequence[str], characters: int) -> None:
        self.marks = [re.compile(pattern) for pattern in marks]
        self.tasks = [re.compile(pattern) for pattern in tasks]
        self.characters = characters

    def fault(self, turns: Sequence[Turn]) -> Fault | None:
        """Return what shows that a conversation is about code."""
        for number, turn in enumerate(turns, 1):
            for pattern in self.marks:
                if found := pattern.search(turn["text"]):
                    return Fault("I4", f"turn {number} has {found[0].strip()!r}")
            for pattern in self.tasks if turn["role"] == "user" else ():
                if found := pattern.search(turn["text"], 0, self.characters):
                    return Fault("I4", f"turn {number} asks for {found[0]!r}")
        return None


def raw(record: object) -> str:
    """Write a record down; it may be anything that JSON or Parquet holds."""
    try:
        return orjson.dumps(record, default=str).decode()
    except orjson.JSONEncodeError:  # half of a surrogate pair, an endless integer, a nest
        pass
    try:
        return json.dumps(record, ensure_ascii=False, default=str)
    except RecursionError:
        return "nested too deeply"


def storable(text: str) -> str:
    """Return a text with a mark for everything that cannot be stored."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
