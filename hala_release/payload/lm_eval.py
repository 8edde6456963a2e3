"""What lm-eval wrote: `results_DATE.json`, and `samples_TASK_DATE.jsonl` beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from hala_release.disk import sha256_of
from hala_release.errors import PayloadInvalid
from hala_release.payload import evaluation
from hala_release.payload.evaluation import CORPUS, Item, Number, Run, Task

UNDERSTOOD = frozenset({"0.4.13"})
_SHA = re.compile(r"[0-9a-f]{64}")
_CONFIG = (
    "model", "model_num_parameters", "model_dtype", "model_revision", "model_sha", "batch_size", "limit",
    "bootstrap_iters", "gen_kwargs", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed",
)  # fmt: skip
_TASK = (
    "task", "dataset_path", "dataset_name", "dataset_kwargs", "training_split", "validation_split", "test_split",
    "fewshot_split", "output_type", "num_fewshot", "metric_list", "repeats", "target_delimiter", "fewshot_delimiter",
)  # fmt: skip
_KEPT = (
    "results", "groups", "group_subtasks", "versions", "n-shot", "higher_is_better", "n-samples", "lm_eval_version",
    "transformers_version", "tokenizer_pad_token", "tokenizer_eos_token", "tokenizer_bos_token", "eot_token_id",
    "max_length", "chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn", "task_hashes",
)  # fmt: skip
"""What is published: not the date, the machine, the environment, source code, or anybody's name."""


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Count(_Loose):
    original: int
    effective: int


class _TaskConfig(_Loose):
    dataset_path: str | None = None
    dataset_kwargs: dict[str, JsonValue] | None = None
    metadata: dict[str, JsonValue] | None = None
    metric_list: list[dict[str, JsonValue]] | None = None


class _Config(_Loose):
    model: str
    model_args: str | dict[str, JsonValue] | None = None
    model_num_parameters: int | None = None
    model_dtype: str | None = None
    model_sha: str | None = None
    model_revision: str | None = None
    limit: JsonValue = None


class _Document(_Loose):
    results: dict[str, dict[str, JsonValue]]
    group_subtasks: dict[str, list[str]] = {}
    configs: dict[str, _TaskConfig]
    versions: dict[str, str | int | float | None] = {}
    shots: dict[str, int] = Field(alias="n-shot")
    higher_is_better: dict[str, dict[str, bool | None]] = {}
    counts: dict[str, _Count] = Field(alias="n-samples")
    config: _Config
    lm_eval_version: str
    transformers_version: str | None = None
    tokenizer_bos_token: list[str | None] | None = None
    chat_template: str | None = None
    chat_template_sha: str | None = None
    model_name: str | None = None
    system_instruction: str | None = None


def looks_like(document: object) -> bool:
    """Tell whether a document is one of lm-eval's."""
    return isinstance(document, dict) and ("lm_eval_version" in document or "n-samples" in document)


