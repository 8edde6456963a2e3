"""Conversations as a trainer takes them: tokens, and which of them the model is to learn.

A conversation is rendered by the model's own chat template. What the template writes for a turn of the assistant, to
its end-of-turn token, is learnt; everything else is context. Where a turn stands is found by rendering the conversation
up to it, so that any template will do that writes turn after turn, with or without `{% generation %}` in it.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hala_release.errors import ConfigError, EngineMissing
from pipeline import storage

IGNORED = -100
"""The label of a token that is context; torch's cross-entropy leaves it out."""
ROLES = {"system": "system", "human": "user", "gpt": "assistant"}
"""Roles of `messages` by those of `conversations`."""
SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
BATCH_ROWS = 1000


class Tokens(NamedTuple):
    """One conversation."""

    input_ids: list[int]
    labels: list[int]
    """The token where it is learnt, else `IGNORED`."""
    ends: set[int]
    """The last token of each turn of the assistant."""


def tokenizer_of(model: Path) -> Any:  # noqa: ANN401 -- transformers gives it no one type
    """Return the tokenizer of a model.

    Raises:
        EngineMissing: transformers is not installed here.
    """
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise EngineMissing(f"{error.name} is not installed here", fix="make env-work") from error
    return AutoTokenizer.from_pretrained(model, local_files_only=True)


def tokenize(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> Tokens:  # noqa: ANN401
    """Turn one conversation into tokens.

    Raises:
        ConfigError: the template refuses it, or writes a turn otherwise when others follow it.
    """
    text = _rendered(tokenizer, messages)
    spans = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            before = _rendered(tokenizer, messages[:number], add_generation_prompt=True)
            after = _rendered(tokenizer, messages[: number + 1]).rstrip()
            if not after.startswith(before) or not text.startswith(after):
                raise ConfigError(
                    "the chat template writes a turn otherwise when others follow it, so what is to be learnt cannot "
                    f"be told from what is context: turn {number + 1} of a conversation that begins {text[:60]!r}",
                    fix="train on conversations of one turn, or give the base a template that writes turn after turn",
                )
            spans.append((len(before), len(after)))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = list(encoded["input_ids"])
    labels = [IGNORED] * len(ids)
    ends = set()
    place = 0
    for low, high in spans:
        last = None
        while place < len(ids) and encoded["offset_mapping"][place][0] < high:
            if encoded["offset_mapping"][place][0] >= low:
                labels[place] = last = ids[place]
            place += 1
        if last is not None:
            ends.add(last)
    return Tokens(ids, labels, ends)


def write(
    model: Path, shards: Sequence[Path], folder: Path, *, max_length: int, whole: bool, workers: int
) -> Counter[str]:
    """Write the tokens of all shards to `folder`, a file a shard; those that are there are left.

    Args:
        shards: Parquet with `messages`, or `conversations`.
        max_length: longer conversations are left out, never cut: an answer without its end teaches not to end.
        whole: learn every token, not only the assistant's.

    Returns:
        `rows` and `tokens` that are learnt from, `learnt` tokens of them, rows left out as `too_long` or `no_answer`,
        and `ends/TOKEN`: the tokens that end a turn, and do nothing else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (model, shard, folder / f"{number:05d}.parquet", max_length, whole)
        for number, shard in enumerate(shards)
        if not (folder / f"{number:05d}.json").exists()
    ]
    if workers > 1 and len(jobs) > 1:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_write, *zip(*jobs, strict=True)))
    else:
        for job in jobs:
            _write(*job)
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.json")):
        counts.update(storage.read_json(str(path)))
    return counts


def _write(model: Path, shard: Path, out: Path, max_length: int, whole: bool) -> None:
    tokenizer = tokenizer_of(model)
    marks = set(tokenizer.added_tokens_decoder)  # where a template ends a turn with none, its last word is no end
    counts: Counter[str] = Counter()
    held: list[dict[str, list[int]]] = []
    with storage.writing(str(out)) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for messages in _conversations(shard):
            found = tokenize(tokenizer, messages)
            learnt = sum(label != IGNORED for label in found.labels)
            if not learnt:
                counts["no_answer"] += 1
            elif len(found.input_ids) > max_length:
                counts["too_long"] += 1
            else:
                counts.update({"rows": 1, "tokens": len(found.input_ids)})
                counts["learnt"] += len(found.input_ids) if whole else learnt
                counts.update(f"ends/{token}" for token in found.ends & marks)
                labels = found.input_ids if whole else found.labels
                held.append({"input_ids": found.input_ids, "labels": labels})
            if len(held) == BATCH_ROWS:
                writer.write_table(pa.Table.from_pylist(held, schema=SCHEMA))
                held.clear()
        writer.write_table(pa.Table.from_pylist(held, schema=SCHEMA))
    storage.write_json(str(out.with_suffix(".json")), counts)


def _conversations(shard: Path) -> Iterator[list[dict[str, str]]]:
    with pq.ParquetFile(shard) as file:
        names = set(file.schema_arrow.names)
        column = "messages" if "messages" in names else "conversations"
        if column not in names:
            raise ConfigError(
                f"{shard.name} has neither `messages` nor `conversations`", fix="make the rows with the stage `pack`"
            )
        for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
            for turns in batch.column(0).to_pylist():
                if column == "messages":
                    yield [{"role": turn["role"], "content": turn["content"]} for turn in turns]
                else:
                    yield [{"role": ROLES.get(turn["from"], turn["from"]), "content": turn["value"]} for turn in turns]


def _rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False) -> str:  # noqa: ANN401
    if not messages:
        return ""
    try:
        return str(
            tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=add_generation_prompt)
        )
    except jinja2.TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ConfigError(
            f"the chat template refuses a conversation of {roles}: {error}",
            fix="give the base a template that takes it, or leave such conversations out",
        ) from error


def read_ends(counts: Mapping[str, int]) -> list[int]:
    """Return the tokens that end a turn, the most frequent first."""
    ends = Counter(
        {int(name.removeprefix("ends/")): number for name, number in counts.items() if name.startswith("ends/")}
    )
    return [token for token, _ in ends.most_common()]


def with_ends(generation_config: bytes, ends: Sequence[int]) -> bytes:
    """Return a generation_config.json with which generation stops at these tokens, too."""
    config = orjson.loads(generation_config)
    eos = config.get("eos_token_id")
    known = eos if isinstance(eos, list) else [] if eos is None else [eos]
    if missing := [token for token in ends if token not in known]:
        config["eos_token_id"] = [*known, *missing]
        return orjson.dumps(config, option=orjson.OPT_INDENT_2) + b"\n"
    return generation_config
