"""Scores that another harness measured: what it wrote is checked, what it did not write is asked for.

A reader (`lm_eval`, `lighteval`) turns one file into a `Run`. `measured` puts the runs of one model together, and
refuses what no reader of a card could trust: part of a benchmark, other weights, a value that its samples do not give.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hala_release.disk import sha256_of
from hala_release.errors import ConfigError, PayloadInvalid
from hala_release.manifest import FileEntry, Manifest, ModelFacts, ResultsFacts, Score, weights_sha256

SCALES: Mapping[str, Literal[1, 100]] = {
    **dict.fromkeys(("acc_norm", "acc", "acc_norm_token", "acc_norm_pmi", "acc_mutual_info", "acc_bytes"), 1),
    **dict.fromkeys(("exact_match", "em", "qem", "pem", "pqem", "f1", "extractive_match"), 1),
    **dict.fromkeys(("bleu", "chrf", "chrf++", "ter"), 100),
}
"""Metrics that are understood -> the best value there is."""
CORPUS = frozenset({"bleu", "chrf", "chrf++", "ter"})
"""Metrics that are no mean over items."""
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DATA = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+@[0-9a-f]{40}|sha256:[0-9a-f]{64}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_TASK = re.compile(r"[^\W_][\w :.,+()&'-]{0,199}")
_PRIVATE = re.compile(
    r"(^|[\s'\"=(:,])(~?/|\.\./|[A-Za-z]:\\)\w|://|\\\\|\b(hf|ghp|gho|sk)[_-]\w{8}|@[\w-]+\.\w", re.ASCII
)
"""A path of a machine, an address, or a token."""


class Said(NamedTuple):
    """What a person says because the harness does not; by task where it can differ, with "" for all tasks."""

    language: Mapping[str, str] = {}
    data: Mapping[str, str] = {}
    title: Mapping[str, str] = {}
    metric: Mapping[str, str] = {}
    items: Mapping[str, str] = {}
    dtype: str = ""
    backend: str = ""
    harness_version: str = ""
    chat_template: str = ""
    """`released` or `none`."""
    model: str = ""


NOTHING = Said()


class Number(NamedTuple):
    """A value of a metric, and its standard error where there is one."""

    value: float
    stderr: float | None
    filter: str = "none"
    """Of lm-eval: what took the answer out of the text."""


class Item(NamedTuple):
    """What one item of a benchmark gave."""

    item: str | int
    prompt_sha256: str
    metrics: Mapping[str, float]
    """By metric, with its filter where there is one: those that are numbers."""


class Task(NamedTuple):
    """What a file says of one task, or of a mean over tasks."""

    name: str
    version: str
    numbers: Mapping[str, Number]
    """By metric; of lm-eval by `metric,filter`."""
    means: frozenset[str]
    """Metrics that are means over items."""
    lower_is_better: frozenset[str]
    shots: int
    n: int | None
    language: str
    data: str
    title: str
    items: tuple[Item, ...] | None
    members: tuple[str, ...] = ()
    """Of a mean."""


class Run(NamedTuple):
    """What one file says."""

    file: str
    sha256: str
    harness: str
    version: str
    """Empty where the file does not say."""
    backend: str
    dtype: str
    chat_template_sha256: str | None
    """None where the file does not say."""
    model: str
    """What was loaded: a path, or a repository."""
    commit: str
    parameters: int | None
    note: str
    tasks: tuple[Task, ...]
    document: Mapping[str, Any]
    problems: tuple[str, ...]


class Measured(NamedTuple):
    """What goes into a bundle."""

    facts: ResultsFacts
    samples: Mapping[str, tuple[Item, ...]]
    """By file name: what has a score item by item."""
    metrics: Mapping[str, str]
    """By file name: the metric whose values they are."""


def load(file: Path) -> Any:  # noqa: ANN401 -- JSON
    """Return a JSON document whose numbers are all finite.

    Raises:
        PayloadInvalid: it is not one.
    """
    return parse(file.read_bytes(), file.name)


def parse(data: bytes, where: str) -> Any:  # noqa: ANN401 -- JSON
    """Return a JSON document whose numbers are all finite, and whose text can be written as UTF-8."""
    try:
        document = json.loads(data, parse_constant=_refuse, parse_float=_finite)
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise PayloadInvalid(f"{where} is not JSON of finite numbers: {error}", fix="evaluate again") from error
    return document


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is not finite")
    return value


def finite(value: object) -> float | None:
    """Return a number of JSON as a float; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def public(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """Return a document without paths of machines, addresses and tokens."""
    match value:
        case dict():
            return {key: public(one) for key, one in value.items() if not _PRIVATE.search(str(key))}
        case list():
            return [public(one) for one in value]
        case str() if _PRIVATE.search(value):
            return "…"
        case _:
            return value


def only(document: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return a document with these keys."""
    return {key: document[key] for key in keys if key in document}


def shown(text: str) -> str:
    """Return what a file says so that it can be printed and steers no terminal."""
    return text[:80] if text.isprintable() else ascii(text[:80])


def of_hub(repository: object, revision: object) -> str:
    """Return `namespace/name@commit`; empty where one of them is not known."""
    if isinstance(repository, str) and isinstance(revision, str):
        return f"{repository}@{revision}" if HUB.fullmatch(repository) and COMMIT.fullmatch(revision) else ""
    return ""


def measured(
    runs: Sequence[Run], model: Manifest, said: Said, *, rehash: Callable[[Path], str] = sha256_of
) -> Measured:
    """Put together what was measured on a model.

    Args:
        rehash: how the weights are read that a run names and that are still there.

    Raises:
        PayloadInvalid: lists everything that is wrong with the runs.
        ConfigError: lists everything that they do not say, with the option that does.
    """
    facts = model.facts
    if not isinstance(facts, ModelFacts):
        raise ConfigError(f"{model.name} holds a {facts.kind}, not a model", fix="name the model's bundle with --of")
    problems = [f"{run.file}: {problem}" for run in runs for problem in run.problems]
    problems += [
        f"{run.file}: {problem}" for run in runs for problem in _model_problems(run, model, facts, said, rehash)
    ]
    owners: dict[str, str] = {}
    for run in runs:
        for task in run.tasks:
            if not _TASK.fullmatch(task.name) or task.name != task.name.strip():
                problems.append(f"{run.file}: {task.name[:80]!a} cannot be the name of a task")
            elif (other := owners.setdefault(task.name, run.file)) != run.file or _times(run, task.name) > 1:
                problems.append(f"{task.name} is in {other} and in {run.file}: give one of them")
    missing: list[str] = []
    unknown = {
        f"--{option} is given for {shown(name)}, which was not evaluated"
        for option in ("language", "data", "title", "metric", "items")
        for name in getattr(said, option)
        if name and name not in owners
    }
    whole = _Whole(said, frozenset(owners), problems, missing)
    for run in runs:
        for task in run.tasks:
            whole.add(run, task)
    common = {
        "harness": {f"{run.harness} {run.version or said.harness_version}".strip() for run in runs},
        "backend": {run.backend or said.backend for run in runs},
        "dtype": {run.dtype or said.dtype for run in runs},
        "chat template": {run.chat_template_sha256 or said.chat_template for run in runs},
    }
    problems += [
        f"files differ in {what}: {', '.join(sorted(map(shown, found)))}"
        for what, found in common.items()
        if len(found) > 1
    ]
    if not owners:
        problems.append("there is no score")
    if problems:
        raise PayloadInvalid(
            "these results cannot be published:\n" + "\n".join(f"  {problem}" for problem in dict.fromkeys(problems)),
            fix="evaluate again, with all items and the released files",
        )
    missing += _unsaid(runs, said)
    if missing or unknown:
        raise ConfigError(
            "the results do not say everything:\n"
            + "\n".join(f"  {line}" for line in [*dict.fromkeys(missing), *sorted(unknown)]),
            fix="give these options; nothing is guessed",
        )
    templated = said.chat_template == "released" or any(run.chat_template_sha256 for run in runs)
    digests = {entry.path: entry.sha256 for entry in model.files}
    return Measured(
        facts=ResultsFacts(
            weights_sha256=weights_sha256(model.files),
            tokenizer_sha256=facts.tokenizer_sha256,
            chat_template_sha256=facts.chat_template_sha256 if templated else None,
            config_sha256=digests.get("config.json"),
            generation_config_sha256=digests.get("generation_config.json"),
            model=_model_name(model, said),
            harness=common["harness"].pop(),
            backend=common["backend"].pop(),
            dtype=common["dtype"].pop(),
            scores=tuple(whole.scores.values()),
            note=" ".join(dict.fromkeys(run.note for run in runs if run.note)),
        ),
        samples=whole.samples,
        metrics=whole.metrics,
    )


def _times(run: Run, name: str) -> int:
    return sum(task.name == name for task in run.tasks)


def _unsaid(runs: Sequence[Run], said: Said) -> list[str]:
    """Return what no file says of the whole run."""
    found = []
    if any(not run.version for run in runs) and not said.harness_version:
        found.append("the version of the harness: --harness-version 0.13.0")
    if any(not run.backend for run in runs) and not said.backend:
        found.append("what computed, and its version: --backend 'transformers 5.17.0'")
    if any(not run.dtype for run in runs) and not said.dtype:
        found.append("what it computed in: --dtype bfloat16")
    if any(run.chat_template_sha256 is None for run in runs) and not said.chat_template:
        found.append("whether the model's chat template was applied: --chat-template released, or none")
    return found


def _model_name(model: Manifest, said: Said) -> str:
    config = model.provenance.config
    return of_hub(config.get("repo"), config.get("revision")) or said.model


def _model_problems(
    run: Run, model: Manifest, facts: ModelFacts, said: Said, rehash: Callable[[Path], str]
) -> list[str]:
    """Return what says that a run was made with something else than this model."""
    found = []
    template, released = run.chat_template_sha256, facts.chat_template_sha256
    if template and template != released:
        found.append(f"its chat template is {template[:12]}…, and the model's is {(released or 'none')[:12]}")
    if template and said.chat_template == "none":
        found.append("it records a chat template, and --chat-template says none")
    if said.chat_template == "released" and released is None:
        found.append("--chat-template says released, and the model has none")
    if COMMIT.fullmatch(run.commit) and HUB.fullmatch(run.model):
        name, _, commit = _model_name(model, said).partition("@")
        if (name, commit) != (run.model, run.commit):
            is_of = f"{name}@{commit[:12]}" if name else "not known to be that"
            found.append(
                f"it was measured on {run.model}@{run.commit[:12]}, and the model is {is_of}; "
                f"if it is the same, say --model {run.model}@{run.commit}"
            )
    if run.parameters and not facts.quantization and run.parameters != facts.total_parameters:
        found.append(f"its model has {run.parameters:,} parameters, and this one {facts.total_parameters:,}")
    try:
        there = sorted(Path(run.model).glob("*.safetensors")) if run.model.startswith(("/", ".")) else []
        weights = [FileEntry(path=file.name, size=file.stat().st_size, sha256=rehash(file)) for file in there]
    except (OSError, ValueError):  # another machine's path: --of names the model
        weights = []
    if weights and weights_sha256(weights) != weights_sha256(model.files):
        found.append("the weights that it names are not those of the model")
    return found


class _Whole:
    """Scores of all runs, with what is wrong and what is missing."""

    def __init__(self, said: Said, names: frozenset[str], problems: list[str], missing: list[str]) -> None:
        self.said, self.names, self.problems, self.missing = said, names, problems, missing
        self.scores: dict[str, Score] = {}
        self.samples: dict[str, tuple[Item, ...]] = {}
        self.metrics: dict[str, str] = {}

    def add(self, run: Run, task: Task) -> None:
        """Take a task's score, if it is whole; means come after their members."""
        where = f"{run.file}: {shown(task.name)}"
        chosen = self._chosen(task, where)
        if chosen is None:
            return
        if any(name in self.names and name not in self.scores for name in task.members):
            return  # what is wrong with a member is said there
        key, number = chosen
        metric = key.partition(",")[0]
        wrong = list(_number_problems(task, key, number))
        n = self._count(task)
        if task.members:
            mean_by, complaint = self._mean(task, metric, number)
            wrong += complaint
        else:
            mean_by = ""
            wrong += _sample_problems(task, key, number, n)
        self.problems += [f"{where}: {problem}" for problem in wrong]
        language, data = self._one(task, "language", _LANGUAGE), self._one(task, "data", _DATA)
        if wrong or n is None or not language or (not data and not task.members):
            return
        title = self.said.title.get(task.name) or task.title or task.name
        if not title.isprintable() or len(title) > 120 or not task.version.isprintable():
            self.problems.append(f"{where}: its title or version cannot be printed")
            return
        self.scores[task.name] = Score(
            task=task.name,
            title=title,
            version=task.version[:60],
            metric=metric,
            value=number.value,
            out_of=SCALES[metric],
            stderr=number.stderr,
            n=n,
            shots=task.shots,
            language=language,
            data=data,
            signature="" if number.filter == "none" else f"filter:{number.filter}",
            higher_is_better=metric not in task.lower_is_better,
            mean_of=task.members,
            mean_by=mean_by,
        )
        if task.items is not None and all(key in item.metrics for item in task.items):
            file = self.scores[task.name].samples
            if file.casefold() in {name.casefold() for name in self.samples}:
                self.problems.append(f"{where}: another task's samples have the name {file}")
            self.samples[file], self.metrics[file] = task.items, key

    def _chosen(self, task: Task, where: str) -> tuple[str, Number] | None:
        numbers = {key: number for key, number in task.numbers.items() if key.partition(",")[0] in SCALES}
        wanted = self.said.metric.get(task.name) or (task.members and self._of_members(task)) or ""
        if wanted:
            found = [key for key in numbers if wanted in {key, key.partition(",")[0]}]
        else:
            normal = [key for key in numbers if key.partition(",")[0] == "acc_norm"]
            found = normal or [key for key in numbers if numbers[key].stderr is not None] or list(numbers)
        if not found:
            there = ", ".join(shown(key) for key in task.numbers) or "none"
            self.problems.append(
                f"{where}: no {shown(wanted) or 'metric that is understood'}; it has {there}; "
                f"understood are {', '.join(SCALES)}"
            )
            return None
        if number_filter := next((numbers[key].filter for key in found if not numbers[key].filter.isprintable()), None):
            self.problems.append(f"{where}: {number_filter!a} cannot be printed")
            return None
        return found[0], numbers[found[0]]

    def _of_members(self, task: Task) -> str:
        metrics = {self.scores[name].metric for name in task.members if name in self.scores}
        return metrics.pop() if len(metrics) == 1 else ""

    def _mean(self, task: Task, metric: str, number: Number) -> tuple[str, list[str]]:
        """Return whether items or tasks count the same in a mean, and what is wrong with it."""
        if absent := [name for name in task.members if name not in self.names]:
            return "", [f"it is a mean over a part of its tasks: there is no {', '.join(map(shown, absent[:4]))}"]
        members = [self.scores[name] for name in task.members]
        if any(one.metric != metric for one in members):
            return "", ["its tasks are scored with other metrics; choose one for all with --metric"]
        items = sum(one.n for one in members)
        if math.isclose(sum(one.value * one.n for one in members) / items, number.value, abs_tol=1e-9):
            return "items", []
        if math.isclose(sum(one.value for one in members) / len(members), number.value, abs_tol=1e-9):
            return "tasks", []
        return "", [f"{number.value} is not the mean of its tasks, by items or by tasks"]

    def _count(self, task: Task) -> int | None:
        if task.members:
            return sum(self.scores[name].n for name in task.members if name in self.scores) or None
        told = self.said.items.get(task.name, "")
        if told and not re.fullmatch(r"[1-9]\d{0,9}", told):
            raise ConfigError(f"--items {task.name}={told} is no number of items", fix="for example 1000")
        if told and task.n is not None and int(told) != task.n:
            self.problems.append(f"{shown(task.name)}: --items says {told}, and there are {task.n}")
        if task.n is None and not told:
            self.missing.append(f"how many items {task.name} has: its details, or --items '{task.name}=1000'")
        return task.n if task.n is not None else int(told) if told else None

    def _one(self, task: Task, what: Literal["language", "data"], form: re.Pattern[str]) -> str:
        """Return what is recorded of a task, or what was said; note what is neither, or both and not the same."""
        said: Mapping[str, str] = getattr(self.said, what)
        recorded, told = getattr(task, what), said.get(task.name, "")
        if task.members and not told:
            values = {getattr(self.scores[name], what) for name in task.members if name in self.scores}
            if len(values) == 1:
                return str(values.pop())
            return ", ".join(sorted(values)) if what == "language" else ""
        value = told or recorded or said.get("", "")
        if not value:
            example = "ar" if what == "language" else "namespace/name@commit, or sha256:…"
            words = "the language of its prompts" if what == "language" else "the commit of its dataset"
            self.missing.append(f"{task.name}, {words}: --{what} '{task.name}={example}'")
        elif told and recorded and told != recorded:
            self.problems.append(f"{shown(task.name)}: --{what} says {shown(told)}, and the file {shown(recorded)}")
        elif not form.fullmatch(value):
            self.problems.append(f"{shown(task.name)}: {shown(value)} is no {what}")
        else:
            return str(value)
        return ""


def _number_problems(task: Task, key: str, number: Number) -> Iterable[str]:
    metric = key.partition(",")[0]
    best = SCALES[metric]
    if number.value < 0 or (number.value > best and metric != "ter"):
        yield f"{metric} is {number.value}, outside of 0 to {best}"
    if number.stderr is not None and not 0 <= number.stderr <= best:
        yield f"the standard error of {metric} is {number.stderr}"
    if number.stderr is None and metric in task.means:
        yield f"{metric} is a mean without a standard error"


def _sample_problems(task: Task, key: str, number: Number, n: int | None) -> Iterable[str]:
    if task.items is None:
        return
    if len({one.item for one in task.items}) != len(task.items):
        yield "an item is in its samples twice"
    if n is not None and len(task.items) != n:
        yield f"there are {len(task.items)} samples of {n} items"
    metric = key.partition(",")[0]
    values = [one.metrics[key] for one in task.items if key in one.metrics]
    if metric not in task.means:
        return
    if len(values) != len(task.items):
        yield f"{len(task.items) - len(values)} samples have no {metric}"
    elif values and not math.isclose(sum(values) / len(values), number.value, abs_tol=1e-9):
        yield f"{metric} is {number.value}, and its samples give {sum(values) / len(values)}"
    elif len(values) > 1 and number.stderr is not None:
        error = statistics.stdev(values) / math.sqrt(len(values))
        # Some divide by n, some bootstrap.
        if not math.isclose(error, number.stderr, rel_tol=0.05, abs_tol=error / len(values)):
            yield f"the standard error of {metric} is {number.stderr}, and its samples give {error:.4g}"
