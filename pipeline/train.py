"""`train`: fine-tune a model on conversations, all of its weights, with TRL.

    tokens     the rows of all bundles in the role `data`, in `work/tokens`; kept, so a run that goes on has them
    training   a process of its own, or many: `accelerate:` names how; checkpoints in `work/checkpoints`
    result     stored as the base is, with the base's own tokenizer, template and configuration

`reports/train.json` says what it took, `reports/loss.jsonl` and `reports/loss.png` how the loss went. A step is a step
of the optimizer; its batch does not depend on how many devices share it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field, FilePath, model_validator

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, Unfinished
from hala_release.manifest import ModelFacts
from hala_release.payload.checkpoint import model_facts
from hala_release.units import count
from pipeline import model_files, storage
from pipeline.charts import png
from pipeline.engines import tokens, trl
from pipeline.engines.vllm import WATCHDOG
from pipeline.environments import ROOT
from pipeline.stage import REPORTS, Job, Stage, StageConfig, Takes, write_report

TELL_SECONDS = 10.0
"""Between two sentences about how far a training is."""
STOP_SECONDS = 10
"""That a training has to end by itself when its stage is stopped."""
TAIL_LINES = 25
LAUNCHER = "/torch/distributed/elastic/"
"""What a launcher says after one of its processes has failed comes from here, and is longer than the reason."""
ON_CPU = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
"""Keeps glibc from giving memory back after every step and asking for it again: 1.6 times as fast."""


class TrainConfig(StageConfig):
    """What the YAML of `train` may say."""

    seed: int = 0
    epochs: Annotated[float, Field(gt=0)] = 1
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Instead of epochs."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Conversations, or packs of them, of one step, over all devices."""
    learning_rate: Annotated[float, Field(gt=0)]
    """At its highest."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of the steps until the learning rate is at its highest."""
    weight_decay: Annotated[float, Field(ge=0)] = 0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1
    max_length: Annotated[int, Field(ge=16)] = 4096
    """Tokens of a conversation, and of a pack; longer conversations are left out and counted."""
    packing: bool = True
    """Whether conversations share a pack, kept apart; a model that cannot keep them apart is refused."""
    learn: Literal["assistant", "all"] = "assistant"
    """Which turns the loss is of."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """What passes compute in; weights and optimizer are float32 meanwhile."""
    validation_rows: Annotated[int, Field(ge=0)] = 1000
    """Rows of the split `validation` on which the loss is measured, before, while and after."""

    micro_batch: Annotated[int, Field(ge=1)] = 1
    """Conversations, or packs, that a device takes at a time; gradients are added up to `batch_size`."""
    accelerate: FilePath | None = None
    """A configuration of `accelerate launch`, for more than one process; see pipeline/configs/accelerate."""
    device: Literal["auto", "cpu"] = "auto"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    activation_checkpointing: bool = True
    """Trade a third more time for much less memory."""
    save_steps: Annotated[int, Field(ge=1)] = 500
    """Steps between two checkpoints: what a kill costs at most."""
    eval_steps: Annotated[int, Field(ge=1)] = 500
    log_steps: Annotated[int, Field(ge=1)] = 10
    workers: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    """Processes that tokenize."""

    unhashed: ClassVar[frozenset[str]] = frozenset(
        {
            *("micro_batch", "accelerate", "device", "attention", "activation_checkpointing"),
            *("save_steps", "eval_steps", "log_steps", "workers"),
        }
    )

    @model_validator(mode="after")
    def _adds_up(self) -> TrainConfig:
        if self.batch_size % self.micro_batch:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of micro_batch {self.micro_batch}")
        return self


def make(config: TrainConfig, job: Job) -> ModelFacts:
    """Train the base on the data.

    Raises:
        ConfigError: the base has no chat template, or the data no conversation to learn from.
        Unfinished: the training stopped; the same command goes on from its last checkpoint.
    """
    base = job.one("base")
    facts = model_files.facts_of(base)
    if facts.chat_template_sha256 is None or facts.tokenizer_sha256 is None:
        raise ConfigError(
            f"{base.root} has no tokenizer or no chat template, which says how a conversation is written",
            fix="take the base that comes with one, or add chat_template.jinja and adopt it again",
        )
    if facts.quantization:
        raise ConfigError(f"{base.root} is quantized, and cannot be trained", fix="take the model it was made from")
    job.talk("tokenizing")
    counts = {
        split: tokens.write(
            base.files,
            shards(job.inputs["data"], split),
            job.work / "tokens" / split,
            max_length=config.max_length,
            whole=config.learn == "all",
            workers=config.workers,
        )
        for split in ("train", "validation")
    }
    if not counts["train"]["rows"]:
        raise ConfigError(
            f"no conversation is left to learn from: {count(counts['train']['too_long'], 'row')} longer than "
            f"{config.max_length:,} tokens, {counts['train']['no_answer']:,} without an answer",
            fix="raise `max_length`, or give other data",
        )
    _train(config, job, base, validation=bool(counts["validation"]["rows"] and config.validation_rows))
    job.talk("writing the model")
    stored = trl.publish(job.work / "trained", base, job.files, ends=tokens.read_ends(counts["train"]))
    log = trl.read_log(job.work)
    with storage.writing(str(job.files / REPORTS / "loss.jsonl")) as file:
        file.writelines(
            orjson.dumps(curve_point(line)) + b"\n" for line in log if "loss" in line or "eval_loss" in line
        )
    with storage.writing(str(job.files / REPORTS / "loss.png")) as file:
        file.write(chart(log))
    write_report(str(job.files), "train", report(config, counts, log, trl.read_sessions(job.work), stored))
    return model_facts(job.files, model_files.paths_of(job.files))


def shards(data: Sequence[Bundle], split: str) -> list[Path]:
    """Return the Parquet files of a split over all bundles, in order."""
    return [
        bundle.files / file
        for bundle in data
        if bundle.manifest.facts.kind == "dataset"
        for one in bundle.manifest.facts.configs
        if one.name == "default"
        for part in one.splits
        if part.name == split
        for file in part.files
    ]


def _train(config: TrainConfig, job: Job, base: Bundle, *, validation: bool) -> None:
    trained = job.work / "trained"
    if (trained / trl.WHOLE).exists():
        return
    told = trl.TrainJob(
        model=base.files.absolute(),
        train=(job.work / "tokens" / "train").absolute(),
        validation=(job.work / "tokens" / "validation").absolute() if validation else None,
        out=trained.absolute(),
        work=job.work.absolute(),
        **config.model_dump(exclude={"learn", "workers", "accelerate"}),
    )
    path = job.work / "job.json"
    with storage.writing(str(path)) as file:
        file.write(told.model_dump_json(indent=1).encode())
    launch = (
        ("accelerate.commands.launch", "--config_file", str(config.accelerate.absolute()), "-m")
        if config.accelerate
        else ()
    )
    command = [sys.executable, "-m", *launch, "pipeline.engines.trl", str(path)]
    log = job.work / "train.log"
    variables = {
        **(ON_CPU if config.device == "cpu" else {}),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }
    with log.open("ab") as file:
        began = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-I", str(WATCHDOG), str(os.getpid()), str(STOP_SECONDS), *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=variables,
        )
    try:
        told_at = time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - told_at > TELL_SECONDS:
                told_at = time.monotonic()
                job.talk(sentence(trl.read_log(job.work)))
    finally:
        process.terminate()
        process.wait()
    if process.returncode:
        raise Unfinished(
            f"the training ended with {process.returncode}:\n{_tail(log, began)}",
            fix=f"read {log}, mend the cause, run it again",
        )
    (trained / trl.WHOLE).touch()


def sentence(log: Sequence[Mapping[str, Any]]) -> str:
    """Say how far a training is."""
    losses = [line for line in log if "loss" in line]
    if not losses:
        return "starting"
    last = losses[-1]
    return f"step {last['step']:,} of {last['of']:,}, loss {float(last['loss']):.3f}"


def curve_point(line: Mapping[str, Any]) -> dict[str, float]:
    """Return what is published of a line of the log."""
    kept = ("step", "epoch", "loss", "eval_loss", "learning_rate", "grad_norm")
    return {name: float(line[name]) if name != "step" else line[name] for name in kept if name in line}


def report(
    config: TrainConfig,
    counts: Mapping[str, Mapping[str, int]],
    log: Sequence[Mapping[str, Any]],
    took: Mapping[str, Any],
    stored: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a training was and what it took."""
    train = {name: number for name, number in counts["train"].items() if not name.startswith("ends/")}
    evaluated = [float(line["eval_loss"]) for line in log if "eval_loss" in line]
    return {
        "rows": {name: train.get(name, 0) for name in ("rows", "too_long", "no_answer")},
        "tokens": {"in_data": train["tokens"], "learnt_in_data": train["learnt"], "seen": took.get("tokens")},
        "seed": config.seed,
        "steps": took.get("steps"),
        "epochs": took.get("epochs"),
        "loss": {
            "first": next((float(line["loss"]) for line in log if "loss" in line), None),
            "last": next((float(line["loss"]) for line in reversed(log) if "loss" in line), None),
            "validation_before": evaluated[0] if evaluated else None,
            "validation_after": evaluated[-1] if len(evaluated) > 1 else None,
            "validation_rows": min(counts["validation"].get("rows", 0), config.validation_rows),
        },
        "flos": took.get("flos"),
        "seconds": took.get("seconds"),
        "sessions": took.get("sessions"),
        "energy_kwh": took.get("kwh"),
        "energy_by": "codecarbon: what the processors report of themselves, else an estimate from their rated power",
        "hardware": {name: took.get(name) for name in ("device", "processes", "threads")},
        "computed_in": config.dtype,
        "stored_in": stored["dtype"],
        "eos_added": stored["eos_added"],
    }


def chart(log: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the loss over the steps, of training and of validation, as PNG; the same log gives the same bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for key, label, colour, marker in (
        ("loss", "training", "#3b7ea1", ""),
        ("eval_loss", "validation", "#b3402e", "o"),
    ):
        points = [(line["step"], float(line[key])) for line in log if key in line]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=marker, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy of a learnt token, nats")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return png(figure)


def _tail(log: Path, began: int) -> str:
    """Return the last words of what was started when the log was that long, without those of its launcher."""
    lines = log.read_bytes()[began:].decode(errors="replace").splitlines()
    launcher = next((number for number, line in enumerate(lines) if LAUNCHER in line), len(lines))
    lines = lines[:launcher] or lines
    return "\n".join(f"  {line[:400]}" for line in lines[-TAIL_LINES:])


STAGE = Stage(
    "train",
    TrainConfig,
    make,
    takes={"base": Takes("model"), "data": Takes("dataset", many=True)},
    tools=("accelerate", "codecarbon", "datasets", "matplotlib", "torch", "transformers", "trl"),
)
