"""lm-eval as the stage `evaluate` uses it, with the model that it measures; the only place that knows how to call it.

A task is found, pinned and read before a model is loaded. It is run over all of its items or not at all: there is no
limit here, and what lm-eval says of itself is counted and computed again from its samples.

lm-eval counts white space at the end of a prompt, such as the line break that ends most chat templates, to the choice:
the same log-likelihood for each, which `acc_norm` then divides by the letters of the choice.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from hala_release.disk import sha256_of
from hala_release.errors import ConfigError, EngineMissing, HalaError, Unfinished
from hala_release.manifest import Record, Score
from hala_release.talk import Talk
from pipeline.engines import parity, trust
from pipeline.engines.answers import Answers
from pipeline.engines.capped import attention
from pipeline.engines.chat import REFUSED, Chat, Client
from pipeline.engines.trust import Trust
from pipeline.engines.vllm import Vllm, serving, vllm_version
from pipeline.prompts import Message

TASKS = Path(__file__).parent.parent / "tasks"
"""Tasks of our own; every other name is one of lm-eval's."""
OURS = frozenset(path.stem for path in TASKS.glob("*.yaml"))
ROOT = TASKS.parent.parent
KEPT = (
    "results",
    "configs",
    "versions",
    "n-shot",
    "higher_is_better",
    "n-samples",
    "config",
    "lm_eval_version",
    "transformers_version",
    "tokenizer_pad_token",
    "tokenizer_eos_token",
    "tokenizer_bos_token",
    "eot_token_id",
    "max_length",
)
"""What of lm-eval's document is published: not the date, the machine, the environment, or anybody's name."""
BY_TASK = ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples")

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Chats = Sequence[Sequence[Message]]
Document = dict[str, Any]
"""Of lm-eval: what it calls results."""


class Wanted(Record):
    """A task that is to be run."""

    task: str
    """Its name: one of pipeline/tasks, or a multiple-choice task of lm-eval."""
    revision: Commit | None = None
    """The commit of its dataset, where the task names none or another is wanted."""
    title: str | None = None
    """As people know it, where the task does not say."""
    language: str | None = None
    """Of the prompt, where the task does not say."""


@dataclass(frozen=True)
class Exam:
    """A task whose items were read."""

    name: str
    title: str
    version: str
    language: str
    data: str
    """`namespace/name@commit`, or the file's `sha256:…`."""
    items: int
    task: Any
    """As lm-eval has it."""


class Measured(Record):
    """What a task gave."""

    score: Score
    document: Document
    samples: tuple[dict[str, Any], ...]
    """One for each item, without its text."""
    cut: int
    """Prompts that lost their beginning, because they are longer than the model's context."""


@dataclass(frozen=True)
class Model:
    """A model that lm-eval asks for log-likelihoods, and that answers chats."""

    lm: Any
    backend: str
    """What computes, with its version."""
    context: int
    """Tokens of a prompt and a choice."""
    answer: Callable[[Chats, int], list[str]]
    """(chats, max_tokens) -> answers, each the likeliest token by token."""


class Server(Record):
    """How vLLM serves the model."""

    environment: Path = Path(".venv-serve")
    """The virtual environment with vLLM."""
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    """Tokens of prompt and answer together; the model's own limit where nothing is said."""
    arguments: tuple[str, ...] = ()
    """More arguments of `vllm serve`."""
    variables: Mapping[str, str] = {}
    """Environment variables of the server."""
    start_timeout: Annotated[float, Field(gt=0)] = 900
    """Seconds until it has to answer."""
    concurrency: Annotated[int, Field(ge=2)] = 64
    """Requests in flight."""
    parity: Trust | None = Trust()
    """How it is compared with transformers before it is trusted; null: it is not, and the scores say so."""


