"""mergekit, the only place that knows how it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions


def slerp(base: Path, tuned: Path, out: Path, t: Any, dtype: str) -> None:  # noqa: ANN401 -- mergekit's own form
    """Write the weights between two checkpoints into `out`; one thread, so the same inputs give the same bytes.

    It computes in float64 and rounds once, to `dtype`: lengths and angles that mergekit adds up in float32 are off by
    1e-5 from a million elements on, and results by 6e-6. Models are named by parts, because mergekit takes a path with
    `+` or `@` in it for an adapter or a revision, and a relative one for a repository.
    """
    models = {name: {"model": {"path": str(path.absolute())}} for name, path in (("base", base), ("tuned", tuned))}
    config = MergeConfiguration.model_validate(
        {
            "merge_method": "slerp",
            "base_model": models["base"],
            "models": [{"model": models["tuned"]}],
            "parameters": {"t": t},
            "dtype": "float64",
            "out_dtype": dtype,
        }
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_merge(
            config, str(out), MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, device="cpu")
        )
    finally:
        torch.set_num_threads(threads)
