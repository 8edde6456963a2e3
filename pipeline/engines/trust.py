"""Parity before trust: a stage that serves a model first sees that the engine computes what transformers does.

What was found is kept by the digest of model, engine and question, so that each is compared once; where it does not
hold, it is compared again, because not all that mends an engine changes its digest.
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
COMPRESSED = (2.0, 0.2)
"""Tolerance of one log-probability and of the average, where activations are quantized: two correct programs then round
to other neighbours. Gemma 3 270M as FP8_DYNAMIC is 0.13 nats from itself on average, in vLLM as in transformers; the
two are 0.10 from each other, 1.2 at most."""


class Trust(Record):
    """How an engine is compared with transformers before a stage trusts it."""

    chats: Annotated[int, Field(ge=1)] = 16
    """Chats like those of the stage, on texts of the demo corpus."""
    tokens: Annotated[int, Field(ge=1)] = 32
    """Length of an answer."""
    tolerance: Annotated[float, Field(gt=0)] | None = None
    """Of a log-probability, in nats; None: what is usual for the `dtype`, or for quantized weights."""
    records: Path = Path("out/parity")
    """Where it is kept what was found."""

    def allowed(self, server: Vllm) -> tuple[float, float]:
        """Return the largest difference of one log-probability, and of their average, that is taken for rounding."""
        if self.tolerance:
            return self.tolerance, self.tolerance
        if server.compressed:
            return COMPRESSED
        usual = TOLERANCE.get(server.dtype, TOLERANCE["bfloat16"])
        return usual, usual


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
    tolerance, mean_tolerance = trust.allowed(server)
    question = orjson.dumps([endpoint.digest, chats, trust.tokens, tolerance, mean_tolerance])
    record = trust.records / f"{hashlib.sha256(question).hexdigest()[:32]}.json"
    if record.exists() and (found := parity.Parity.model_validate_json(record.read_bytes())).holds:
        return found
    talk(f"comparing {endpoint.model} on vLLM with transformers")
    answered = parity.ask(endpoint, chats, tokens=trust.tokens)
    found = parity.compare(
        answered,
        server.model,
        chats,
        revision=server.revision,
        dtype=server.dtype,
        tolerance=tolerance,
        mean_tolerance=mean_tolerance,
    )
    with storage.writing(str(record)) as file:
        file.write(found.model_dump_json(indent=1).encode())
    talk(found.lines()[0])
    parity.require(found, f"{endpoint.model} on vLLM")
    return found
