"""What LightEval wrote: `results/…/results_DATE.json`, and `details/…/details_TASK_DATE.parquet`.

LightEval does not write its version, what computed, whether a chat template was applied, or, without details, how many
items a task has. The digest of a prompt is that of the question, before a chat template.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from hala_release.disk import sha256_of
from hala_release.errors import PayloadInvalid
from hala_release.payload import evaluation
from hala_release.payload.evaluation import CORPUS, SCALES, Item, Number, Run, Task

_GENERAL = ("num_fewshot_seeds", "max_samples")
_MODEL = (
    "generation_parameters", "system_prompt", "revision", "batch_size", "max_length", "add_special_tokens",
    "skip_special_tokens", "dtype", "multichoice_continuations_start_space", "pairwise_tokenization",
    "override_chat_template", "max_model_length",
)  # fmt: skip
_TASK = (
    "name", "prompt_function", "hf_repo", "hf_subset", "hf_revision", "hf_avail_splits", "evaluation_splits",
    "few_shots_split", "few_shots_select", "generation_size", "stop_sequence", "num_samples", "original_num_docs",
    "effective_num_docs", "num_fewshots", "version", "metrics",
)  # fmt: skip
"""What is published: not the machine, its paths and its clock."""


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, protected_namespaces=())


class _Model(_Loose):
    model_name: str | None = None
    dtype: str | None = None
    revision: str | None = None
    system_prompt: str | None = None
    override_chat_template: bool | None = None


class _General(_Loose):
    max_samples: JsonValue = None
    model_config_: _Model = _Model()
    model_name: str | None = None


class _Metric(_Loose):
    metric_name: str | list[str]
    higher_is_better: bool | dict[str, bool] = True
    corpus_level_fn: JsonValue = None


class _TaskConfig(_Loose):
    hf_repo: str | None = None
    hf_revision: str | None = None
    metrics: list[_Metric] = []
    num_fewshots: int = 0
    original_num_docs: int = -1
    effective_num_docs: int = -1
    version: int | str = 0


class _Document(_Loose):
    config_general: _General
    results: dict[str, dict[str, JsonValue]]
    config_tasks: dict[str, _TaskConfig]


def looks_like(document: object) -> bool:
    """Tell whether a document is one of LightEval's."""
    return isinstance(document, dict) and "config_general" in document and "config_tasks" in document


def read(file: Path, document: Mapping[str, Any], details: Sequence[Path]) -> Run:
    """Read what LightEval says in a file.

    Args:
        details: all Parquet files of the run's folder; those of another date are not read.

    Raises:
        PayloadInvalid: its layout is not the one that is understood.
    """
    general = document["config_general"]
    try:
        renamed = (
            {**general, "model_config_": general.get("model_config", {})} if isinstance(general, dict) else general
        )
        found = _Document.model_validate({**document, "config_general": renamed})
    except ValidationError as error:
        first = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:4])
        raise PayloadInvalid(
            f"{file.name} has another layout than LightEval 0.13.0 writes: {evaluation.shown(first)}",
            fix="evaluate with that version",
        ) from error
    problems = []
    if found.config_general.max_samples is not None:
        most = evaluation.shown(str(found.config_general.max_samples))
        problems.append(f"it was measured with max_samples of {most}")
    samples = _details(file, found, details, problems)
    tasks = []
    for key in found.config_tasks:
        if key not in found.results:
            problems.append(f"{evaluation.shown(key)} has no result")
        else:
            tasks.append(_task(key, found, samples.get(key), problems))
    tasks += _means(found, tasks, problems)
    model = found.config_general.model_config_
    return Run(
        file=file.name,
        sha256=sha256_of(file),
        harness="LightEval",
        version="",
        backend="",
        dtype=_dtype(model.dtype),
        chat_template_sha256=None,
        model=model.model_name or found.config_general.model_name or "",
        commit=model.revision or "",
        parameters=None,
        note="Measured with a system prompt." if model.system_prompt else "",
        tasks=tuple(tasks),
        document=_public(document),
        problems=tuple(problems),
    )


def _dtype(said: str | None) -> str:
    name = (said or "").removeprefix("torch.")
    return name if re.fullmatch(r"[a-z]+\d[a-z0-9_]{0,12}", name) else ""


def _numbers(key: str, document: _Document, problems: list[str]) -> dict[str, Number]:
    found = {}
    for metric, value in document.results[key].items():
        if metric.endswith("_stderr"):
            continue
        number, error = evaluation.finite(value), document.results[key].get(f"{metric}_stderr")
        if number is None or (error is not None and evaluation.finite(error) is None):
            problems.append(f"{evaluation.shown(key)}: {evaluation.shown(metric)} or its error is no finite number")
            continue
        found[metric] = Number(number, evaluation.finite(error))
    return found


def _task(key: str, document: _Document, items: tuple[Item, ...] | None, problems: list[str]) -> Task:
    config, numbers = document.config_tasks[key], _numbers(key, document, problems)
    name, _, shots = key.rpartition("|")
    original, effective = config.original_num_docs, config.effective_num_docs
    if original >= 0 and effective != original:
        problems.append(f"{evaluation.shown(key)}: {effective:,} of {original:,} items were scored")
    if not name or not re.fullmatch(r"\d{1,4}", shots):
        problems.append(f"{evaluation.shown(key)} does not say how many examples its prompts have")
    named = {metric: one for one in config.metrics for metric in _names(one)}
    return Task(
        name=name or key,
        version=str(config.version),
        numbers=numbers,
        means=frozenset(
            metric
            for metric in numbers
            if metric not in CORPUS and (metric not in named or named[metric].corpus_level_fn in ("mean", None))
        ),
        lower_is_better=frozenset(metric for metric, one in named.items() if one.higher_is_better is False),
        shots=int(shots) if re.fullmatch(r"\d{1,4}", shots) else 0,
        n=original if original > 0 else len(items) if items else None,
        language="",
        data=evaluation.of_hub(config.hf_repo, config.hf_revision),
        title="",
        items=items,
    )


