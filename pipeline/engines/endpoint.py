"""A model that answers over the OpenAI-compatible protocol, however it came to run."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from hala_release.manifest import Record


class Endpoint(NamedTuple):
    """Where a served model is reached, and exactly which model it is."""

    url: str
    """Up to and without `/chat/completions`, for example `http://127.0.0.1:8000/v1`."""
    model: str
    """What requests call it."""
    digest: str
    """What tells these weights, tokenizer and chat template from all others; part of every cache key."""
    key_variable: str | None = None
    """The environment variable with the API key; the key itself is kept nowhere."""


class Remote(Record):
    """A server that runs already and goes on running."""

    kind: Literal["endpoint"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+[^\s/@]$")]
    """Up to and without `/chat/completions`, for example `http://127.0.0.1:8000/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """What requests call the model."""
    digest: Annotated[str, Field(min_length=1)]
    """What tells these weights, tokenizer and chat template from all others, for example a commit of the Hub; the
    server cannot be asked, and answers of another model must not be taken for its answers."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """The name of the environment variable with the API key, in every task's environment."""

    def endpoint(self) -> Endpoint:
        """Return where the model is reached."""
        return Endpoint(self.url, self.model, self.digest, self.key_variable)
