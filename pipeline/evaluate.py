"""The stage `evaluate`: what a model scores on benchmarks in Arabic, and how well it translates.

    files/results.json                      lm-eval's own document, without paths and machines
    files/translation.json                  what sacreBLEU says
    files/samples/TASK.jsonl                by item: digest of the prompt, log-likelihoods, choice, right answer
    files/samples/translation-NAME.jsonl    by item: digests of prompt and reference, the translation

Every number is bound to the weights that it was measured on. A finished task is kept, so a run that was cut off goes on
with the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field, field_validator, model_validator

from hala_release.bundle import Bundle
from hala_release.disk import sha256_of
from hala_release.errors import ConfigError
from hala_release.manifest import ModelFacts, Record, ResultsFacts, Score, weights_sha256
from pipeline import model_files, storage
from pipeline.engines import bleu, lm_eval
from pipeline.engines.lm_eval import Exam, Model, Server, Wanted
from pipeline.prompts import Prompt, translation
from pipeline.stage import Job, Stage, StageConfig, Takes
from pipeline.storage import join
from pipeline.tasks import hala

NOTE = "Measured with tasks of this project, as means over all items: not comparable with leaderboards."
UNCOMPARED = "vLLM was not compared with transformers on this model."


class Translation(Record):
    """Texts to translate, with a reference each."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str = ""
    """As people know it; its name where absent."""
    file: Path
    """Rows with the columns `en` and `ar`: .jsonl, .jsonl.gz or .parquet."""
    direction: Literal["en-ar", "ar-en"] = "en-ar"
    prompt: Prompt = "translator"
    """HALA's, which asks for Arabic, or a template."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """Of a translation."""

    @model_validator(mode="after")
    def _asks_for_the_right_language(self) -> Translation:
        if self.direction == "ar-en" and isinstance(self.prompt, str):
            raise ValueError("HALA's prompts ask for Arabic: give ar-en a `prompt` with messages of its own")
        return self


class EvaluateConfig(StageConfig):
    """What the YAML of `evaluate` may say. There is no limit: what is sealed was measured on all items."""

    tasks: tuple[Wanted, ...] = ()
    """Names of pipeline/tasks, or multiple-choice tasks of lm-eval as {task, revision, language}."""
    data: Mapping[str, Path] = {}
    """Local files by task, in the columns of its dataset."""
    translation: tuple[Translation, ...] = ()
    backend: Literal["hf", "vllm"] = "hf"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    chat_template: bool = True
    """Whether a question is a user's turn, as it is to HALA."""
    seed: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Of transformers."""
    device: str | None = None
    """Of transformers: a GPU where there is one."""
    server: Server = Server()
    """Of vLLM."""

    unhashed: ClassVar[frozenset[str]] = StageConfig.unhashed | {"batch_size", "device"}

    @field_validator("tasks", mode="before")
    @classmethod
    def _a_name_is_a_task(cls, given: object) -> object:
        return [{"task": one} if isinstance(one, str) else one for one in given] if isinstance(given, list) else given

    @model_validator(mode="after")
    def _whole(self) -> EvaluateConfig:
        names = [one.task for one in self.tasks]
        sets = [one.name for one in self.translation]
        if not names and not sets:
            raise ValueError("name `tasks`, or test sets in `translation`")
        if len(set(names)) < len(names) or len(set(sets)) < len(sets):
            raise ValueError("a task or a test set is named twice")
        if unknown := sorted(self.data.keys() - set(names)):
            raise ValueError(f"`data` is given for {', '.join(unknown)}, which `tasks` does not name")
        if self.translation and not self.chat_template:
            raise ValueError("a translation is asked for in a chat: `chat_template` has to be true")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on: files by what they hold, and our tasks as they are written."""
        found = super().identity()
        found["data"] = {task: _digest(file) for task, file in self.data.items()}
        found["translation"] = [
            {**one.model_dump(mode="json", exclude={"file"}), "sha256": _digest(one.file)} for one in self.translation
        ]
        ours = [f"{one.task}.yaml" for one in self.tasks if one.task in lm_eval.OURS]
        written = [*ours, *(["hala.py"] if ours else [])]
        if "hala_demo_exam.yaml" in ours:
            written.append("../demo/data/exam.ar.jsonl")
        found["written"] = {name: sha256_of(lm_eval.TASKS / name) for name in written}
        found["server"] = None
        if self.backend == "vllm":
            said = self.server.model_dump(mode="json", include={"max_model_len", "arguments", "variables"})
            found["server"] = {**said, "compared": self.compared()}
        return found

    def compared(self) -> bool:
        """Tell whether vLLM is compared with transformers before it is trusted; that takes a chat template."""
        return self.server.parity is not None and self.chat_template


