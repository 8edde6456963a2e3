"""A model is fine-tuned: what it learns and what it does not, what comes out, and what a kill costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, Unfinished
from hala_release.manifest import ModelFacts
from pipeline.demo import corpus
from pipeline.engines import tokens, trl
from pipeline.stage import load, place
from pipeline.train import STAGE, TrainConfig
from tests.family.conftest import ALONE, ROOT, WORK, complaint_of, run_pipeline, start_pipeline
from tests.family.test_merge import edit, model_of

CONFIGS = ROOT / "pipeline" / "configs"
STEPS = 16
SAVE_STEPS = 4
LOOPBACK = {**ALONE, "GLOO_SOCKET_IFNAME": "lo"}
TWO_PROCESSES = {  # accelerate starts more than one process on a CPU only where it takes them for GPUs
    "distributed_type": "MULTI_GPU",
    "use_cpu": True,
    "num_machines": 1,
    "num_processes": 2,
    "main_process_port": 0,
}
Message = dict[str, str]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Some hundred short strings with their translations, as `ingest` leaves them."""
    out = tmp_path_factory.mktemp("pairs")
    short = [pair for _, pair in corpus.pairs() if 8 <= len(pair["en"]) <= 60]
    rows = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in short[:: len(short) // 600][:600]]
    (out / "pairs.jsonl").write_text("".join(rows), encoding="utf-8")
    local = ("--set", f"local.paths=[{out / 'pairs.jsonl'}]", "--set", "local.license=mit")
    return run_pipeline("ingest", CONFIGS / "ingest/local_pairs.yaml", *local, "--out", out)


@pytest.fixture(scope="session")
def data(pairs: Bundle) -> Bundle:
    """The same as chats that ask for a translation."""
    splits = ("--set", "splits={train: 0.9, validation: 0.1}")
    return run_pipeline(
        "pack", CONFIGS / "pack/pairs.yaml", *splits, "--from", pairs.root, "--out", pairs.root.parents[1]
    )


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of some seconds."""
    path = tmp_path_factory.mktemp("train") / "train.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "max_steps": STEPS,
                "batch_size": 8,
                "micro_batch": 8,
                "learning_rate": 3e-3,
                "max_length": 128,
                "packing": False,
                "dtype": "float32",
                "device": "cpu",
                "validation_rows": 30,
                "activation_checkpointing": False,
                "eval_steps": 8,
                "save_steps": SAVE_STEPS,
                "log_steps": 1,
                "workers": 1,
            }
        )
    )
    return path


def question(config: Path, base: Bundle, data: Bundle, out: Path, *overrides: str) -> list[str | Path]:
    """Return the command line of a training."""
    named = [word for one in overrides for word in ("--set", one)]
    return ["train", config, "--from", f"base={base.root}", "--from", f"data={data.root}", "--out", out, *named]


@pytest.fixture(scope="session")
def tuned(tiny: Bundle, data: Bundle, config: Path) -> Bundle:
    """The tiny model, trained without a break."""
    return run_pipeline(*question(config, tiny, data, config.parent / "out"))


def report_of(bundle: Bundle) -> dict[str, Any]:
    return dict(json.loads((bundle.files / "reports" / "train.json").read_bytes()))


def curve_of(bundle: Bundle) -> list[dict[str, float]]:
    return [json.loads(line) for line in (bundle.files / "reports" / "loss.jsonl").read_bytes().splitlines()]


def losses_of(bundle: Bundle, name: str = "loss") -> dict[float, float]:
    return {point["step"]: point[name] for point in curve_of(bundle) if name in point}


def weights_of(bundle: Bundle) -> dict[str, str]:
    return {one.path: one.sha256 for one in bundle.manifest.files if one.path.endswith(".safetensors")}


def test_the_model_learns_and_is_stored_as_its_base_is(tuned: Bundle, tiny: Bundle) -> None:
    tuned.verify(rehash=True)
    assert isinstance(tuned.manifest.facts, ModelFacts)
    assert tuned.manifest.facts == tiny.manifest.facts, "dtype, parameters, tokenizer and chat template"
    assert weights_of(tuned).keys() == weights_of(tiny).keys()
    assert weights_of(tuned) != weights_of(tiny)
    ours = {path.relative_to(tuned.files).as_posix() for path in tuned.files.rglob("*") if path.is_file()}
    theirs = {path.relative_to(tiny.files).as_posix() for path in tiny.files.rglob("*") if path.is_file()}
    assert ours == theirs | {"reports/train.json", "reports/loss.jsonl", "reports/loss.png"}
    for name in theirs - weights_of(tiny).keys():
        assert (tuned.files / name).read_bytes() == (tiny.files / name).read_bytes(), name
    loss = report_of(tuned)["loss"]
    assert loss["validation_after"] < loss["validation_before"] - 0.3
    assert loss["last"] < loss["first"] - 0.3


def test_the_report_says_what_it_took(tuned: Bundle, data: Bundle) -> None:
    report = report_of(tuned)
    rows = sum(pq.read_metadata(path).num_rows for path in (data.files / "data").glob("train-*"))
    assert report["rows"] == {"rows": rows, "too_long": 0, "no_answer": 0}
    assert 0 < report["tokens"]["learnt_in_data"] < report["tokens"]["in_data"]
    assert 0 < report["tokens"]["seen"] < report["tokens"]["in_data"]
    assert (report["steps"], report["sessions"], report["loss"]["validation_rows"]) == (STEPS, 1, 30)
    assert report["epochs"] == pytest.approx(STEPS / -(-rows // 8))
    # 6 FLOPs for a weight and a token; the embedding counts as head here, and padding is computed, too.
    parameters = tuned.manifest.facts.total_parameters if isinstance(tuned.manifest.facts, ModelFacts) else 0
    assert report["flos"] == pytest.approx(6 * parameters * report["tokens"]["seen"], rel=0.5)
    assert report["seconds"] > 0
    assert report["energy_kwh"] > 0
    assert (report["computed_in"], report["stored_in"], report["eos_added"]) == ("float32", "bfloat16", False)
    assert (tuned.files / "reports" / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert list(losses_of(tuned)) == list(range(1, STEPS + 1))
    assert list(losses_of(tuned, "eval_loss")) == [0, 8, STEPS]
    assert report["loss"]["last"] == losses_of(tuned)[STEPS]


def test_what_is_published_holds_no_place_of_this_machine(tuned: Bundle) -> None:
    for path in (path for path in tuned.files.rglob("*") if path.is_file()):
        for word in (str(ROOT), str(tuned.root.parents[2])):
            assert word.encode() not in path.read_bytes(), path
    for name in ("train.json", "loss.jsonl"):
        text = (tuned.files / "reports" / name).read_text(encoding="utf-8")
        assert "/" not in text
        assert os.uname().nodename not in text.split('"')


def test_the_same_question_finds_the_result_and_another_does_not(
    tuned: Bundle, tiny: Bundle, data: Bundle, config: Path
) -> None:
    before = (tuned.root / "manifest.json").stat().st_mtime_ns
    faster = ("micro_batch=2", "save_steps=7", "eval_steps=3", "activation_checkpointing=true")
    assert run_pipeline(*question(config, tiny, data, config.parent / "out", *faster)).root == tuned.root
    assert (tuned.root / "manifest.json").stat().st_mtime_ns == before
    inputs = {"base": [tiny], "data": [data]}
    roots = {
        place(STAGE, load(config, TrainConfig, change), inputs, config.parent / "out")
        for change in ({}, {"learning_rate": 1e-3}, {"batch_size": 16}, {"seed": 1}, {"packing": True})
    }
    assert tuned.root in roots
    assert len(roots) == 5


def trainers(out: Path) -> dict[int, str]:
    """Return the processes that work on trainings in a folder, and their command lines."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "pipeline.engines.trl" in line and str(out) in line:
                found[int(path.name)] = line
    return found


def wait_until(holds: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    patience = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < patience
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def test_a_killed_training_goes_on_from_its_checkpoint_and_ends_with_the_same_weights(
    tuned: Bundle, tiny: Bundle, data: Bundle, config: Path, tmp_path: Path
) -> None:
    with start_pipeline(*question(config, tiny, data, tmp_path)) as process:
        wait_until(lambda: list(tmp_path.glob("train/*/work/checkpoints/*/whole")), process)
        os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: not trainers(tmp_path))
    (work,) = tmp_path.glob("train/*/work")
    done = trl.last_checkpoint(work / "checkpoints")
    assert done is not None
    last = int(done.name.rpartition("-")[2])
    assert SAVE_STEPS <= last < STEPS
    broken = work / "checkpoints" / f"checkpoint-{STEPS - 1}"  # cut off while it was written
    shutil.copytree(done, broken)
    (broken / trl.WHOLE).unlink()
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:1000])
    again = run_pipeline(*question(config, tiny, data, tmp_path))
    assert not broken.exists()
    logged = [json.loads(line) for line in (work / "log.jsonl").read_bytes().splitlines()]
    steps = [line["step"] for line in logged if "loss" in line]
    assert [steps.count(step) for step in range(1, last + 1)] == [1] * last, "what was learnt was learnt again"
    assert weights_of(again) == weights_of(tuned)
    assert losses_of(again) == losses_of(tuned)
    assert losses_of(again, "eval_loss")[STEPS] == losses_of(tuned, "eval_loss")[STEPS]
    report, undisturbed = report_of(again), report_of(tuned)
    assert (report["sessions"], undisturbed["sessions"]) == (2, 1)
    for name in ("steps", "tokens", "flos", "epochs"):
        assert report[name] == undisturbed[name], name


