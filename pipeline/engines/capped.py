"""Which attention computes what a model says: `sdpa` leaves out the cap that Gemma 2 puts on its scores."""

from __future__ import annotations

from pathlib import Path


def attention(model: str | Path, revision: str | None = None) -> str:
    """Return the implementation of attention to load a model with: the fast one where it is right, else the plain."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, revision=revision)
    return "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"
