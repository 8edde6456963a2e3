"""Does a server compute what the model says? Compare its tokens and log-probabilities with those of transformers.

An engine can be wrong and still write fluently, so a model is served for a corpus only after this, on that very model:

    python -m pipeline.engines.parity MODEL

Three things are compared on each chat: the tokens that the server makes of it; the log-probability of each of them; and
the answer, in which each token has to be the one that transformers finds most likely after the tokens before it.

Two correct programs add the same numbers in another order, and so a log-probability of one differs from that of the
other by rounding: by the tolerance at most. Where the two likeliest tokens are closer than twice that, one may move up
and the other down by it, and either answer is correct. Such a near-tie is counted apart, and is no failure.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
from pydantic import ValidationError

from hala_release.errors import ConfigError, EngineMissing, HalaError
from hala_release.manifest import Record
from pipeline.engines.capped import attention
from pipeline.engines.endpoint import Endpoint
from pipeline.engines.vllm import Vllm, serving
from pipeline.prompts import Message, translation

CONCURRENT = 16
"""Chats that are sent at a time, so that the server puts them into one batch, as it does at work."""


class Divergence(Record):
    """Where an answer leaves the one that transformers would give."""

    chat: int
    position: int
    """Tokens of the answer before it."""
    server: str
    transformers: str
    gap: float
    """How much likelier transformers finds its own token, in log-probability."""


class Parity(Record):
    """What the comparison found."""

    chats: int
    tolerance: float
    """The largest difference of a log-probability that is taken for rounding."""
    mean_tolerance: float
    """The largest average of these differences."""
    other_prompts: int
    """Chats of which the server makes other tokens than transformers."""
    prompt_tokens: int
    answer_tokens: int
    max_difference: float
    """Of the log-probability of a token of a prompt."""
    mean_difference: float
    equal: int
    """Answers that are those of transformers, token by token."""
    near_ties: tuple[Divergence, ...]
    """The first of each answer that differs in near-ties only."""
    divergences: tuple[Divergence, ...]
    """The first of each other answer."""

    @property
    def holds(self) -> bool:
        """Whether the server may be trusted with this model."""
        close = self.max_difference <= self.tolerance and self.mean_difference <= self.mean_tolerance
        return close and not self.divergences and not self.other_prompts

    def lines(self) -> list[str]:
        """Say it to a person."""
        shown = [("near-tie", one) for one in self.near_ties] + [("divergence", one) for one in self.divergences]
        return [
            f"{self.equal} of {self.chats} answers equal, {len(self.near_ties)} differ in near-ties, "
            f"{len(self.divergences)} diverge; {self.answer_tokens} tokens",
            f"log-probabilities of {self.prompt_tokens} prompt tokens differ by {self.max_difference:.2g} at most, "
            f"{self.mean_difference:.2g} on average; {self.tolerance:g} and {self.mean_tolerance:g} are allowed",
            *([f"{self.other_prompts} prompts have other tokens"] if self.other_prompts else []),
            *(
                f"{what} in chat {one.chat} after {one.position} tokens: {one.server!r}, and transformers "
                f"{one.transformers!r}, by {one.gap:.2g}"
                for what, one in shown[:10]
            ),
        ]


class Answered(Record):
    """What the server made of a chat."""

    prompt: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of every token of the prompt but the first."""
    answer: tuple[int, ...]
    finish_reason: str


def ask(endpoint: Endpoint, chats: Sequence[Sequence[Message]], *, tokens: int = 48) -> list[Answered]:
    """Return what the server makes of the chats, many at a time; answers end after so many tokens.

    Raises:
        HalaError: it does not answer as vLLM does.
    """
    with httpx.Client(trust_env=False, timeout=600) as client, ThreadPoolExecutor(CONCURRENT) as threads:
        return list(threads.map(lambda chat: _ask(client, endpoint, chat, tokens), chats))