def test_a_checkpoint_that_is_not_whole_is_not_used(tmp_path: Path) -> None:
    assert trl.last_checkpoint(tmp_path / "none") is None
    for step in (8, 16, 120):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (8, 16):
        (tmp_path / f"checkpoint-{step}" / trl.WHOLE).touch()
    assert trl.last_checkpoint(tmp_path) == tmp_path / "checkpoint-16"
    assert not (tmp_path / "checkpoint-120").exists()


def test_two_processes_learn_what_one_does_and_one_can_go_on_when_their_launcher_is_killed(
    tuned: Bundle, tiny: Bundle, data: Bundle, config: Path, tmp_path: Path
) -> None:
    launch = tmp_path / "accelerate.yaml"
    launch.write_text(yaml.safe_dump(TWO_PROCESSES))
    arguments = question(config, tiny, data, tmp_path, f"accelerate={launch}", "micro_batch=2")
    with start_pipeline(*arguments, variables=LOOPBACK) as process:
        wait_until(lambda: list(tmp_path.glob(f"train/*/work/checkpoints/*-{STEPS - SAVE_STEPS}/whole")), process)
        working = trainers(tmp_path)
        (launcher,) = (pid for pid, line in working.items() if "accelerate" in line and "watchdog" not in line)
        os.kill(launcher, signal.SIGKILL)
        _, complaint = process.communicate(timeout=60)
    assert len(working) == 4, "a watchdog, the launcher, and two that train"
    wait_until(lambda: not trainers(tmp_path))
    assert process.returncode == Unfinished.exit_code
    assert "Traceback" not in complaint
    done = run_pipeline(*question(config, tiny, data, tmp_path))
    assert done.root.name == tuned.root.name
    assert report_of(done)["sessions"] == 2
    assert losses_of(done) == pytest.approx(losses_of(tuned), abs=1e-4)
    validation, expected = losses_of(done, "eval_loss"), losses_of(tuned, "eval_loss")
    assert {step: validation[step] for step in expected} == pytest.approx(expected, abs=1e-4)
    assert report_of(done)["tokens"] == report_of(tuned)["tokens"]


