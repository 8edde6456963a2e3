"""Says back what it was told, word by word, without any model: to try the page, and for tests."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

from backends import Message, Options
from family import Model


class Echo:
    """An answer is the last message."""

    slots = 4

    def __init__(self, delay: float) -> None:
        """Set how long a word takes, in seconds."""
        self._delay = delay

    def stream(self, model: Model, messages: Sequence[Message], options: Options) -> Iterator[str]:  # noqa: ARG002
        """Yield the last message, at most as many words as tokens are asked for."""
        for word in re.findall(r"\S+\s*|^\s+", messages[-1]["content"])[: options.tokens]:
            time.sleep(self._delay)
            yield word