def _digest(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", fix="name files that are there") from error


def make(config: EvaluateConfig, job: Job) -> ResultsFacts:
    """Measure a model, task by task."""
    bundle = job.one("model")
    facts = model_files.facts_of(bundle)
    if config.chat_template and facts.chat_template_sha256 is None:
        raise ConfigError(
            f"{bundle.root} has no chat template",
            fix="add the one it was trained with and adopt it again, or set `chat_template: false`",
        )
    exams, sets = _ready(config)
    hidden = {
        str(bundle.files.absolute()): "model",
        str(bundle.files): "model",
        **{str(file.absolute()): file.name for file in config.data.values()},
    }
    run = {
        **{one.name: partial(_measure, one, config, hidden) for one in exams},
        **{f"translation-{one.name}": partial(_translate, one, rows) for one, rows in sets.items()},
    }
    done = {name: job.work / "done" / f"{name}.json" for name in run}
    if missing := [name for name in run if not done[name].exists()]:
        with _model(config, bundle, facts, job) as model:
            for number, name in enumerate(missing, len(run) - len(missing) + 1):
                job.talk(f"{name}, {number} of {len(run)}")
                found = run[name](model)
                storage.write_json(str(done[name]), {**found, "backend": model.backend})
    bundle.verify()  # what was loaded in between is what was sealed
    results = [orjson.loads(done[name].read_bytes()) for name in run]
    for name, result in zip(run, results, strict=True):
        with storage.writing(join(str(job.files), "samples", f"{name}.jsonl")) as file:
            file.writelines(orjson.dumps(sample) + b"\n" for sample in result["samples"])
    scores = [Score.model_validate(score) for result in results for score in result["scores"]]
    _write(job, "results.json", lm_eval.merged([result["document"] for result in results if result["document"]]))
    _write(job, "translation.json", [score.model_dump() for score in scores if score.signature])
    return ResultsFacts(
        weights_sha256=weights_sha256(bundle.manifest.files),
        tokenizer_sha256=facts.tokenizer_sha256,
        chat_template_sha256=facts.chat_template_sha256 if config.chat_template else None,
        config_sha256=_entry(bundle, "config.json"),
        generation_config_sha256=_entry(bundle, "generation_config.json"),
        harness=", ".join([*([f"lm-eval {version('lm_eval')}"] if exams else []), *([bleu.name()] if sets else [])]),
        backend=results[0]["backend"],
        dtype=config.dtype,
        scores=tuple(scores),
        note=_note(config, {name: result["cut"] for name, result in zip(run, results, strict=True)}),
    )


def _entry(bundle: Bundle, path: str) -> str | None:
    return next((entry.sha256 for entry in bundle.manifest.files if entry.path == path), None)


def _write(job: Job, name: str, document: Mapping[str, Any] | Sequence[Any]) -> None:
    if document:
        with storage.writing(join(str(job.files), name)) as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


def _note(config: EvaluateConfig, cut: Mapping[str, int]) -> str:
    ours = [NOTE] if any(one.task in lm_eval.OURS for one in config.tasks) else []
    blind = [UNCOMPARED] if config.backend == "vllm" and not config.compared() else []
    lost = [
        f"{count} prompts of {name} are longer than the model's context and lost their beginning."
        for name, count in cut.items()
        if count
    ]
    return " ".join([*ours, *blind, *lost])


def _ready(config: EvaluateConfig) -> tuple[list[Exam], dict[Translation, list[tuple[str, str]]]]:
    """Read all data, before anything is computed.

    Raises:
        ConfigError: lists everything that is wrong with it.
    """
    exams, problems = lm_eval.prepare(config.tasks, config.data) if config.tasks else ([], [])
    sets = {}
    for one in config.translation:
        try:
            sets[one] = _pairs(one)
        except (OSError, ValueError) as error:
            problems.append(f"{one.name}: {error}")
    if problems:
        raise ConfigError(
            "not everything can be measured:\n" + "\n".join(f"  {problem}" for problem in problems),
            fix="check names, commits and access, or give the rows as files under `data:`",
        )
    return exams, sets


def _pairs(given: Translation) -> list[tuple[str, str]]:
    """Return source and reference of each row."""
    rows = hala.read(given.file)
    source, target = given.direction.split("-")
    for number, row in enumerate(rows):
        if not all(isinstance(row.get(side), str) and row[side].strip() for side in (source, target)):
            raise ValueError(f"row {number} of {given.file} has no text in `{source}` or `{target}`")
    if not rows:
        raise ValueError(f"{given.file} has no rows")
    return [(row[source], row[target]) for row in rows]


def _model(config: EvaluateConfig, bundle: Bundle, facts: ModelFacts, job: Job) -> AbstractContextManager[Model]:
    if config.backend == "hf":
        return lm_eval.loaded(
            bundle.files,
            dtype=config.dtype,
            device=config.device,
            batch_size=config.batch_size,
            chat_template=config.chat_template,
        )
    return lm_eval.served(
        bundle.files,
        config.server,
        dtype=config.dtype,
        context=facts.context,
        chat_template=config.chat_template,
        seed=config.seed,
        work=job.work,
        talk=job.talk,
    )


def _measure(exam: Exam, config: EvaluateConfig, hidden: Mapping[str, str], model: Model) -> dict[str, Any]:
    found = lm_eval.measure(model, exam, chat_template=config.chat_template, seed=config.seed, hidden=hidden)
    return {
        "scores": [found.score.model_dump()],
        "samples": found.samples,
        "document": found.document,
        "cut": found.cut,
    }


def _translate(given: Translation, pairs: Sequence[tuple[str, str]], model: Model) -> dict[str, Any]:
    chats = [translation(given.prompt, source) for source, _ in pairs]
    said = [text.strip() for text in model.answer(chats, given.max_tokens)]
    name = f"translation-{given.name}"
    scores = [
        Score(
            task=name,
            title=given.title or given.name,
            version="1",
            metric=one.metric,
            value=one.value,
            out_of=100,
            stderr=one.stderr,
            n=len(pairs),
            shots=0,
            language=given.direction,
            data=f"sha256:{sha256_of(given.file)}",
            signature=one.signature,
        )
        for one in bleu.quality(said, [reference for _, reference in pairs])
    ]
    samples = [
        {
            "item": number,
            "prompt_sha256": _sha256(orjson.dumps(chat)),
            "reference_sha256": _sha256(reference.encode()),
            "hypothesis": text,
        }
        for number, (chat, (_, reference), text) in enumerate(zip(chats, pairs, said, strict=True))
    ]
    return {"scores": [one.model_dump() for one in scores], "samples": samples, "document": {}, "cut": 0}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


STAGE = Stage(
    "evaluate",
    EvaluateConfig,
    make,
    takes={"model": Takes("model")},
    tools=("lm_eval", "sacrebleu", "torch", "transformers"),
)