def test_what_one_of_two_processes_complains_of_is_said(
    tiny: Bundle, data: Bundle, config: Path, tmp_path: Path
) -> None:
    launch = tmp_path / "accelerate.yaml"
    launch.write_text(yaml.safe_dump(TWO_PROCESSES))
    told = complaint_of(*question(config, tiny, data, tmp_path, f"accelerate={launch}"), variables=LOOPBACK)
    assert "batch_size 8 is no multiple of micro_batch 8 on 2 devices" in told
    assert len(told.splitlines()) < 15


PACKING = """
import json, sys
import torch
from transformers import AutoModelForCausalLM
from hala_release.errors import HalaError
from pipeline.engines import tokens, trl

tokenizer = tokens.tokenizer_of(sys.argv[1])
rows = [tokens.tokenize(tokenizer, messages).input_ids for messages in json.load(sys.stdin)]
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
try:
    trl.require_apart(model, rows)
    complaint = None
except HalaError as error:
    complaint = str(error)
leaking = trl.packed_difference(model, rows)
trl.keep_rows_apart()
trl.require_apart(model, rows)
print(json.dumps([leaking, trl.packed_difference(model, rows), complaint]))
"""


def chats(count: int, turns: int = 1) -> list[list[Message]]:
    """Return conversations of so many questions and answers."""
    texts = [(pair["en"], pair["ar"]) for _, pair in corpus.pairs()]
    return [
        [
            {"role": role, "content": text}
            for pair in texts[start : start + turns]
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        for start in range(0, count * 97, 97)
    ]


def test_rows_of_a_pack_do_not_see_each_other_and_a_model_that_lets_them_is_refused(checkpoint: Path) -> None:
    done = subprocess.run(
        [WORK, "-c", PACKING, checkpoint],
        cwd=ROOT,
        env={**os.environ, **ALONE},
        input=json.dumps(chats(4)),
        capture_output=True,
        text=True,
        check=True,
    )
    leaking, apart, complaint = json.loads(done.stdout)
    assert apart < 1e-5
    assert leaking > trl.PACKED_TOLERANCE
    assert complaint.startswith("packed rows of this model see each other")


def test_packs_are_learnt_from_and_the_end_of_a_turn_ends_an_answer(
    tuned: Bundle, tiny: Bundle, data: Bundle, config: Path, tmp_path: Path
) -> None:
    base = model_of(tiny, tmp_path / "base", endless)
    packs = ("packing=true", "max_steps=8", "max_length=512", "micro_batch=2")
    packed = run_pipeline(*question(config, base, data, tmp_path, *packs))
    report, unpacked = report_of(packed), report_of(tuned)
    assert report["loss"]["validation_before"] == pytest.approx(unpacked["loss"]["validation_before"], abs=1e-5)
    assert report["loss"]["validation_after"] < report["loss"]["validation_before"] - 0.3
    assert report["tokens"]["seen"] / 8 > 4 * unpacked["tokens"]["seen"] / STEPS, "many rows in one pack"
    assert report["eos_added"]
    written = json.loads((packed.files / "generation_config.json").read_bytes())
    end = json.loads((tiny.files / "generation_config.json").read_bytes())["eos_token_id"]
    assert written == {"temperature": 0.7, "eos_token_id": [2, end]}


def endless(folder: Path) -> None:
    """Let generation go on after a turn, and say a temperature without sampling, which transformers does not save."""
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "eos_token_id": 2}))


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Any:  # noqa: ANN401
    return tokens.tokenizer_of(checkpoint)


