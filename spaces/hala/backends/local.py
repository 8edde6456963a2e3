"""Models in this very process, with transformers: on a CPU, on a GPU, or on ZeroGPU."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

import spaces
from backends import Failed, Message, Options
from family import Family, Model

ON_GPU = torch.cuda.is_available() or os.environ.get("SPACES_ZERO_GPU") == "true"
SILENCE = 300.0
"""Seconds until a generation that yields nothing is given up."""


class Loaded(NamedTuple):
    """A model and its tokenizer."""

    tokenizer: Any
    net: Any


_KEPT: OrderedDict[Model, Loaded] = OrderedDict()
"""The last used one is last. ZeroGPU copies what a call is given, but not what a module holds."""


class Local:
    """Models loaded from the Hub at their commits, and kept while there is room."""

    def __init__(self, family: Family) -> None:
        """Load what the Space starts with: everything on a GPU, where ZeroGPU asks for it; else the first model."""
        self.slots = int(os.environ.get("HALA_SLOTS", "4" if ON_GPU else "2"))
        self._room = float(os.environ.get("HALA_MEMORY_GB", "40" if ON_GPU else "12")) * 1e9
        self._loading = threading.Lock()
        first = list(dict.fromkeys([*family.chat, *(one.model for one in family.translate.values())]))
        for model in first if ON_GPU else first[:1]:
            self._load(model)

    def stream(self, model: Model, messages: Sequence[Message], options: Options) -> Iterator[str]:
        """Yield an answer. Closing the iterator stops the generation at its next token."""
        self._load(model)
        yield from _generate(model, list(messages), options)

    def _load(self, model: Model) -> None:
        with self._loading:
            if model not in _KEPT:
                size = _size(model)
                while _KEPT and sum(map(_size, _KEPT)) + size > self._room:
                    _KEPT.popitem(last=False)
                _KEPT[model] = _load(model)
            _KEPT.move_to_end(model)


def _size(model: Model) -> int:
    """Bytes in memory: a CPU computes in float32, twice what weights take in the Hub's usual bfloat16."""
    return model.bytes if ON_GPU else 2 * model.bytes


def _load(model: Model) -> Loaded:
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.id, revision=model.revision)
        net: Any = AutoModelForCausalLM.from_pretrained(
            model.id, revision=model.revision, dtype="auto" if ON_GPU else torch.float32, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise Failed(f"{model.id}@{model.revision} cannot be loaded: {error}") from error
    return Loaded(tokenizer, net.to("cuda" if ON_GPU else "cpu").eval())


class _Stop(StoppingCriteria):
    """Ends a generation that nobody reads any more."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ANN401, ARG002 -- as transformers has it
        return torch.full((input_ids.shape[0],), self.asked.is_set(), device=input_ids.device, dtype=torch.bool)


def _seconds(model: Model, messages: list[Message], options: Options) -> int:  # noqa: ARG001
    """What is asked of ZeroGPU's quota: 30 tokens a second, and ten seconds to begin."""
    return 10 + options.tokens // 30


def _generation(model: Model, messages: list[Message], options: Options) -> Iterator[str]:
    tokenizer, net = _KEPT[model]
    inputs = _encoded(tokenizer, messages).to(net.device)
    streamer: Any = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=SILENCE)
    stop, failed = _Stop(), list[Exception]()
    sampling = (
        {"do_sample": True, "temperature": options.temperature}
        if options.temperature > 0
        else {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    )

    def work() -> None:
        try:
            with torch.inference_mode():
                net.generate(
                    **inputs,
                    **sampling,
                    streamer=streamer,
                    max_new_tokens=options.tokens,
                    stopping_criteria=StoppingCriteriaList([stop]),
                )
        except (RuntimeError, ValueError, IndexError) as error:
            failed.append(error)
            streamer.end()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        for piece in streamer:
            if piece:
                yield piece
    finally:
        stop.asked.set()
        worker.join()
    if failed:
        raise Failed(f"{type(failed[0]).__name__}: {failed[0]}") from failed[0]


_generate: Callable[[Model, list[Message], Options], Iterator[str]] = spaces.GPU(duration=_seconds)(_generation)
"""On ZeroGPU a GPU is borrowed for each answer; elsewhere the decorator does nothing."""


def _encoded(tokenizer: Any, messages: list[Message]) -> Any:  # noqa: ANN401 -- transformers' own types
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    # A base model without a template goes on with what was said.
    return tokenizer("\n".join(message["content"] for message in messages), return_tensors="pt")
