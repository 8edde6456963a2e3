"""Measure the translate stage against the raw engine: the same requests, the same server, the same concurrency.

    HALA_SERVE=.venv-serve .venv/bin/python -m tests.bench.serve

The peer is the barest client there is: it posts bodies that were made before, and reads how many tokens came back when
its clock has stopped. The stage reads rows, protects, asks, keeps every answer on the disk, restores, and writes
rows. Both are run in turns, on an engine whose prefix cache was emptied.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp
import httpx
import orjson

from hala_release.units import count
from pipeline import prompts
from pipeline.demo import corpus, model
from pipeline.engines.chat import Client
from pipeline.engines.endpoint import Endpoint, Remote
from pipeline.engines.vllm import Vllm, serving
from pipeline.rows import ReadRows, Row, WriteRows, new_row, writing_rows
from pipeline.text.protect import mask, parts
from pipeline.translate import Translate, TranslateConfig

ROUNDS = 3


class Run(NamedTuple):
    """Once through all requests."""

    tokens: int
    """Of answers."""
    seconds: float
    cpu: float
    """Seconds that this process computed; the engine is another one."""


class Served(NamedTuple):
    """Rounds of the stage and of the bare client on one engine."""

    model: str
    requests: int
    stage: tuple[Run, ...]
    raw: tuple[Run, ...]

    @property
    def ratio(self) -> float:
        """What the stage keeps of the raw engine's tokens per second, by the median round of each."""
        return _rate(self.stage) / _rate(self.raw)

    def line(self) -> str:
        """Say it to a person."""
        cpu = [1000 * statistics.median(run.cpu for run in runs) / self.requests for runs in (self.stage, self.raw)]
        return (
            f"{self.model}: {count(self.requests, 'request')}, {self.stage[-1].tokens} tokens; "
            f"translate {_rate(self.stage):.0f} tokens/s, raw {_rate(self.raw):.0f} tokens/s, ratio {self.ratio:.3f}; "
            f"this process computed {cpu[0]:.2f} ms for each request of translate, {cpu[1]:.2f} ms for a raw one"
        )


def _rate(runs: Sequence[Run]) -> float:
    return statistics.median(run.tokens / run.seconds for run in runs)


def bench(environment: Path, scratch: Path, *, texts: int = 480, concurrency: int = 32) -> list[Served]:
    """Measure on a model so small that the stage itself could be what is slow: LFM2's architecture, three megabytes.

    It never ends by itself: its answers are as long as they may be, about a hundred tokens.
    """
    lfm2 = scratch / "lfm2"
    written = [pair["en"] for _, pair in corpus.pairs()]
    model.write_model(lfm2, written[:2000])
    for name in ("config.json", "generation_config.json"):
        endless = orjson.loads((lfm2 / name).read_bytes()) | {"eos_token_id": model.PAD}
        (lfm2 / name).write_bytes(orjson.dumps(endless))
    tokenizer = orjson.loads((lfm2 / "tokenizer_config.json").read_bytes()) | {"eos_token": "<|pad|>"}
    (lfm2 / "tokenizer_config.json").write_bytes(orjson.dumps(tokenizer))
    chosen = [text for text in dict.fromkeys(written) if _plain(text)][:texts]
    server = Vllm(model=str(lfm2), environment=environment, dtype="float32", max_model_len=1024, variables=DEVELOPER)
    with serving(server, scratch / "vllm.log") as endpoint:
        return [measure(endpoint, chosen, TranslateConfig(server=_remote(endpoint)), concurrency, scratch)]


DEVELOPER = {"VLLM_SERVER_DEV_MODE": "1"}
"""vLLM empties its prefix cache on request then."""