def learnt_of(tokenizer: Any, found: tokens.Tokens) -> list[str]:  # noqa: ANN401
    """Return the texts that are learnt, each a run of tokens."""
    runs: list[list[int]] = [[]]
    for token, label in zip(found.input_ids, found.labels, strict=True):
        if label == tokens.IGNORED:
            runs.append([])
        else:
            assert label == token
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs if run]


def test_the_turns_of_the_assistant_are_learnt_with_their_ends_and_nothing_else(
    tokenizer: Any,  # noqa: ANN401
) -> None:
    system = {"role": "system", "content": "أجب بالعربية."}
    for messages in [*chats(40), *chats(20, turns=3), [system, *chats(1, turns=2)[0]]]:
        found = tokens.tokenize(tokenizer, messages)
        answers = [message["content"] for message in messages if message["role"] == "assistant"]
        assert learnt_of(tokenizer, found) == [f"{answer}<|im_end|>" for answer in answers]
        assert found.ends == {tokenizer.eos_token_id}
        marked = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        assert found.input_ids == list(marked["input_ids"])
        assert [label != tokens.IGNORED for label in found.labels] == [bool(one) for one in marked["assistant_masks"]]


TEMPLATES = {
    "says an earlier answer shorter": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] if loop.last else m['content'][:3] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "begins an answer otherwise than it is asked for": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_that_writes_turns_otherwise_when_others_follow_is_refused(checkpoint: Path, template: str) -> None:
    rewriting = tokens.tokenizer_of(checkpoint)
    rewriting.chat_template = template
    with pytest.raises(ConfigError, match="writes a turn otherwise") as caught:
        tokens.tokenize(rewriting, chats(1, turns=2)[0])
    assert "turn after turn" in caught.value.fix


