"""What one person may ask for at a time, so that everybody gets an answer."""

from __future__ import annotations

import os

MESSAGE = 8_000
"""Characters of one message of a chat."""
TEXT = 40_000
"""Characters of a text to translate."""
HISTORY = 24_000
"""Characters of a conversation that a model is shown: the latest ones."""
SYSTEM = 2_000
"""Characters of a system prompt."""
TOKENS = 1_024
"""Tokens of one answer."""
HOTTEST = 1.5
"""The highest temperature."""
SECONDS = float(os.environ.get("HALA_SECONDS", "180"))
"""How long one answer may take, from its first word on."""
PATIENCE = float(os.environ.get("HALA_PATIENCE", "60"))
"""Seconds that a model may be silent; the first word is given five times as long, a model may have to be loaded."""
WAITING = int(os.environ.get("HALA_WAITING", "64"))
"""People who may wait in line."""
EACH = 2
"""Questions of one person at a time, answered or waiting."""
TOGETHER = 12
"""The same from one address: programs can open as many sessions as they like."""
FILE = 200_000
"""Bytes of a file."""


class Refused(Exception):
    """Something that cannot be done now: a key of words/*.json, and what stands after its sentence."""

    def __init__(self, key: str, *after: object) -> None:
        super().__init__(key, *after)
        self.key = key
        self.after = after


def short(text: str, limit: int) -> str:
    """Return a text that is not too long.

    Raises:
        Refused: it is.
    """
    if len(text) > limit:
        raise Refused("long", f"{limit:,}")
    return text


def checked(text: str, limit: int) -> str:
    """Return a text that is neither empty nor too long.

    Raises:
        Refused: it is.
    """
    if not text.strip():
        raise Refused("empty")
    return short(text, limit)
