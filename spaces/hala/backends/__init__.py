"""Where answers come from: one small protocol, and the backends that speak it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

from family import Family, Model
from limits import HOTTEST, TOKENS


class Message(TypedDict):
    """One message of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Options:
    """How an answer is made."""

    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    tokens: int = 512
    """The longest answer."""

    @classmethod
    def asked(cls, temperature: float, tokens: float) -> Options:
        """Return what somebody asked for, as far as it is allowed."""
        return cls(temperature=min(max(temperature, 0), HOTTEST), tokens=min(max(int(tokens), 1), TOKENS))


class Failed(Exception):
    """The backend could not answer; its words are for the log, not for the page."""


class Backend(Protocol):
    """Something that answers."""

    slots: int
    """Answers that it can make at a time."""

    def stream(self, model: Model, messages: Sequence[Message], options: Options) -> Iterator[str]:
        """Yield an answer piece by piece. Closing the iterator stops the work.

        Raises:
            Failed: there is no answer.
        """
        ...


def chosen(family: Family) -> Backend:
    """Return the backend that the variable HALA_BACKEND names: local (the default), endpoint, or echo.

    Raises:
        Failed: there is no such backend.
    """
    match os.environ.get("HALA_BACKEND", "local"):
        case "local":
            from backends.local import Local

            return Local(family)
        case "endpoint":
            from backends.endpoint import Endpoint

            return Endpoint.from_environment()
        case "echo":
            from backends.echo import Echo

            return Echo(float(os.environ.get("HALA_ECHO_DELAY", "0.02")))
        case other:
            raise Failed(f"HALA_BACKEND is {other!r}; it can be local, endpoint or echo")
