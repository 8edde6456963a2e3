"""Models in this very process, with transformers: on a CPU, on a GPU, or on ZeroGPU."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
        """Load what the Space starts with: on a GPU all models, for ZeroGPU wants them at the start; else the first."""
        self.slots = int(os.environ.get("HALA_SLOTS", "4" if ON_GPU else "2"))
        self._room = float(os.environ.get("HALA_MEMORY_GB", "40" if ON_GPU else "12")) * 1e9
        self._changed = threading.Condition()
        self._uses: Counter[Model] = Counter()
        self._coming: set[Model] = set()
        used = [*family.chat, *(one.model for one in family.translate.values()), *family.bases.values()]
        for model in list(dict.fromkeys(used)) if ON_GPU else used[:1]:
            with self._held(model):
                pass

    def stream(self, model: Model, messages: Sequence[Message], options: Options) -> Iterator[str]:
        """Yield an answer. Closing the iterator stops the generation at its next token."""
        with self._held(model):
            yield from _generate(model, list(messages), options)

    @contextmanager
    def _held(self, model: Model) -> Iterator[None]:
        """Have a model loaded as long as it is used; others are answered by theirs while one is loaded."""
        self._take(model)
        try:
            yield
        finally:
            with self._changed:
                self._uses[model] -= 1
                self._changed.notify_all()

    def _take(self, model: Model) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: model in _KEPT or (model not in self._coming and self._has_room(model)))
                if model in _KEPT:
                    _KEPT.move_to_end(model)
                    self._uses[model] += 1
                    return
                self._coming.add(model)
            loaded = None
            try:
                loaded = _load(model)
            finally:
                with self._changed:
                    self._coming.discard(model)
                    if loaded:
                        _KEPT[model] = loaded
                    self._changed.notify_all()

    def _has_room(self, model: Model) -> bool:
        """Tell whether a model fits, after those that nobody uses made room; alone, every model may try."""
        while _KEPT or self._coming:
            if sum(map(_size, [*_KEPT, *self._coming, model])) <= self._room:
                return True
            idle = next((one for one in _KEPT if not self._uses[one]), None)
            if idle is None:
                return False
            del _KEPT[idle]
        return True


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
        except Exception as error:  # noqa: BLE001 -- whatever ends it, somebody waits for the streamer to end
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
