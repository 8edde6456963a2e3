"""What a reader of a published repository would trip over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One such thing: where it is, what it is, and what to do about it."""

    level: Literal["error", "warning"]
    where: str
    message: str
    fix: str