def compare(
    answered: Sequence[Answered],
    model: str,
    chats: Sequence[Sequence[Message]],
    *,
    revision: str | None = None,
    dtype: str = "auto",
    tolerance: float = 0.001,
    mean_tolerance: float | None = None,
) -> Parity:
    """Compare what a server answered with what transformers says; the server may be gone by then.

    Args:
        answered: what `ask` returned for the chats.
        model: what the server served: a directory, or the id of a repository with its `revision`.
        dtype: what the server computed in; transformers does likewise.
        mean_tolerance: of the average difference; the same as `tolerance` where nothing is said.

    Raises:
        EngineMissing: transformers or torch is not installed here.
    """
    reference = _Reference(model, revision, dtype)
    differences: list[float] = []
    first: dict[int, Divergence] = {}
    near: dict[int, Divergence] = {}
    other = 0
    for number, (chat, said) in enumerate(zip(chats, answered, strict=True)):
        other += list(said.prompt) != reference.tokens(chat)
        logprobs = reference.logprobs([*said.prompt, *said.answer])
        differences += [abs(one - logprobs.of(at, said.prompt[at + 1])) for at, one in enumerate(said.logprobs)]
        for position in range(len(said.answer)):
            found = _divergence(reference, logprobs, said, number, position)
            if found and found.gap > 2 * tolerance:
                first[number] = found
                break
            if found:
                near.setdefault(number, found)
    for number in first:
        near.pop(number, None)
    return Parity(
        chats=len(chats),
        tolerance=tolerance,
        mean_tolerance=tolerance if mean_tolerance is None else mean_tolerance,
        other_prompts=other,
        prompt_tokens=sum(len(said.prompt) for said in answered),
        answer_tokens=sum(len(said.answer) for said in answered),
        max_difference=max(differences, default=0.0),
        mean_difference=math.fsum(differences) / max(1, len(differences)),
        equal=len(chats) - len(first) - len(near),
        near_ties=tuple(near.values()),
        divergences=tuple(first.values()),
    )


def require(parity: Parity, what: str) -> None:
    """Stop what would trust a server that computes something else.

    Raises:
        HalaError: the comparison does not hold.
    """
    if not parity.holds:
        raise HalaError(
            f"{what} does not compute what transformers does:\n" + "\n".join(f"  {line}" for line in parity.lines()),
            fix="use another version or build of the engine, or `dtype: float32`",
        )


def demo_chats(count: int) -> list[list[Message]]:
    """Return chats that ask HALA's translator for strings of the demo corpus."""
    from pipeline.demo.corpus import sample

    return [translation("translator", pair["en"]) for pair in sample(count)]


def _ask(client: httpx.Client, endpoint: Endpoint, chat: Sequence[Message], tokens: int) -> Answered:
    def post(url: str, **body: Any) -> Any:  # noqa: ANN401 -- JSON
        response = client.post(url, json={"model": endpoint.model, **body})
        if response.is_error:
            raise HalaError(f"{url} answers {response.status_code}: {response.text[:500]}", fix="is it vLLM?")
        return response.json()

    root = endpoint.url.removesuffix("/v1")
    prompt: list[int] = post(f"{root}/tokenize", messages=chat, add_generation_prompt=True)["tokens"]
    said = post(
        f"{endpoint.url}/completions",
        prompt=prompt,
        max_tokens=tokens,
        temperature=0,
        prompt_logprobs=0,
        return_token_ids=True,
    )["choices"][0]
    known = [next(iter(one.values())) if len(one) == 1 else one[str(token)] for token, one in _after(prompt, said)]
    return Answered(
        prompt=tuple(prompt),
        logprobs=tuple(one["logprob"] for one in known),
        answer=tuple(said["token_ids"]),
        finish_reason=said["finish_reason"],
    )


