"""A model that answers over the OpenAI-compatible protocol, however it came to run."""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """Where a served model is reached, and exactly which model it is."""

    url: str
    """Up to and without `/chat/completions`, for example `http://127.0.0.1:8000/v1`."""
    model: str
    """What requests call it."""
    digest: str
    """What tells these weights, tokenizer and chat template from all others; part of every cache key."""
