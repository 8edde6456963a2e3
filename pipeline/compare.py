"""What compression gains and costs on this machine: output tokens a second, and the quality of translations.

    python -m pipeline.compare --original BUNDLE --compressed BUNDLE --config CONFIG [--pairs FILE]

Both models are served by vLLM in turn, each run by a server of its own, and asked the same. The result says on what it
was measured, and holds there only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from hala_release.bundle import Bundle
from hala_release.disk import sha256_of, write_atomic
from hala_release.errors import ConfigError, HalaError
from hala_release.manifest import weights_sha256
from pipeline import environments
from pipeline.demo import corpus
from pipeline.engines import bleu
from pipeline.engines.answers import Answer, Answers
from pipeline.engines.chat import REFUSED, Chat, Client
from pipeline.engines.endpoint import Endpoint
from pipeline.engines.vllm import Vllm, on_cpu, serving, vllm_version
from pipeline.prompts import Message, Prompt, translation
from pipeline.stage import StageConfig, load, say
from pipeline.tasks import hala

WARM = 8
"""Chats, and tokens of each, before the clock starts."""


class CompareConfig(StageConfig):
    """What the YAML may say."""

    environment: Path = Path(".venv-serve")
    """The virtual environment with vLLM."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """What vLLM computes in, beside what is quantised."""
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    arguments: tuple[str, ...] = ()
    """More arguments of `vllm serve`."""
    variables: Mapping[str, str] = {}
    """Environment variables of the server."""
    prompt: Prompt = "translator"
    chats: Annotated[int, Field(ge=1)] = 256
    """Strings of the demo corpus that are to be translated."""
    tokens: Annotated[int, Field(ge=1)] = 128
    """Of every answer while the clock runs: none may end sooner, so both models do the same work."""
    runs: Annotated[int, Field(ge=1)] = 3
    """Of each model, in turn."""
    concurrency: Annotated[int, Field(ge=1)] = 256
    """Requests in flight."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """Of a translation whose quality is measured; it ends by itself."""

    def server(self, model: Path) -> Vllm:
        """Return how a model is served."""
        return Vllm(
            model=str(model),
            environment=self.environment,
            dtype=self.dtype,
            max_model_len=self.max_model_len,
            arguments=self.arguments,
            variables=self.variables,
        )


def compare(
    original: Bundle, compressed: Bundle, config: CompareConfig, pairs: Sequence[tuple[str, str]], logs: Path
) -> dict[str, Any]:
    """Measure both models, and return what was found, as JSON.

    Args:
        pairs: sources and references; without any, quality is not measured.
        logs: a folder for what the servers say.

    Raises:
        HalaError: a server did not start, or refused a request.
    """
    bundles = {"original": original, "compressed": compressed}
    speeds: dict[str, list[float]] = {role: [] for role in bundles}
    quality: dict[str, Any] = {}
    version = vllm_version(config.environment)
    for number in range(1, config.runs + 1):
        for role, bundle in bundles.items():
            say(f"{role}, run {number} of {config.runs}")
            with serving(config.server(bundle.files), logs / f"{role}-{number}.log") as endpoint:
                speeds[role].append(_speed(endpoint, config))
                if pairs and number == 1:
                    quality[role] = _quality(endpoint, config, pairs)
    medians = {role: statistics.median(values) for role, values in speeds.items()}
    return {
        "device": device(version),
        "engine": f"vllm {version}",
        "config": config.model_dump(mode="json"),
        "weights_sha256": {role: weights_sha256(bundle.manifest.files) for role, bundle in bundles.items()},
        "bytes": {
            role: sum(one.size for one in bundle.manifest.files if one.path.endswith(".safetensors"))
            for role, bundle in bundles.items()
        },
        "tokens_per_second": {
            role: {"median": round(medians[role], 1), "runs": [round(one, 1) for one in speeds[role]]}
            for role in bundles
        },
        "times_as_fast": round(medians["compressed"] / medians["original"], 3),
        "quality": {"pairs": len(pairs), **quality} if pairs else None,
    }


def _speed(endpoint: Endpoint, config: CompareConfig) -> float:
    """Return output tokens a second."""
    texts = list(dict.fromkeys(pair["en"] for _, pair in corpus.pairs()))
    texts = texts[:: max(1, len(texts) // config.chats)][: config.chats]
    chats = [translation(config.prompt, text) for text in texts]

    def exactly(tokens: int) -> dict[str, Any]:
        return {"max_tokens": tokens, "min_tokens": tokens, "ignore_eos": True, "temperature": 0}

    asyncio.run(_ask(endpoint, config, chats[:WARM], exactly(WARM)))
    answers, seconds = asyncio.run(_ask(endpoint, config, chats, exactly(config.tokens)))
    return sum(answer.completion_tokens for answer in answers) / seconds


def _quality(endpoint: Endpoint, config: CompareConfig, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    chats = [translation(config.prompt, source) for source, _ in pairs]
    answers, _ = asyncio.run(_ask(endpoint, config, chats, {"max_tokens": config.max_tokens, "temperature": 0}))
    found = bleu.quality([answer.text for answer in answers], [reference for _, reference in pairs])
    return [{**one._asdict(), "value": round(one.value, 2), "stderr": round(one.stderr, 2)} for one in found]


async def _ask(
    endpoint: Endpoint, config: CompareConfig, chats: Sequence[Sequence[Message]], parameters: Mapping[str, Any]
) -> tuple[list[Answer], float]:
    """Return answers, none of which was kept from before, and the seconds that they took."""
    with tempfile.TemporaryDirectory() as folder, Answers(Path(folder), "run") as answers:
        async with Chat(endpoint, Client(concurrency=config.concurrency), answers) as chat:
            start = time.perf_counter()
            found = await asyncio.gather(*(chat.ask(one, parameters) for one in chats))
            seconds = time.perf_counter() - start
    if refused := [one.finish_reason for one in found if one.finish_reason.startswith(REFUSED)]:
        raise HalaError(f"{len(refused)} requests were {refused[0]}", fix="raise `max_model_len`, or lower `tokens`")
    return list(found), seconds


def device(version: str) -> str:
    """Return what vLLM computes on here, as people call it."""
    if on_cpu(version):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return f"CPU: {len(names)} x {names[0]}" if names else "CPU"
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise HalaError(f"nvidia-smi does not say which GPU this is: {error}", fix="is there one?") from error
    return f"GPU: {len(names)} x {names[0].strip()}"


def main(arguments: list[str] | None = None) -> int:
    """Compare what the command line names; the result goes to stdout as JSON, everything else to stderr."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--original", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--compressed", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--config", type=Path, required=True, help="a file like those in pipeline/configs/compare")
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE", help="rows with `en` and `ar`: .jsonl, .jsonl.gz, .parquet"
    )
    parser.add_argument("--logs", type=Path, default=Path("out/compare"), metavar="DIR", help="(default: out/compare)")
    parser.add_argument("--file", type=Path, help="write the result there, too")
    given = parser.parse_args(arguments)
    try:
        config = load(given.config, CompareConfig, {})
        original, compressed = Bundle.open(given.original), Bundle.open(given.compressed)
        for bundle in (original, compressed):
            bundle.verify()
        if given.pairs:
            environments.enter(["sacrebleu"], sys.argv[1:] if arguments is None else arguments, "pipeline.compare")
        found = compare(original, compressed, config, _pairs(given.pairs) if given.pairs else [], given.logs)
        if given.pairs:
            found["quality"]["sha256"] = sha256_of(given.pairs)
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if given.file:
        given.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(given.file, text.encode())
    sys.stdout.write(text)
    return 0


def _pairs(file: Path) -> list[tuple[str, str]]:
    try:
        return [(row["en"], row["ar"]) for row in hala.read(file)]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{file} holds no pairs: {error}", fix="give rows with the columns `en` and `ar`") from error


if __name__ == "__main__":
    sys.exit(main())