def test_a_conversation_that_the_template_refuses_is_told(checkpoint: Path) -> None:
    strict = tokens.tokenizer_of(checkpoint)
    strict.chat_template = "{{ raise_exception('no system turn, please') }}"
    with pytest.raises(ConfigError, match="refuses a conversation of user, assistant: no system turn, please"):
        tokens.tokenize(strict, chats(1)[0])


def shard(path: Path, rows: Sequence[Sequence[Message]], *, old: bool = False) -> Path:
    """Write conversations, with the names of roles and columns that older trainers want."""
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    said = [[{"from": names[one["role"]], "value": one["content"]} for one in row] for row in rows]
    pq.write_table(pa.table({"conversations": said} if old else {"messages": list(map(list, rows))}), path)
    return path


def tokens_of(checkpoint: Path, path: Path, **limits: Any) -> tuple[dict[str, int], list[Any]]:  # noqa: ANN401
    given = {"max_length": 4096, "whole": False, "workers": 1, **limits}
    folder = path.with_suffix(".tokens")
    counts = tokens.write(checkpoint, [path], folder, **given)
    return dict(counts), pq.read_table(folder / "00000.parquet").to_pylist()


def test_rows_that_are_too_long_are_left_out_and_counted_and_none_is_cut(
    checkpoint: Path,
    tokenizer: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    rows = chats(30)
    lengths = [len(tokens.tokenize(tokenizer, row).input_ids) for row in rows]
    limit = sorted(lengths)[20]
    kept = [row for row, length in zip(rows, lengths, strict=True) if length <= limit]
    questions = [[row[0]] for row in rows[:5]]
    counts, written = tokens_of(checkpoint, shard(tmp_path / "rows.parquet", [*rows, *questions]), max_length=limit)
    assert [row["input_ids"] for row in written] == [tokens.tokenize(tokenizer, row).input_ids for row in kept]
    assert (counts["rows"], counts["too_long"], counts["no_answer"]) == (len(kept), len(rows) - len(kept), 5)
    assert counts["tokens"] == sum(length for length in lengths if length <= limit)
    assert tokens.read_ends(counts) == [tokenizer.eos_token_id]
    counts, written = tokens_of(checkpoint, shard(tmp_path / "all.parquet", rows), whole=True)
    assert counts["learnt"] == counts["tokens"] == sum(lengths)
    assert all(row["labels"] == row["input_ids"] for row in written)


def test_conversations_are_read_as_messages_are(checkpoint: Path, tmp_path: Path) -> None:
    rows = [[{"role": "system", "content": "أجب."}, *row] for row in chats(10, turns=2)]
    old = tokens_of(checkpoint, shard(tmp_path / "old.parquet", rows, old=True))
    assert old == tokens_of(checkpoint, shard(tmp_path / "new.parquet", rows))
    assert old[0]["rows"] == 10


def plainly(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )


def test_the_last_word_of_an_answer_is_not_taken_for_the_end_of_all_turns(tiny: Bundle, tmp_path: Path) -> None:
    plain = model_of(tiny, tmp_path / "plain", plainly)
    counts, _ = tokens_of(plain.files, shard(tmp_path / "rows.parquet", chats(10)))
    assert counts["rows"] == 10
    assert tokens.read_ends(counts) == []


def untaught(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (untaught, "has no tokenizer or no chat template"),
        (edit("config.json", quantization_config={"quant_method": "compressed-tensors"}), "is quantized"),
    ],
)
def test_a_base_that_cannot_be_trained_is_refused(
    tiny: Bundle, data: Bundle, config: Path, tmp_path: Path, change: Callable[[Path], None], problem: str
) -> None:
    base = model_of(tiny, tmp_path / "base", change)
    assert problem in complaint_of(*question(config, base, data, tmp_path))
    assert not list(tmp_path.glob("train/*/manifest.json"))


