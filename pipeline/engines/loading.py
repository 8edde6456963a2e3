"""A checkpoint as its readers load it, with transformers; the stages that write one look at it through this.

Everything is computed in the dtype that is stored, a text at a time: nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from hala_release.errors import CheckFailed
from pipeline.engines.capped import attention
from pipeline.prompts import Message

Floats = NDArray[np.float32]


class Weights:
    """The tensors of a checkpoint, read one at a time."""

    def __init__(self, folder: Path) -> None:
        files: list[Any] = [safe_open(path, framework="pt") for path in sorted(folder.glob("*.safetensors"))]
        self._where = {name: file for file in files for name in file.keys()}  # noqa: SIM118 -- no mapping

    @property
    def names(self) -> set[str]:
        """What the tensors are called."""
        return set(self._where)

    def read(self, name: str) -> Floats:
        """Return a tensor, exactly, if it is no wider than 32 bits."""
        values: Floats = self._where[name].get_tensor(name).float().numpy()
        return values


def settings(folder: Path) -> dict[str, Any]:
    """Return config.json with every default filled in, so that files of different versions compare."""
    document: dict[str, Any] = AutoConfig.from_pretrained(folder).to_dict()
    return document


def load(folder: Path) -> Any:  # noqa: ANN401 -- a model of transformers
    """Load a checkpoint.

    Raises:
        CheckFailed: a tensor is missing, of another shape, or of no use.
    """
    from_pretrained: Any = AutoModelForCausalLM.from_pretrained
    model, told = from_pretrained(folder, dtype="auto", attn_implementation=attention(folder), output_loading_info=True)
    wrong = [
        f"{what.removesuffix('_keys')}: {', '.join(sorted(map(str, told[what]))[:4])}"
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        if told.get(what)
    ]
    if wrong:
        raise CheckFailed(f"the weights do not fit config.json; {'; '.join(wrong)}", fix="is the input whole?")
    model.train(False)
    return model


def classes(model: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the class of every module that holds weights of its own, by name; every matrix product's is `Linear`."""
    return {
        name: "Linear" if isinstance(module, torch.nn.Linear) else type(module).__name__
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }


def tokens(folder: Path, chats: Sequence[Sequence[Message]], limit: int) -> list[list[int]]:
    """Return chats as the model reads them, each cut to so many tokens; without a chat template, as lines."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    found = []
    for chat in chats:
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(list(chat), tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = tokenizer("\n".join(one["content"] for one in chat))["input_ids"]
        found.append(list(ids[:limit]))
    return found


def logits(model: Any, texts: Sequence[Sequence[int]]) -> Iterator[Floats]:  # noqa: ANN401
    """Yield what the model finds likely after every token of each text: positions by vocabulary.

    Raises:
        CheckFailed: it finds infinities, or nothing at all.
    """
    for text in texts:
        with torch.inference_mode():
            values: Floats = model(torch.tensor([text], device=model.device)).logits[0].float().cpu().numpy()
        if not np.isfinite(values).all():
            raise CheckFailed("the model computes what is no number", fix="look at the weights of the input")
        yield values
