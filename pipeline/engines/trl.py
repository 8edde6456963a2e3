"""TRL's supervised fine-tuning as a program of its own: one process, or many of `accelerate launch`, on one job.

    python -m pipeline.engines.trl JOB.json
    accelerate launch --config_file FILE -m pipeline.engines.trl JOB.json

It goes on from the last checkpoint that was written whole. What it says of its steps goes to `log.jsonl` beside the
job, what a session took to `sessions/`.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, HalaError, PayloadInvalid
from hala_release.manifest import Record
from pipeline import model_files, storage
from pipeline.engines.capped import attention
from pipeline.engines.tokens import IGNORED, tokenizer_of, with_ends
from pipeline.engines.watchdog import PR_SET_PDEATHSIG

WHOLE = "whole"
"""File that a checkpoint gets when it is written: without it a run was cut off in between."""
PACKED_TOLERANCE = 1e-3
"""Largest difference of a logit, relative to the largest logit, between rows packed together and alone: in float32
rounding gives 1e-6, a row that sees its neighbour 1e-2."""


class TrainJob(Record):
    """What one training needs to know; paths are absolute."""

    model: Path
    """Directory of the model that is trained."""
    train: Path
    """Folder of Parquet with `input_ids` and `labels`."""
    validation: Path | None
    validation_rows: int
    """The first so many are enough."""
    out: Path
    """Folder for the trained model."""
    work: Path
    """Folder for checkpoints, log and sessions."""
    seed: int
    epochs: float
    max_steps: int | None
    batch_size: int
    """Rows, or packs, of an optimizer step over all devices."""
    micro_batch: int
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    max_grad_norm: float
    max_length: int
    packing: bool
    dtype: str
    device: str
    attention: str
    activation_checkpointing: bool
    save_steps: int
    eval_steps: int
    log_steps: int


def run(job: TrainJob) -> None:
    """Train, and leave the model in `job.out`."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if job.batch_size % (job.micro_batch * world):
        raise ConfigError(
            f"batch_size {job.batch_size} is no multiple of micro_batch {job.micro_batch} on {world} devices",
            fix="change `micro_batch`, or the number of devices",
        )
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, GenerationConfig, set_seed
    from trl import SFTConfig

    arguments = SFTConfig(
        output_dir=str(job.work / "checkpoints"),
        seed=job.seed,
        data_seed=job.seed,
        num_train_epochs=job.epochs,
        max_steps=job.max_steps or -1,
        per_device_train_batch_size=job.micro_batch,
        per_device_eval_batch_size=1,  # `_trainer` needs it
        gradient_accumulation_steps=job.batch_size // (job.micro_batch * world),
        learning_rate=job.learning_rate,
        lr_scheduler_type=job.schedule,
        warmup_steps=job.warmup,
        weight_decay=job.weight_decay,
        max_grad_norm=job.max_grad_norm,
        max_length=job.max_length,
        packing=job.packing,
        eval_packing=False,
        bf16=job.dtype == "bfloat16",
        use_cpu=job.device == "cpu",
        gradient_checkpointing=job.activation_checkpointing,
        logging_steps=job.log_steps,
        logging_first_step=True,
        eval_strategy="steps" if job.validation else "no",
        eval_steps=job.eval_steps,
        eval_on_start=job.validation is not None,
        save_strategy="steps",
        save_steps=job.save_steps,
        save_total_limit=2,
        include_num_input_tokens_seen="non_padding",
        ddp_find_unused_parameters=False,
        report_to="none",
        disable_tqdm=True,
        push_to_hub=False,
    )
    if arguments.n_gpu > 1:
        raise ConfigError(
            f"{arguments.n_gpu} GPUs are there, and one process would split every batch over them",
            fix="give `accelerate: pipeline/configs/accelerate/ddp.yaml`, or CUDA_VISIBLE_DEVICES=0",
        )
    if job.attention == "sdpa" and attention(job.model) != "sdpa":
        raise ConfigError(
            "this model caps the scores of its attention, which `sdpa` leaves out", fix="set `attention: eager`"
        )
    set_seed(job.seed)
    if job.packing:
        keep_rows_apart()
    # Weights and what the optimizer keeps are float32; bfloat16 is what the passes compute in.
    model: Any = AutoModelForCausalLM.from_pretrained(
        job.model, dtype=torch.float32, attn_implementation=job.attention, local_files_only=True
    )
    # The base's own is published. transformers saves none that holds a temperature and does not sample.
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]

    def rows(folder: Path) -> Any:  # noqa: ANN401
        paths = [str(path) for path in sorted(folder.glob("*.parquet"))]
        return Dataset.from_parquet(paths, cache_dir=str(job.work / "cache"))

    train = rows(job.train)
    if job.packing and int(os.environ.get("RANK", "0")) == 0 and not arguments.deepspeed_plugin:
        # DeepSpeed has cut the weights up already; others do so later, and from where the weights are now.
        require_apart(model.to(arguments.device), [row["input_ids"] for row in train.select(range(min(3, len(train))))])
        model.to("cpu")
    validation = rows(job.validation) if job.validation else None
    if validation is not None:
        validation = validation.select(range(min(job.validation_rows, len(validation))))
    recorder = _recorder(job)
    trainer = _trainer()(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer_of(job.model),
        callbacks=[recorder],
    )
    checkpoint = last_checkpoint(job.work / "checkpoints")
    with recorder.session(trainer):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trainer.save_model(str(job.out))