def _names(metric: _Metric) -> list[str]:
    return metric.metric_name if isinstance(metric.metric_name, list) else [metric.metric_name]


def _means(document: _Document, tasks: Sequence[Task], problems: list[str]) -> list[Task]:
    """Return the means that LightEval adds: of tasks with one beginning, and of all where that is something else."""
    found: list[Task] = []
    for key in document.results:
        name, _, shots = key.rpartition("|")
        if key in document.config_tasks or key == "all":
            continue
        if not name.endswith(":_average"):
            problems.append(f"{evaluation.shown(key)} is neither a task nor a mean of this file")
            continue
        beginning = name.removesuffix(":_average")
        members = [task for task in tasks if task.name.partition(":")[0] == beginning and str(task.shots) == shots]
        if not members:
            problems.append(f"{evaluation.shown(key)} is a mean, and none of its tasks is in this file")
            continue
        found.append(_mean(beginning, key, members, document, problems))
    shared = set.intersection(*(set(task.numbers) & SCALES.keys() for task in tasks)) if tasks else set()
    covered = any(len(mean.members) == len(tasks) for mean in found)
    if "all" in document.results and len(tasks) > 1 and shared and not covered:
        found.append(_mean("all", "all", tasks, document, problems))
    return found


def _mean(name: str, key: str, members: Sequence[Task], document: _Document, problems: list[str]) -> Task:
    return Task(
        name=name,
        version="",
        numbers={
            metric: number._replace(stderr=_error([task.numbers[metric].stderr for task in members]))
            for metric, number in _numbers(key, document, problems).items()
            if all(metric in task.numbers for task in members)
        },
        means=frozenset(),
        lower_is_better=frozenset.union(*(task.lower_is_better for task in members)),
        shots=members[0].shots,
        n=None,
        language="",
        data="",
        title="",
        items=None,
        members=tuple(task.name for task in members),
    )


def _error(members: Sequence[float | None]) -> float | None:
    """Return the standard error of a mean in which every task counts the same; what LightEval writes there is none."""
    known = [error for error in members if error is not None]
    return math.hypot(*known) / len(known) if len(known) == len(members) else None


def _details(
    file: Path, document: _Document, details: Sequence[Path], problems: list[str]
) -> dict[str, tuple[Item, ...]]:
    date = file.stem.removeprefix("results_")
    found = {}
    for path in details:
        if not path.stem.endswith(f"_{date}"):
            continue
        key = path.stem.removeprefix("details_").removesuffix(f"_{date}")
        if key not in document.config_tasks:
            problems.append(f"{evaluation.shown(path.name)} holds details of no task of this file")
            continue
        found[key] = _items(path, key, problems)
    return found


def _items(path: Path, key: str, problems: list[str]) -> tuple[Item, ...]:
    where = f"{evaluation.shown(key)}, details"
    try:
        table = pq.read_table(path, partitioning=None)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PayloadInvalid(f"{evaluation.shown(path.name)} is not Parquet: {error}", fix="evaluate again") from error
    items, doubled = [], 0
    for row in rows:
        match row:
            case {"doc": {"query": str(query), "id": str(name)}, "metric": dict(metrics), "model_response": dict(said)}:
                values = {
                    metric: value for metric, one in metrics.items() if (value := evaluation.finite(one)) is not None
                }
                items.append(Item(name, hashlib.sha256(query.encode()).hexdigest(), values))
            case _:
                problems.append(f"{where}: a row has not what LightEval writes")
                return ()
        tokens = said.get("input_tokens")
        doubled += isinstance(tokens, list) and len(tokens) > 1 and tokens[0] == tokens[1]
    if items and doubled == len(items):
        problems.append(
            f"{where}: every prompt begins with two start tokens; "
            "evaluate with add_special_tokens=False where the chat template writes one"
        )
    return _told_apart(items)


def _told_apart(items: Sequence[Item]) -> tuple[Item, ...]:
    """Return items in an order that no model decides; each split is numbered from 0, so some share their number."""
    times = Counter(one.item for one in items)
    named = [one._replace(item=f"{one.item}-{one.prompt_sha256[:12]}") if times[one.item] > 1 else one for one in items]
    return tuple(sorted(named, key=lambda one: (len(str(one.item)), str(one.item))))


def _public(document: Mapping[str, Any]) -> dict[str, Any]:
    general = document["config_general"]
    found = {
        "config_general": {
            **evaluation.only(general, _GENERAL),
            "model_config": evaluation.only(general.get("model_config") or {}, _MODEL),
        },
        "results": document["results"],
        "config_tasks": {key: evaluation.only(one, _TASK) for key, one in document["config_tasks"].items()},
        **evaluation.only(document, ("versions", "summary_tasks", "summary_general")),
    }
    cleaned: dict[str, Any] = evaluation.public(found)
    return cleaned