def read(file: Path, document: Mapping[str, Any]) -> Run:
    """Read what lm-eval says in a file.

    Raises:
        PayloadInvalid: its layout or its version is not one that is understood.
    """
    try:
        found = _Document.model_validate(document)
    except ValidationError as error:
        first = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:4])
        raise PayloadInvalid(
            f"{file.name} has another layout than lm-eval {', '.join(UNDERSTOOD)} writes: {evaluation.shown(first)}",
            fix="evaluate with that version",
        ) from error
    if found.lm_eval_version not in UNDERSTOOD:
        raise PayloadInvalid(
            f"{file.name} is of lm-eval {evaluation.shown(found.lm_eval_version)}; "
            f"understood is {', '.join(UNDERSTOOD)}",
            fix="evaluate with that version",
        )
    problems = [] if found.config.limit is None else [_limit(found.config.limit)]
    arguments = _arguments(found.config.model_args)
    if extra := [key for key in ("peft", "delta") if arguments.get(key)]:
        problems.append(f"the model was loaded with {extra[0]}, which is not part of the released weights")
    if found.chat_template and found.chat_template_sha != hashlib.sha256(found.chat_template.encode()).hexdigest():
        problems.append("chat_template_sha is not the digest of the chat template")
    template = found.chat_template_sha or None
    if template and not _SHA.fullmatch(template):
        problems.append(f"chat_template_sha is {evaluation.shown(template)}")
    if strangers := [name for name in found.results if name not in found.configs and name not in found.group_subtasks]:
        problems.append(f"{', '.join(map(evaluation.shown, strangers[:4]))} is neither a task nor a group of this file")
    samples = _samples(file, found, problems)
    tasks = [_task(name, found, samples.get(name), problems) for name in found.results if name in found.configs]
    tasks += _groups(found, problems)
    return Run(
        file=file.name,
        sha256=sha256_of(file),
        harness="lm-eval",
        version=found.lm_eval_version,
        backend=f"transformers {found.transformers_version}"
        if found.config.model == "hf" and re.fullmatch(r"\d[\w.+-]{0,30}", found.transformers_version or "")
        else "",
        dtype=_dtype(found.config.model_dtype),
        chat_template_sha256=template,
        model=str(arguments.get("pretrained") or found.model_name or ""),
        commit=found.config.model_sha or found.config.model_revision or "",
        parameters=found.config.model_num_parameters if (found.config.model_num_parameters or 0) > 0 else None,
        note="Measured with a system prompt." if found.system_instruction else "",
        tasks=tuple(tasks),
        document=_public(document),
        problems=tuple(problems),
    )


def _arguments(given: str | dict[str, JsonValue] | None) -> dict[str, Any]:
    if isinstance(given, str):
        return dict(part.partition("=")[::2] for part in given.split(","))
    return given or {}


def _limit(limit: JsonValue) -> str:
    return f"it was measured with a limit of {evaluation.shown(str(limit))}"


def _dtype(said: str | None) -> str:
    name = (said or "").removeprefix("torch.")
    return name if re.fullmatch(r"[a-z]+\d[a-z0-9_]{0,12}", name) else ""


def _numbers(name: str, document: _Document, problems: list[str]) -> dict[str, Number]:
    found = {}
    for key, value in document.results[name].items():
        metric, _, filtered = key.partition(",")
        if not filtered or metric.endswith("_stderr"):
            continue
        number = evaluation.finite(value)
        if number is None:
            problems.append(f"{evaluation.shown(name)}: {evaluation.shown(key)} is no finite number")
            continue
        error = document.results[name].get(f"{metric}_stderr,{filtered}")
        found[key] = Number(number, evaluation.finite(error), filtered)
        if error is not None and error != "N/A" and found[key].stderr is None:
            problems.append(f"{evaluation.shown(name)}: the standard error of {evaluation.shown(key)} is no number")
    return found


def _task(name: str, document: _Document, items: tuple[Item, ...] | None, problems: list[str]) -> Task:
    count, config = document.counts.get(name), document.configs[name]
    if count is None:
        problems.append(f"{evaluation.shown(name)}: n-samples does not say how many items it has")
    elif count.effective != count.original or count.original < 1:
        problems.append(f"{evaluation.shown(name)}: {count.effective:,} of {count.original:,} items were scored")
    if (shots := document.shots.get(name)) is None or shots < 0:
        problems.append(f"{evaluation.shown(name)}: n-shot does not say how many examples its prompts have")
    numbers = _numbers(name, document, problems)
    about, given = config.metadata or {}, config.dataset_kwargs or {}
    listed = {str(one.get("metric")): one.get("aggregation") for one in config.metric_list or []}
    metrics = {key.partition(",")[0] for key in numbers}
    language, title = about.get("language"), about.get("title")
    return Task(
        name=name,
        version=_version(document, name),
        numbers=numbers,
        means=frozenset(one for one in metrics if one not in CORPUS and listed.get(one, "mean") == "mean"),
        lower_is_better=_lower(document, name),
        shots=max(shots or 0, 0),
        n=count.original if count and count.original > 0 else None,
        language=language if isinstance(language, str) else "",
        data=evaluation.of_hub(given.get("repository") or config.dataset_path, given.get("revision")),
        title=title if isinstance(title, str) else "",
        items=items,
    )


def _lower(document: _Document, name: str) -> frozenset[str]:
    return frozenset(key for key, higher in document.higher_is_better.get(name, {}).items() if higher is False)