def _trainer() -> Any:  # noqa: ANN401
    """Return TRL's trainer, measuring the loss of a learnt token over all rows of the validation.

    The trainer of transformers takes the average of the averages of batches, which changes with their size and with the
    number of devices.
    """
    import torch
    from trl import SFTTrainer

    class Trainer(SFTTrainer):
        def prediction_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401
            found = super().prediction_step(model, inputs, *rest, **more)
            loss = found[0]
            learnt = (inputs["labels"][:, 1:] != IGNORED).sum().to(loss)
            self._measured.append(torch.stack([loss * learnt, learnt]))
            return found

        def evaluation_loop(self, *rest: Any, **more: Any) -> Any:  # noqa: ANN401
            self._measured: list[torch.Tensor] = []
            output = super().evaluation_loop(*rest, **more)
            each = self.accelerator.gather(torch.stack(self._measured)[None])  # device, step, two numbers
            # In the order of the rows; where devices are left without one, the first rows come again at the end.
            loss, learnt = each.transpose(0, 1).reshape(-1, 2)[: output.num_samples].double().sum(0).tolist()
            output.metrics["eval_loss"] = loss / learnt
            return output

    return Trainer


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written whole, and remove those that were not."""
    found = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*")}
    for step, path in sorted(found.items()):
        if not (path / WHOLE).exists():
            if int(os.environ.get("RANK", "0")) == 0:
                shutil.rmtree(path, ignore_errors=True)
            del found[step]
    return found[max(found)] if found else None


def keep_rows_apart() -> None:
    """Let LFM2's convolution stop at the borders of packed rows where the package `causal_conv1d` is not there.

    transformers' own version in torch drops `seq_idx`, so that the first tokens of a row see the end of its neighbour.
    """
    from importlib.util import find_spec

    import torch
    from transformers.models.lfm2 import modeling_lfm2

    if find_spec("causal_conv1d"):
        return

    def causal_conv1d_fn(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        activation: str | None = None,
        seq_idx: torch.Tensor | None = None,
        **_: object,
    ) -> torch.Tensor:
        """Convolve x (batch, channels, length) with weight (channels, width), each token with those before it.

        `seq_idx` (batch, length) numbers the rows; tokens of another one count as nothing.
        """
        if activation is not None:
            raise HalaError(f"LFM2 with the activation {activation} cannot be packed here", fix="set `packing: false`")
        given, x = x, x.to(weight.dtype)
        width = weight.shape[-1]
        out = x * weight[:, -1, None]
        for back in range(1, min(width, x.shape[-1])):
            term = x[..., :-back] * weight[:, width - 1 - back, None]
            if seq_idx is not None:
                term = term * (seq_idx[:, back:] == seq_idx[:, :-back])[:, None]
            out = out + torch.nn.functional.pad(term, (back, 0))
        out = out if bias is None else out + bias[:, None]
        return out.to(given.dtype)

    modeling_lfm2.causal_conv1d_fn = causal_conv1d_fn


def require_apart(model: Any, rows: Sequence[Sequence[int]]) -> None:  # noqa: ANN401
    """Stop before a training in which packed rows would see each other.

    Raises:
        HalaError: logits of rows in one pack differ from those of the rows alone.
    """
    if len(rows) < 2:
        return
    difference = packed_difference(model, rows)
    if not difference <= PACKED_TOLERANCE:
        raise HalaError(
            f"packed rows of this model see each other: logits differ by {difference:.2g} of the largest",
            fix="set `packing: false`, or install the kernels that keep rows apart (causal-conv1d, flash-attn)",
        )


def packed_difference(model: Any, rows: Sequence[Sequence[int]]) -> float:  # noqa: ANN401
    """Return the largest difference of a logit between rows in one pack and alone, relative to the largest logit."""
    import torch

    device = next(model.parameters()).device
    model.train(False)
    with torch.inference_mode():
        alone = [model(torch.tensor([row], device=device), use_cache=False).logits[0].float() for row in rows]
        packed = model(
            torch.tensor([[token for row in rows for token in row]], device=device),
            position_ids=torch.tensor([[place for row in rows for place in range(len(row))]], device=device),
            seq_idx=torch.tensor([[n for n, row in enumerate(rows) for _ in row]], device=device, dtype=torch.int32),
            use_cache=False,
        ).logits[0]
    model.train(True)
    expected = torch.cat(alone)
    return float((packed.float() - expected).abs().max() / expected.abs().max())


def _recorder(job: TrainJob) -> Any:  # noqa: ANN401
    """Return the callback that writes down steps, whole checkpoints, and what a session takes."""
    from contextlib import contextmanager

    import torch
    from codecarbon import OfflineEmissionsTracker
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):
        def __init__(self) -> None:
            self._session = job.work / "sessions" / f"{time.time_ns()}.json"
            self._began = time.monotonic()
            self._tracker: Any = None
            self._kwh = 0.0
            self._devices: dict[str, Any] = {}

        @contextmanager
        def session(self, trainer: Any) -> Iterator[None]:  # noqa: ANN401
            """Measure until the block is left."""
            if not trainer.is_world_process_zero():
                yield
                return
            self._devices = devices(trainer)
            # Only energy is used; the country would decide the grams of CO2.
            self._tracker = OfflineEmissionsTracker(
                country_iso_code="USA",
                save_to_file=False,
                log_level="critical",
                allow_multiple_runs=True,
            )
            self._tracker.start_task()
            try:
                yield
            finally:
                self._write(trainer.state)
                self._tracker.stop()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ANN401
            if state.is_world_process_zero:
                line = {"step": state.global_step, "of": state.max_steps, **(logs or {})}
                with (job.work / "log.jsonl").open("ab") as file:
                    file.write(orjson.dumps(line, default=str) + b"\n")

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.barrier()
            if state.is_world_process_zero:
                self._write(state)
                os.sync()
                (job.work / "checkpoints" / f"checkpoint-{state.global_step}" / WHOLE).touch()

        def _write(self, state: Any) -> None:  # noqa: ANN401
            self._kwh += self._tracker.stop_task().energy_consumed
            self._tracker.start_task()
            took = {
                "seconds": time.monotonic() - self._began,
                "kwh": self._kwh,
                "flos": state.total_flos,
                "tokens": state.num_input_tokens_seen,
                "steps": state.global_step,
                "epochs": state.epoch,
                **self._devices,
            }
            storage.write_json(str(self._session), took)

    return Recorder()


def devices(trainer: Any) -> dict[str, Any]:  # noqa: ANN401
    """Say on what a training runs: the kind of device and how many."""
    import torch

    kind = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    return {"device": kind, "processes": trainer.args.world_size, "threads": torch.get_num_threads()}


def publish(trained: Path, base: Bundle, files: Path, *, ends: Sequence[int]) -> dict[str, Any]:
    """Write a trained model as it is published: stored as its base is, with the base's own tokenizer and template.

    Args:
        trained: what the trainer saved; float32.
        ends: tokens that end a turn of the assistant; generation has to stop at them.

    Returns:
        What the report says: `dtype` of the weights, and `eos_added` where generation_config.json lacked an end.

    Raises:
        PayloadInvalid: the training left weights that are not numbers.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = orjson.loads((base.files / model_files.CONFIG).read_bytes())
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    model = AutoModelForCausalLM.from_pretrained(trained, dtype=getattr(torch, dtype), local_files_only=True)
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise PayloadInvalid(f"{name} holds values that are no numbers", fix="lower `learning_rate`, and run again")
    model.save_pretrained(files, max_shard_size="5GB")
    model_files.carry(base, files)
    shutil.copyfile(base.files / model_files.CONFIG, files / model_files.CONFIG)
    generation = files / model_files.GENERATION
    before = generation.read_bytes() if generation.exists() else b"{}"
    after = with_ends(before, ends)
    generation.write_bytes(after)
    return {"dtype": dtype, "eos_added": after != before}


def read_log(work: Path) -> list[dict[str, Any]]:
    """Return what was logged, each step once: what came after a checkpoint that was gone back to is left out."""
    path = work / "log.jsonl"
    found: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            entry = orjson.loads(line)
        except ValueError:
            continue  # a line that a kill cut off
        if "loss" in entry or "eval_loss" in entry:
            found[entry["step"], "eval_loss" in entry] = entry
    return [found[key] for key in sorted(found)]


def read_sessions(work: Path) -> Mapping[str, Any]:
    """Add up what all sessions took; the last one knows the totals that checkpoints carry on."""
    sessions = [storage.read_json(str(path)) for path in sorted((work / "sessions").glob("*.json"))]
    if not sessions:
        return {}
    last = sessions[-1]
    spent = {name: math.fsum(one[name] for one in sessions) for name in ("seconds", "kwh")}
    return {**last, **spent, "sessions": len(sessions)}


def main() -> int:
    """Do the job that the command line names."""
    if sys.platform == "linux":
        # Each process that `accelerate launch` starts is in a session of its own, where no watchdog finds it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        run(TrainJob.model_validate_json(Path(sys.argv[1]).read_bytes()))
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
