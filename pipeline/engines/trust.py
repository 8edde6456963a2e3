"""Parity before trust: a stage that serves a model first sees that the engine computes what transformers does.

What was found is kept by the digest of model, engine and question, so that each is compared once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
from pydantic import Field

from hala_release.manifest import Record
from hala_release.talk import Talk
from pipeline import storage
from pipeline.engines import parity
from pipeline.engines.endpoint import Endpoint
from pipeline.engines.vllm import Vllm
from pipeline.prompts import Message

TOLERANCE = {"float32": 0.001, "float16": 0.05, "bfloat16": 0.3}
"""Largest difference of a log-probability that is taken for rounding, by what the engine computes in. In float32 1e-5
was measured; the others are about twice the distance of two neighbouring numbers near 20, where logits end. In nats."""


class Trust(Record):
    """How an engine is compared with transformers before a stage trusts it."""

    chats: Annotated[int, Field(ge=1)] = 16
    """Chats like those of the stage, on texts of the demo corpus."""
    tokens: Annotated[int, Field(ge=1)] = 32
    """Length of an answer."""
    tolerance: Annotated[float, Field(gt=0)] | None = None
    """Of a log-probability, in nats; None: what is usual for the `dtype`."""
    records: Path = Path("out/parity")
    """Where it is kept what was found."""

    def allowed(self, server: Vllm) -> float:
        """Return the largest difference of a log-probability that is taken for rounding, in nats."""
        return self.tolerance or TOLERANCE.get(server.dtype, TOLERANCE["bfloat16"])


def require(
    trust: Trust, server: Vllm, chats: Sequence[Sequence[Message]], talk: Talk, endpoint: Endpoint
) -> parity.Parity:
    """Return when the engine computes what transformers does on this very model.

    Args:
        endpoint: where the server answers.

    Raises:
        EngineMissing: transformers is not installed here.
        HalaError: it computes something else.
    """
    tolerance = trust.allowed(server)
    question = orjson.dumps([endpoint.digest, chats, trust.tokens, tolerance])
    record = trust.records / f"{hashlib.sha256(question).hexdigest()[:32]}.json"
    if record.exists():
        found = parity.Parity.model_validate_json(record.read_bytes())
    else:
        talk(f"comparing {endpoint.model} on vLLM with transformers")
        answered = parity.ask(endpoint, chats, tokens=trust.tokens)
        found = parity.compare(
            answered, server.model, chats, revision=server.revision, dtype=server.dtype, tolerance=tolerance
        )
        with storage.writing(str(record)) as file:
            file.write(found.model_dump_json(indent=1).encode())
        talk(found.lines()[0])
    parity.require(found, f"{endpoint.model} on vLLM")
    return found