def _after(prompt: list[int], said: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Pair each token of a prompt with what the server says of it; it says nothing of the first."""
    return list(zip(prompt[1:], said["prompt_logprobs"][1:], strict=True))


class _Logprobs:
    """Log-probabilities of the next token after each token of a text."""

    def __init__(self, values: Any) -> None:  # noqa: ANN401 -- a tensor
        self._values = values

    def of(self, at: int, token: int) -> float:
        return float(self._values[at, token])

    def best(self, at: int) -> int:
        return int(self._values[at].argmax())


class _Reference:
    """The model as transformers runs it, a text at a time: nothing is padded, so nothing can leak."""

    def __init__(self, model: str, revision: str | None, dtype: str) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ModuleNotFoundError as error:
            raise EngineMissing(f"{error.name} is not installed here", fix="pip install torch transformers") from error
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        self._model = AutoModelForCausalLM.from_pretrained(
            model, revision=revision, dtype=dtype, attn_implementation=attention(model, revision)
        )
        self._model.train(False)
        ends = self._model.generation_config.eos_token_id
        self.ends = set(ends) if isinstance(ends, list) else {ends}

    def tokens(self, chat: Sequence[Message]) -> list[int]:
        messages: list[dict[str, str]] = [{"role": one["role"], "content": one["content"]} for one in chat]
        text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, token: int) -> str:
        return str(self._tokenizer.decode([token]))

    def logprobs(self, tokens: Sequence[int]) -> _Logprobs:
        with self._torch.inference_mode():
            logits = self._model(self._torch.tensor([tokens])).logits[0]
            return _Logprobs(self._torch.log_softmax(logits.float(), dim=-1))


def _divergence(
    reference: _Reference, logprobs: _Logprobs, said: Answered, chat: int, position: int
) -> Divergence | None:
    """Return how a token of an answer differs from what transformers would say, if it does.

    To go on after an end token, or to stop without one, differs too, and is never a near-tie.
    """
    at, token = len(said.prompt) - 1 + position, said.answer[position]
    best = logprobs.best(at)
    last = position == len(said.answer) - 1
    gap = logprobs.of(at, best) - logprobs.of(at, token)
    if (token in reference.ends) != (last and said.finish_reason == "stop"):
        gap = math.inf
    elif gap == 0:
        return None
    server = reference.text(token) if gap < math.inf else f"{reference.text(token)} ({said.finish_reason})"
    return Divergence(chat=chat, position=position, server=server, transformers=reference.text(best), gap=gap)


def main() -> int:
    """Serve the model as a stage would, compare, print the result as JSON; leave with 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.engines.parity", description=(__doc__ or "")[:100])
    parser.add_argument("model", help="a directory, or the id of a repository with --revision")
    parser.add_argument("--revision", help="the commit of the repository")
    parser.add_argument("--environment", type=Path, default=Path(".venv-serve"), help="where vLLM is installed")
    parser.add_argument("--dtype", default="float32", help="what both compute in (default: float32)")
    parser.add_argument("--max-model-len", type=int, help="tokens of prompt and answer together")
    parser.add_argument(
        "--variable", action="append", default=[], metavar="KEY=VALUE", help="of the server; repeatable"
    )
    parser.add_argument("--chats", type=Path, metavar="FILE", help="JSON lines of messages (default: the demo corpus)")
    parser.add_argument("--count", type=int, default=40, help="chats to compare (default: 40)")
    parser.add_argument("--tokens", type=int, default=48, help="length of an answer (default: 48)")
    parser.add_argument("--tolerance", type=float, default=0.001, help="of a log-probability (default: 0.001)")
    parser.add_argument("--log", type=Path, help="where the server's log goes")
    given = parser.parse_args()
    try:
        config = Vllm(
            model=given.model,
            revision=given.revision,
            environment=given.environment,
            dtype=given.dtype,
            max_model_len=given.max_model_len,
            variables=dict(one.split("=", 1) for one in given.variable),
        )
    except ValidationError as error:
        sys.stderr.write("".join(f"error: {one['msg']}\n" for one in error.errors()))
        return ConfigError.exit_code
    chats = _read(given.chats)[: given.count] if given.chats else demo_chats(given.count)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            log = given.log or Path(scratch, "vllm.log")
            with serving(config, log) as endpoint:
                answered = ask(endpoint, chats, tokens=given.tokens)
        found = compare(
            answered, given.model, chats, revision=given.revision, dtype=given.dtype, tolerance=given.tolerance
        )
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    sys.stdout.write(found.model_dump_json(indent=1) + "\n")
    sys.stderr.write("".join(f"{line}\n" for line in found.lines()))
    return 0 if found.holds else 1


def _read(path: Path) -> list[list[Message]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines() if line]


if __name__ == "__main__":
    sys.exit(main())