def _version(document: _Document, name: str) -> str:
    version = document.versions.get(name)
    return "" if version is None else str(version)


def _groups(document: _Document, problems: list[str]) -> Iterator[Task]:
    """Yield means; lm-eval takes the mean of a group of groups over the tasks in them."""
    for name in document.group_subtasks:
        numbers = _numbers(name, document, problems) if name in document.results else {}
        if not numbers:
            continue  # a group without a mean of its own
        members = _tasks_of(name, document)
        if not members or name in members:
            problems.append(f"{evaluation.shown(name)}: it is a mean of itself, or of nothing")
            continue
        yield Task(
            name=name,
            version=_version(document, name),
            numbers=numbers,
            means=frozenset(),
            lower_is_better=_lower(document, name),
            shots=max(document.shots.get(name, document.shots.get(members[0], 0)), 0),
            n=None,
            language="",
            data="",
            title="",
            items=None,
            members=members,
        )


def _tasks_of(group: str, document: _Document) -> tuple[str, ...]:
    """Return the tasks in a group, each once; with the group itself where it is in itself."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    left = document.group_subtasks[group][::-1]
    while left:
        name = left.pop()
        if name == group or name not in document.group_subtasks:
            found[name] = None
        elif name not in seen:
            seen.add(name)
            left += document.group_subtasks[name][::-1]
    return tuple(found)


def _samples(file: Path, document: _Document, problems: list[str]) -> dict[str, tuple[Item, ...]]:
    """Read the samples that were written with a file."""
    date = file.stem.removeprefix("results_")
    found = {}
    for path in sorted(file.parent.glob("samples_*.jsonl")):
        if not path.stem.endswith(f"_{date}") or path.is_symlink():
            continue
        name = path.stem.removeprefix("samples_").removesuffix(f"_{date}")
        if name not in document.configs:
            problems.append(f"{evaluation.shown(path.name)} holds samples of no task of this file")
            continue
        found[name] = _items(path, name, document, problems)
    return found


def _items(path: Path, name: str, document: _Document, problems: list[str]) -> tuple[Item, ...]:
    items: dict[int, Item] = {}
    start = next(iter(document.tokenizer_bos_token or []), None)
    where = f"{evaluation.shown(name)}, samples"
    seen: set[tuple[int, str]] = set()
    with path.open("rb") as lines:
        for line in lines:
            sample = evaluation.parse(line, path.name)
            match sample:
                case {
                    "doc_id": int(number),
                    "filter": str(filtered),
                    "prompt_hash": str(digest),
                    "arguments": dict(given),
                }:
                    prompt = next((one.get("arg_0") for one in given.values() if isinstance(one, dict)), None)
                case _:
                    problems.append(f"{where}: a line has not what lm-eval writes")
                    return ()
            if not _SHA.fullmatch(digest):
                problems.append(f"{where}: prompt_hash of item {number} is no digest")
            if isinstance(prompt, str):
                if start and prompt.startswith(start * 2):
                    problems.append(f"{where}: the prompt of item {number} begins with two start tokens")
                    return ()
                if hashlib.sha256(prompt.encode()).hexdigest() != digest:
                    problems.append(f"{where}: prompt_hash of item {number} is not that of its prompt")
                    return ()
            if (number, filtered) in seen:
                problems.append(f"{where}: item {number} is there twice")
            seen.add((number, filtered))
            values = {
                f"{metric},{filtered}": value
                for metric, given_value in sample.items()
                if isinstance(metric, str) and (value := evaluation.finite(given_value)) is not None
            }
            known = items.get(number)
            items[number] = Item(number, digest, {**(known.metrics if known else {}), **values})
    return tuple(items[number] for number in sorted(items))


def _public(document: Mapping[str, Any]) -> dict[str, Any]:
    found = evaluation.only(document, _KEPT)
    found["config"] = evaluation.only(document["config"], _CONFIG)
    found["configs"] = {
        name: {
            **evaluation.only(config, _TASK),
            "metadata": evaluation.only(config.get("metadata") or {}, ("version", "title", "language", "note")),
        }
        for name, config in document["configs"].items()
    }
    cleaned: dict[str, Any] = evaluation.public(found)
    return cleaned
