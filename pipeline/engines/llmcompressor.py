"""llm-compressor, the only place that knows how it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.offload import update_offload_parameter
from llmcompressor import oneshot
from llmcompressor.logger import logger
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from torch.utils.data import DataLoader

logger.remove()  # it tells each step
logger.add(sys.stderr, level="ERROR")

SHARD = "5GB"


def compress(
    model: Any,  # noqa: ANN401 -- a model of transformers
    *,
    scheme: str,
    targets: str,
    ignore: Sequence[str],
    texts: Sequence[Sequence[int]],
) -> None:
    """Quantise a model in place: each weight to the nearest number, or with GPTQ where there are texts to calibrate on.

    What is no matrix product is put back as it was: llm-compressor adds one to the norms of Gemma for its own work and
    takes it away again, in the dtype of the model, and in bfloat16 that moves them.

    Args:
        texts: tokens; of one text at a time, so nothing is padded.
    """
    recipe: dict[str, Any] = {"scheme": scheme, "targets": targets, "ignore": list(ignore)}
    kept = {
        name: {key: values.detach().clone() for key, values in module.named_parameters(recurse=False)}
        for name, module in model.named_modules()
        if not isinstance(module, torch.nn.Linear)
    }
    if texts:
        rows: Any = [
            {"input_ids": torch.tensor([text]), "attention_mask": torch.ones(1, len(text), dtype=torch.long)}
            for text in texts
        ]
        oneshot(
            model=model,
            recipe=GPTQModifier(**recipe),
            dataset=DataLoader(rows, batch_size=None),
            num_calibration_samples=len(rows),
        )
    else:
        oneshot(model=model, recipe=QuantizationModifier(**recipe))
    for name, parameters in kept.items():
        for key, values in parameters.items():
            update_offload_parameter(model.get_submodule(name), key, values)


def save(model: Any, out: Path) -> None:  # noqa: ANN401
    """Write a quantised model as compressed-tensors."""
    model.save_pretrained(out, save_compressed=True, max_shard_size=SHARD)
