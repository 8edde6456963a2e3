"""Saying what is being done, to whoever listens; the release layer itself prints nothing."""

from collections.abc import Callable

Talk = Callable[[str], None]
"""Called with one sentence before each step, and from time to time within a long one."""


def silence(_: str) -> None:
    """Say nothing."""