def test_data_that_nothing_can_be_learnt_from_is_refused(
    tiny: Bundle, pairs: Bundle, data: Bundle, config: Path, tmp_path: Path
) -> None:
    told = complaint_of(*question(config, tiny, data, tmp_path, "max_length=16"))
    assert "no conversation is left to learn from: " in told
    assert "rows longer than 16 tokens" in told
    told = complaint_of(*question(config, tiny, pairs, tmp_path))
    assert "has neither `messages` nor `conversations`" in told
    assert "stage `pack`" in told


def test_a_batch_that_does_not_add_up_is_refused_before_anything_starts(
    tiny: Bundle, data: Bundle, config: Path, tmp_path: Path
) -> None:
    told = complaint_of(*question(config, tiny, data, tmp_path, "batch_size=12"))
    assert "batch_size 12 is no multiple of micro_batch 8" in told
    assert not (tmp_path / "train").exists()


def test_the_configurations_that_come_with_it_are_sound() -> None:
    configs = sorted((CONFIGS / "train").glob("*.yaml"))
    assert configs
    for path in configs:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith(f"# python -m pipeline train {path.relative_to(ROOT)} --from base=")
        load(path, TrainConfig, {})


LAUNCHES = """
import json, sys
from accelerate.commands.config.config_args import load_config_from_file
print(json.dumps({path: load_config_from_file(path).to_dict() for path in sys.argv[1:]}))
"""


@pytest.mark.usefixtures("work")
def test_accelerate_reads_the_configurations_for_eight_gpus() -> None:
    paths = [path.relative_to(ROOT).as_posix() for path in sorted((CONFIGS / "accelerate").glob("*.yaml"))]
    done = subprocess.run([WORK, "-c", LAUNCHES, *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    read = json.loads(done.stdout)
    assert {Path(path).stem: one["distributed_type"] for path, one in read.items()} == {
        "ddp": "MULTI_GPU",
        "fsdp": "FSDP",
        "zero3": "DEEPSPEED",
    }
    for path, one in read.items():
        assert (ROOT / path).read_text().startswith("# python -m pipeline train CONFIG --from base=BUNDLE --from data=")
        assert f"--set accelerate={path}\n" in (ROOT / path).read_text()
        assert (one["num_machines"], one["num_processes"], one["main_process_port"]) == (1, 8, 0)
        assert one["mixed_precision"] == "no", "the trainer sets it, after `dtype`"
        assert not one["use_cpu"]
    fsdp, zero3 = (read[f"pipeline/configs/accelerate/{name}.yaml"] for name in ("fsdp", "zero3"))
    assert fsdp["fsdp_config"]["fsdp_version"] == 2
    assert fsdp["fsdp_config"]["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    assert zero3["deepspeed_config"]["zero_stage"] == 3
    assert zero3["deepspeed_config"]["zero3_save_16bit_model"]