def measure(
    endpoint: Endpoint, texts: Sequence[str], config: TranslateConfig, concurrency: int, scratch: Path
) -> Served:
    """Run the stage's step and the bare client in turns on the same texts, which hold nothing that is protected."""
    config = config.model_copy(update={"server": _remote(endpoint), "client": Client(concurrency=concurrency)})
    shard = scratch / "rows"
    with writing_rows(str(shard), 0, 1) as write:
        for number, text in enumerate(texts):
            write(_row(number, text))
    bodies = list(_bodies(endpoint, texts, config))
    stage: list[Run] = []
    raw: list[Run] = []
    for turn in range(ROUNDS + 1):
        told = _post(endpoint, bodies, concurrency)
        kept = _stage(endpoint, config.model_copy(update={"cache": scratch / f"{turn}"}), shard, scratch / f"{turn}")
        if turn:  # the first round warms the engine
            raw.append(told)
            stage.append(kept)
    return Served(endpoint.model, len(bodies), tuple(stage), tuple(raw))


def _stage(endpoint: Endpoint, config: TranslateConfig, shard: Path, scratch: Path) -> Run:
    """Run from the first row read to the last one written."""
    _empty_cache(endpoint)
    step = Translate(config, str(scratch / "work"))
    start, cpu = time.perf_counter(), time.process_time()
    data = ReadRows([str(shard / "train-00000-of-00001.parquet")]).run(None)
    for _ in WriteRows(str(scratch / "files")).run(step.run(data)):
        pass
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    counts = orjson.loads((scratch / "work" / "counts" / "00000.json").read_bytes())
    return Run(counts["tokens/completion"], seconds, cpu)


def _post(endpoint: Endpoint, bodies: Sequence[bytes], concurrency: int) -> Run:
    _empty_cache(endpoint)
    return asyncio.run(_posted(endpoint, bodies, concurrency))


async def _posted(endpoint: Endpoint, bodies: Sequence[bytes], concurrency: int) -> Run:
    waiting = iter(bodies)
    said: list[bytes] = []
    url, headers = f"{endpoint.url}/chat/completions", {"Content-Type": "application/json"}
    start, cpu = time.perf_counter(), time.process_time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def work() -> None:
            for body in waiting:
                async with session.post(url, data=body, headers=headers) as response:
                    said.append(await response.read())

        await asyncio.gather(*(work() for _ in range(concurrency)))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Run(sum(orjson.loads(one)["usage"]["completion_tokens"] for one in said), seconds, cpu)


def _bodies(endpoint: Endpoint, texts: Sequence[str], config: TranslateConfig) -> Iterator[bytes]:
    """Yield what the stage sends."""
    for text in texts:
        for part in parts(text, config.segment_characters, frozenset(config.protect)):
            if part.sent:
                sent = mask(part).text
                parameters = {**config.sampling.parameters(), "max_tokens": config.max_tokens.of(sent)}
                messages = prompts.translation(config.prompt, sent)
                yield orjson.dumps({"model": endpoint.model, "messages": messages, **parameters})


def _plain(text: str) -> bool:
    """Whether the text is sent as it is, in one piece."""
    found = parts(text, 1_500, frozenset(TranslateConfig.model_fields["protect"].default))
    return len(found) == 1 and found[0].sent and not found[0].spans


def _row(number: int, text: str) -> Row:
    return new_row("bench", "0", number, "mit", [{"role": "user", "text": text}])


def _remote(endpoint: Endpoint) -> Remote:
    return Remote(kind="endpoint", url=endpoint.url, model=endpoint.model, digest=endpoint.digest)


def _empty_cache(endpoint: Endpoint) -> None:
    root = endpoint.url.removesuffix("/v1")
    httpx.post(f"{root}/reset_prefix_cache", timeout=60, trust_env=False).raise_for_status()


def main() -> int:
    """Print what the stage keeps; leave with 1 below 95%."""
    environment = Path(os.environ.get("HALA_SERVE", ".venv-serve"))
    with tempfile.TemporaryDirectory() as scratch:
        found = bench(environment, Path(scratch))
    for one in found:
        sys.stdout.write(one.line() + "\n")
    return int(any(one.ratio < 0.95 for one in found))


if __name__ == "__main__":
    sys.exit(main())