def prepare(wanted: Sequence[Wanted], data: Mapping[str, Path]) -> tuple[list[Exam], list[str]]:
    """Find tasks, read every item of their data, and return what cannot be run as sentences.

    Args:
        data: local files by task, instead of the dataset on the Hub.

    Raises:
        EngineMissing: lm-eval is not installed here.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise EngineMissing(f"{error.name} is not installed here", fix="make env-work") from error
    strange = any(one.task not in OURS for one in wanted)
    manager = TaskManager(include_path=str(TASKS), include_defaults=strange)
    exams, problems = [], []
    for one in wanted:
        try:
            exams.append(_exam(manager, one, data.get(one.task)))
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # what datasets raises, and our own loader
            problems.append(f"{one.task}: {' '.join(str(error).split()) or type(error).__name__}")
    return exams, problems


def _exam(manager: Any, wanted: Wanted, file: Path | None) -> Exam:  # noqa: ANN401 -- of lm-eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    entry = manager.task_index.get(wanted.task)
    if entry is None or entry.yaml_path is None or entry.kind.name != "TASK":
        raise ValueError("there is no such task, or it is a group; groups are named task by task")
    config = load_yaml(entry.yaml_path)
    for key in ("tag", "group", "task_list"):
        config.pop(key, None)
    if config.get("output_type") != "multiple_choice":
        raise ValueError("it is no multiple-choice task")
    if file and wanted.task not in OURS:
        raise ValueError("`data` is for the tasks of pipeline/tasks only")
    given = dict(config.get("dataset_kwargs") or {})
    if file:
        given["file"] = str(file.absolute())
    elif wanted.revision:
        given["revision"] = wanted.revision
    if not given.get("file") and not given.get("revision"):
        raise ValueError("no commit of its dataset is known; write {task: …, revision: 40 hex digits}")
    config["dataset_kwargs"] = given
    about = config.get("metadata") or {}
    language = wanted.language or about.get("language")
    if not language:
        raise ValueError("the language of its prompt is not known; write {task: …, language: ar}")
    task = ConfigurableTask(config=config)
    return Exam(
        name=wanted.task,
        title=wanted.title or about.get("title") or wanted.task,
        version=str(about.get("version", "")),
        language=language,
        data=_said(given, config),
        items=len(task.eval_docs),
        task=task,
    )


def _said(given: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    if given.get("file"):
        return f"sha256:{sha256_of(TASKS / given['file'])}"
    return f"{given.get('repository') or config['dataset_path']}@{given['revision']}"


def measure(model: Model, exam: Exam, *, chat_template: bool, seed: int, hidden: Mapping[str, str]) -> Measured:
    """Run a task over all of its items.

    Args:
        hidden: paths that its document may not show -> what stands there instead.

    Raises:
        HalaError: a log-likelihood is no number, items are missing, or the value does not follow from the samples.
        Unfinished: the server went away.
    """
    import aiohttp
    import lm_eval
    import torch

    try:
        document = lm_eval.simple_evaluate(
            model=model.lm,
            tasks=[exam.task],
            task_manager=lm_eval.tasks.TaskManager(include_defaults=False),
            apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unfinished(
            f"the server gave no answer to {exam.name}: {type(error).__name__} {error}",
            fix="see its log, and run the same command again; finished tasks are kept",
        ) from error
    except torch.OutOfMemoryError as error:
        raise HalaError(
            f"{exam.name} does not fit in memory: {error}", fix="set a smaller `batch_size`; finished tasks are kept"
        ) from error
    samples = [_sample(exam, one) for one in document["samples"][exam.name]]
    return Measured(
        score=score_of(exam, document, samples),
        document=_public(document, hidden),
        samples=tuple(samples),
        cut=sum(_tokens(model, one) > model.context for one in document["samples"][exam.name]),
    )


def _tokens(model: Model, sample: Mapping[str, Any]) -> int:
    context, choice = sample["arguments"][0]
    return len(model.lm.tok_encode(context + choice))


def _sample(exam: Exam, sample: Mapping[str, Any]) -> dict[str, Any]:
    choices = exam.task.doc_to_choice(sample["doc"])
    values = [float(value) for value, _ in sample["filtered_resps"]]
    normal = "acc_norm" in sample["metrics"]
    worth = [value / len(choice) if normal else value for value, choice in zip(values, choices, strict=True)]
    target = sample["target"]
    answer = choices.index(target) if isinstance(target, str) else target
    chosen = max(range(len(worth)), key=worth.__getitem__)
    subset = sample["doc"].get("subset")
    return {
        "item": sample["doc_id"],
        **({"subset": subset} if subset else {}),
        "prompt_sha256": sample["prompt_hash"],
        "loglikelihoods": values,
        "chosen": chosen,
        "answer": answer,
        "value": float(chosen == answer),
    }


def score_of(exam: Exam, document: Document, samples: Sequence[Mapping[str, Any]]) -> Score:
    """Return the score that a document of lm-eval gives to a task, when its samples bear it out.

    Raises:
        HalaError: a log-likelihood is no number, items are missing, or the value does not follow from the samples.
    """
    found = document["results"][exam.name]
    metric = "acc_norm" if "acc_norm,none" in found else "acc"
    value, stderr = float(found[f"{metric},none"]), found[f"{metric}_stderr,none"]
    if broken := [one["item"] for one in samples if not all(map(math.isfinite, one["loglikelihoods"]))]:
        raise HalaError(
            f"{exam.name}: the log-likelihoods of item {broken[0]}, and of {len(broken) - 1} more, are no numbers",
            fix="the weights hold NaN or infinity, or overflow in this `dtype`: look at the training, or try bfloat16",
        )
    if len(samples) != exam.items or document["n-samples"][exam.name]["effective"] != exam.items:
        raise HalaError(
            f"{exam.name}: {len(samples)} of {exam.items} items were scored", fix="run it again with all items"
        )
    right = sum(one["chosen"] == one["answer"] for one in samples) / len(samples)
    if not math.isclose(right, value, abs_tol=1e-9):
        raise HalaError(
            f"{exam.name}: lm-eval says {value}, and its samples give {right}", fix="use the version that is locked"
        )
    return Score(
        task=exam.name,
        title=exam.title,
        version=exam.version,
        metric=metric,
        value=value,
        out_of=1,
        stderr=float(stderr) if isinstance(stderr, int | float) else None,
        n=exam.items,
        shots=document["n-shot"][exam.name],
        language=exam.language,
        data=exam.data,
    )


def merged(documents: Sequence[Document]) -> Document:
    """Return the document that lm-eval would have written of all tasks at once."""
    whole: Document = {}
    for document in documents:
        for key, value in document.items():
            whole[key] = {**whole.get(key, {}), **value} if key in BY_TASK else value
    return whole


def _public(document: Document, hidden: Mapping[str, str]) -> Document:
    from lm_eval.utils import handle_non_serializable

    kept = {key: document[key] for key in KEPT if key in document}
    text = json.dumps(kept, default=handle_non_serializable, ensure_ascii=False)
    for path, words in sorted({**hidden, str(ROOT): "."}.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(json.dumps(path, ensure_ascii=False)[1:-1], words)
    found: Document = json.loads(text)
    return found


@contextmanager
def loaded(files: Path, *, dtype: str, device: str | None, batch_size: int, chat_template: bool) -> Iterator[Model]:
    """Load a model with transformers.

    Raises:
        HalaError: transformers cannot load it.
        ConfigError: its prompts would start with two start tokens.
    """
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(files)
        lm = HFLM(
            pretrained=str(files),
            tokenizer=tokenizer,
            dtype=dtype,
            attn_implementation=attention(files),
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
            batch_size=batch_size,
            add_bos_token=False if chat_template else None,  # the template writes it
        )
    except (OSError, ValueError, KeyError) as error:
        raise HalaError(
            f"transformers cannot load {files}: {error}", fix="see pipeline/envs for its version"
        ) from error
    starts_once(lm, chat_template=chat_template)

    def answer(chats: Chats, tokens: int) -> list[str]:
        return _greedy(lm, [list(chat) for chat in chats], tokens, batch_size)

    yield Model(lm, f"transformers {version('transformers')}", lm.max_length, answer)


@contextmanager
def served(
    files: Path,
    server: Server,
    *,
    dtype: str,
    context: int | None,
    chat_template: bool,
    seed: int,
    work: Path,
    talk: Talk,
) -> Iterator[Model]:
    """Serve a model with vLLM, which lives in an environment of its own.

    Args:
        context: tokens that the model was made for.
        work: where the server's log and the answers go.

    Raises:
        EngineMissing: the environment has no vLLM.
        ConfigError: prompts would start with two start tokens, or nothing says how long they may be.
        HalaError: vLLM does not compute what transformers does.
    """
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    from transformers import AutoTokenizer

    longest = server.max_model_len or context
    if longest is None:
        raise ConfigError("config.json does not say how long a prompt may be", fix="set `server.max_model_len`")
    begun = AutoTokenizer.from_pretrained(files)("a")["input_ids"]
    plain = AutoTokenizer.from_pretrained(files)("a", add_special_tokens=False)["input_ids"]
    config = Vllm(
        model=str(files),
        environment=server.environment,
        dtype=dtype,
        max_model_len=longest,
        arguments=server.arguments,
        variables=server.variables,
        start_timeout=server.start_timeout,
    )
    with serving(config, work / "vllm.log") as endpoint:
        if server.parity and chat_template:
            trust.require(server.parity, config, parity.demo_chats(server.parity.chats), talk, endpoint)
        lm = LocalCompletionsAPI(
            model=endpoint.model,
            base_url=f"{endpoint.url}/completions",
            tokenizer=str(files),
            tokenizer_backend="huggingface",
            num_concurrent=server.concurrency,
            max_length=longest,
            add_bos_token=not chat_template and begun != plain,
            seed=seed,
        )
        starts_once(lm, chat_template=chat_template)

        def answer(chats: Chats, tokens: int) -> list[str]:
            async def ask() -> list[str]:
                with Answers(work / "answers", "evaluate") as kept:
                    async with Chat(endpoint, Client(concurrency=server.concurrency), kept) as chat:
                        said = await asyncio.gather(
                            *(chat.ask(one, {"temperature": 0, "seed": seed, "max_tokens": tokens}) for one in chats)
                        )
                if refused := [one.finish_reason for one in said if one.finish_reason.startswith(REFUSED)]:
                    raise ConfigError(
                        f"{len(refused)} texts were not translated; {refused[0]}", fix="set fewer `max_tokens`"
                    )
                return [one.text for one in said]

            return asyncio.run(ask())

        yield Model(lm, f"vllm {vllm_version(server.environment)}", longest - 1, answer)


def starts_once(lm: Any, *, chat_template: bool) -> None:  # noqa: ANN401 -- of lm-eval
    """Refuse a model whose prompts begin with the start token twice: a model never saw that in training.

    Raises:
        ConfigError: they do.
    """
    text = "؟"
    if chat_template:
        text = lm.apply_chat_template([{"role": "user", "content": text}])
    start = lm.tokenizer.bos_token_id
    if start is not None and lm.tok_encode(text)[:2] == [start, start]:
        raise ConfigError(
            "prompts begin with two start tokens", fix="write it in the chat template, or in the tokenizer, not twice"
        )


def _greedy(lm: Any, chats: list[list[Message]], tokens: int, batch_size: int) -> list[str]:  # noqa: ANN401
    """Return the likeliest answers, in batches that are padded on the left; the model's sampling defaults stay out."""
    import torch
    from transformers import GenerationConfig

    tokenizer, own = lm.tokenizer, lm.model.generation_config
    how = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=tokens,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    if max(lengths) + tokens > lm.max_length:
        raise ConfigError(
            f"the longest prompt has {max(lengths)} tokens, its answer may have {tokens}, "
            f"and the model takes {lm.max_length}",
            fix="set fewer `max_tokens`, or take shorter texts",
        )
    order = sorted(range(len(texts)), key=lambda number: -lengths[number])
    answers = [""] * len(texts)
    for first in range(0, len(order), batch_size):
        some = order[first : first + batch_size]
        batch = tokenizer(
            [texts[number] for number in some],
            add_special_tokens=False,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(lm.device)
        with torch.inference_mode():
            made = lm.model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=how
            )
        said = tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for number, text in zip(some, said, strict=True):
            answers[number] = text
    return answers
