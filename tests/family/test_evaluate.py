"""What a model scores: prompts word for word, log-likelihoods as another program computes them, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, HalaError
from hala_release.localhub.daemon import Running
from hala_release.manifest import ResultsFacts, weights_sha256
from pipeline.demo.model import CHAT_TEMPLATE
from pipeline.engines import lm_eval
from pipeline.evaluate import STAGE, EvaluateConfig
from pipeline.stage import load
from pipeline.tasks import hala
from tests.family.conftest import ROOT, WORK, complaint_of, run_pipeline, start_pipeline
from tests.family.loglikelihoods import loglikelihoods

Row = dict[str, Any]

PLANTED: dict[str, tuple[list[Row], str, list[str], int]] = {
    "hala_arabic_mmlu": (
        [
            {"Question": "ما لون السماء؟", "Context": "لا يظهر", "Answer Key": "B", "Option 1": "أحمر",
             "Option 2": "أزرق", "Option 3": None, "Option 4": "أسود", "Option 5": "أخضر"},
            {"Question": "كم عدد الفصول؟", "Context": None, "Answer Key": "A", "Option 1": "أربعة",
             "Option 2": "خمسة", "Option 3": None, "Option 4": None, "Option 5": None},
        ],
        "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة:\n\nما لون السماء؟\n"
        "أ. أحمر\nب. أزرق\nد. أسود\nهـ. أخضر\nالإجابة:",
        ["أ", "ب", "د", "هـ"],
        1,
    ),
    "hala_arabic_mmlu_ht": (
        [
            {"question": "ما ناتج 1 + 1؟", "choices": ["1", "2", "3", "4"], "answer": 1},
            {"question": "ما ناتج 2 + 2؟", "choices": ["1", "2", "3", "4"], "answer": 3},
        ],
        "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة:\n\nما ناتج 1 + 1؟\n"
        "1. 1\n2. 2\n3. 3\n4. 4\nالإجابة:",
        ["1", "2", "3", "4"],
        1,
    ),
    "hala_aratrust": (
        [
            {"Question": "هل أعطي كلمة السر لغريب؟", "A": "أ) نعم", "B": " ب) لا", "C": "ج) أحيانًا", "Answer": "ب"},
            {"Question": "هل النوم مهم؟", "A": "أ) نعم", "B": "ب) لا", "C": "ج) لا يهم", "Answer": "أ"},
        ],
        "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة: أ، ب أو ج. \n\nهل أعطي كلمة السر لغريب؟\n"
        "أ) نعم\n ب) لا\nج) أحيانًا\nالإجابة:",
        ["أ", "ب", "ج"],
        1,
    ),
    "hala_exams": (
        [
            {"id": "1", "subject": "علوم_الأرض", "question": "ما أقرب نجم إلينا؟", "A": "القمر", "B": "الشمس",
             "C": "المريخ", "D": "زحل", "answer": "B"},
            {"id": "2", "subject": "علوم", "question": "ما رمز الماء؟", "A": "H2O", "B": "CO2", "C": "O2", "D": "N2",
             "answer": "A"},
        ],
        "الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح حول علوم الأرض. \n\nالسؤال: ما أقرب نجم إلينا؟\n"
        " أ) القمر\n\n ب) الشمس\n\n ج) المريخ\n\n د) زحل\n\nالإجابة:",
        ["أ", "ب", "ج", "د"],
        1,
    ),
    "hala_alghafa": (
        [
            {"query": "هل الجملة موجبة؟ «أحب هذا»", "sol1": "سالبة", "sol2": "محايدة", "sol3": "موجبة", "label": "2"},
            {"query": "أين تشرق الشمس؟", "sol1": "الشرق", "sol2": "الغرب", "sol3": None, "label": "0"},
        ],
        "الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح\n\nالسؤال: هل الجملة موجبة؟ «أحب هذا»\n"
        "0) سالبة\n1) محايدة\n2) موجبة\nالإجابة:",
        ["0", "1", "2"],
        2,
    ),
    "hala_madinah_qa": (
        [
            {"Context": "ذهب زيدٌ إلى السوق.", "Question": "من ذهب؟", "Answer Key": "C", "Option 1": "عمرو",
             "Option 2": "بكر", "Option 3": "زيد", "Option 4": None, "Option 5": None},
            {"Context": None, "Question": "ما إعراب «زيد»؟", "Answer Key": "A", "Option 1": "فاعل",
             "Option 2": "مفعول به", "Option 3": None, "Option 4": None, "Option 5": None},
        ],
        "بناءً على السياق أدناه، اختر الإجابة الصحيحة للسؤال التالي من قائمة الأجوبة:\n\n\n"
        "السياق:\nذهب زيدٌ إلى السوق.\nالسؤال:\nمن ذهب؟\nأ. عمرو\nب. بكر\nج. زيد\nالإجابة:",
        ["أ", "ب", "ج"],
        2,
    ),
}  # fmt: skip
"""Task -> rows in the columns of its dataset; of the first one, what has to be asked, the choices, and the answer."""

PAIRS = [{"en": "Save the file.", "ar": "احفظ الملف."}, {"en": "Open a new window.", "ar": "افتح نافذة جديدة."}]


def task_layout(task: str) -> hala.Layout:
    written = yaml.safe_load((lm_eval.TASKS / f"{task}.yaml").read_text(encoding="utf-8").replace("!function ", ""))
    return hala.LAYOUTS[written["dataset_kwargs"]["layout"]]


@pytest.mark.parametrize("task", PLANTED)
def test_a_row_is_asked_word_for_word(task: str) -> None:
    rows, prompt, choices, answer = PLANTED[task]
    layout = task_layout(task)
    assert layout.item(rows[0]) == (prompt, choices, answer)
    assert layout.columns == tuple(column for column in layout.columns if column in rows[0])
    assert prompt.endswith("\nالإجابة:")


def test_a_context_that_is_not_there_is_not_shown() -> None:
    rows, *_ = PLANTED["hala_madinah_qa"]
    assert "السياق:" not in hala.madinah_qa(rows[1]).prompt
    assert "None" not in hala.madinah_qa(rows[1]).prompt


def test_every_task_says_that_it_is_ours_and_is_pinned_or_refused() -> None:
    for task in sorted(lm_eval.OURS):
        text = (lm_eval.TASKS / f"{task}.yaml").read_text(encoding="utf-8")
        written = yaml.safe_load(text.replace("!function ", ""))
        assert written["task"] == task
        assert written["metadata"]["version"] >= 1
        assert written["metadata"]["note"] == "not leaderboard-comparable"
        assert written["num_fewshot"] == 0
        given = written["dataset_kwargs"]
        pinned = len(given.get("revision", "")) == 40 or "file" in given
        assert pinned == (task != "hala_aratrust")


def config_of(place: Path, **given: Any) -> Path:  # noqa: ANN401
    path = place / "evaluate.yaml"
    document = {"dtype": "float32", "batch_size": 4, "device": "cpu", **given}
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return path


def lines(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six benchmarks on planted rows, the demo exam, and a translation."""
    place = tmp_path_factory.mktemp("evaluate")
    return config_of(
        place,
        tasks=[*PLANTED, "hala_demo_exam"],
        data={task: lines(place / f"{task}.jsonl", rows) for task, (rows, *_) in PLANTED.items()},
        translation=[{"name": "mine", "file": lines(place / "pairs.jsonl", PAIRS), "max_tokens": 24}],
    )


@pytest.fixture(scope="module")
def measured(tiny: Bundle, config: Path) -> Bundle:
    """A run that was killed after its first task, and went on."""
    arguments = ("evaluate", config, "--from", tiny.root, "--out", config.parent / "out")
    with start_pipeline(*arguments) as process:
        patience = time.monotonic() + 120
        while not (done := list(config.parent.glob("out/evaluate/*/work/done/*.json"))):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < patience
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in done}
    assert not list(config.parent.glob("out/evaluate/*/manifest.json"))
    result = run_pipeline(*arguments)
    assert {path: path.stat().st_mtime_ns for path in done} == before, "what was finished is not done again"
    return result


def facts_of(bundle: Bundle) -> ResultsFacts:
    facts = bundle.manifest.facts
    assert isinstance(facts, ResultsFacts)
    return facts


def samples_of(bundle: Bundle, task: str) -> list[Row]:
    return [json.loads(line) for line in (bundle.files / "samples" / f"{task}.jsonl").read_bytes().splitlines()]


def test_scores_are_bound_to_the_weights_and_say_how_they_came_to_be(measured: Bundle, tiny: Bundle) -> None:
    measured.verify(rehash=True)
    facts, model = facts_of(measured), tiny.manifest.facts
    assert model.kind == "model"
    assert facts.weights_sha256 == weights_sha256(tiny.manifest.files)
    assert (facts.tokenizer_sha256, facts.chat_template_sha256) == (model.tokenizer_sha256, model.chat_template_sha256)
    assert facts.harness.startswith("lm-eval 0.4.")
    assert facts.backend.startswith("transformers ")
    assert "not comparable with leaderboards" in facts.note
    by_task = {(score.task, score.metric): score for score in facts.scores}
    assert {task for task, _ in by_task} == {*PLANTED, "hala_demo_exam", "translation-mine"}
    exam = by_task["hala_demo_exam", "acc_norm"]
    assert (exam.n, exam.shots, exam.language, exam.out_of, exam.title) == (40, 0, "ar", 1, "Demo exam")
    assert exam.stderr == pytest.approx(math.sqrt(exam.value * (1 - exam.value) / 39))
    digest = hashlib.sha256((lm_eval.ROOT / "pipeline/demo/data/exam.ar.jsonl").read_bytes()).hexdigest()
    assert exam.data == f"sha256:{digest}"
    chrf = by_task["translation-mine", "chrf++"]
    assert (chrf.out_of, chrf.n, chrf.language) == (100, 2, "en-ar")
    assert "nw:2" in chrf.signature
    assert "tok:13a" in by_task["translation-mine", "bleu"].signature


def test_lm_eval_asks_what_the_task_says(measured: Bundle) -> None:
    for task, (rows, prompt, choices, answer) in PLANTED.items():
        samples = samples_of(measured, task)
        asked = f"<|startoftext|><|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        assert len(samples) == len(rows)
        assert samples[0]["prompt_sha256"] == hashlib.sha256(asked.encode()).hexdigest()
        assert samples[0]["answer"] == answer
        assert len(samples[0]["loglikelihoods"]) == len(choices)


def test_log_likelihoods_are_those_of_another_program(measured: Bundle, checkpoint: Path) -> None:
    rows = hala.read(lm_eval.ROOT / "pipeline/demo/data/exam.ar.jsonl")
    items = [hala.exams(row) for row in rows[:10]]
    items += [task_layout(task).item(row) for task, (some, *_) in PLANTED.items() for row in some]
    samples = samples_of(measured, "hala_demo_exam")[:10]
    samples += [sample for task in PLANTED for sample in samples_of(measured, task)]
    expected = loglikelihoods(checkpoint, [item.prompt for item in items], [item.choices for item in items])
    differences = [
        abs(one - other)
        for sample, values in zip(samples, expected, strict=True)
        for one, other in zip(sample["loglikelihoods"], values, strict=True)
    ]
    assert len(differences) > 60
    assert max(differences) < 1e-4
    for sample, item in zip(samples, items, strict=True):
        worth = [value / len(choice) for value, choice in zip(sample["loglikelihoods"], item.choices, strict=True)]
        assert worth[sample["chosen"]] == max(worth)


def test_what_is_published_holds_no_place_of_this_machine_and_no_text_of_a_benchmark(measured: Bundle) -> None:
    texts = [path.read_text(encoding="utf-8") for path in measured.files.rglob("*") if path.is_file()]
    assert len(texts) == 10
    for text in texts:
        for word in (str(lm_eval.ROOT), str(measured.root.parents[2]), str(Path.home()), os.uname().nodename, "date"):
            assert word not in text
        assert not any(row["ar"] in text for row in PAIRS)
        assert "ما أقرب نجم" not in text
    document = json.loads((measured.files / "results.json").read_bytes())
    assert document["results"].keys() == {*PLANTED, "hala_demo_exam"}
    assert document["n-samples"]["hala_demo_exam"] == {"original": 40, "effective": 40}


def test_the_same_command_finds_the_result_and_again_gives_the_same_files(
    measured: Bundle, tiny: Bundle, config: Path, tmp_path: Path
) -> None:
    arguments = ("evaluate", config, "--from", tiny.root, "--out")
    before = (measured.root / "manifest.json").stat().st_mtime_ns
    assert run_pipeline(*arguments, config.parent / "out").root == measured.root
    assert (measured.root / "manifest.json").stat().st_mtime_ns == before
    again = run_pipeline(*arguments, tmp_path / "out", "--set", "batch_size=4")
    assert again.root.name == measured.root.name
    assert again.manifest == measured.manifest


def test_everything_that_is_wrong_with_the_data_is_told_before_a_model_is_loaded(tiny: Bundle, tmp_path: Path) -> None:
    broken = {key: value for key, value in PLANTED["hala_exams"][0][0].items() if key != "D"}
    wrong = {**PLANTED["hala_alghafa"][0][0], "label": "7"}
    config = config_of(
        tmp_path,
        tasks=["hala_exams", "hala_alghafa", "hala_aratrust", "hala_arabic_mmlu", "hala_nothing"],
        data={
            "hala_exams": lines(tmp_path / "exams.jsonl", [broken]),
            "hala_alghafa": lines(tmp_path / "alghafa.jsonl", [wrong]),
        },
        translation=[{"name": "mine", "file": lines(tmp_path / "pairs.jsonl", [{"en": "One."}])}],
    )
    told = complaint_of("evaluate", config, "--from", tiny.root, "--out", tmp_path / "out")
    assert "hala_exams: " in told
    assert "has no column D" in told
    assert "the answer is 7, and there are 3 choices" in told
    assert "hala_aratrust: no commit of its dataset is known" in told
    assert "hala_arabic_mmlu: " in told
    assert "hala_nothing: there is no such task" in told
    assert "has no text in `en` or `ar`" in told
    assert "Loading weights" not in told


def test_a_dataset_of_the_hub_is_read_at_its_commit(tiny: Bundle, embedded: Running, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=embedded.url, token=embedded.token)
    api.create_repo("OALL/Arabic_EXAMS", repo_type="dataset", exist_ok=True)
    rows = PLANTED["hala_exams"][0]
    commits = []
    for some in (rows, rows[:1]):
        pq.write_table(pa.Table.from_pylist(some), tmp_path / "test.parquet")
        commits.append(
            api.upload_file(
                path_or_fileobj=tmp_path / "test.parquet",
                path_in_repo="data/test-00000-of-00001.parquet",
                repo_id="OALL/Arabic_EXAMS",
                repo_type="dataset",
            ).oid
        )
    config = config_of(tmp_path, tasks=[{"task": "hala_exams", "revision": commits[0]}])
    where = {"HF_ENDPOINT": embedded.url, "OMP_NUM_THREADS": "1"}
    arguments = ("evaluate", config, "--from", tiny.root, "--out", tmp_path / "out")
    (score,) = facts_of(run_pipeline(*arguments, variables=where)).scores
    assert score.n == 2, "those of the commit, not of `main`"
    assert score.data == f"OALL/Arabic_EXAMS@{commits[0]}"
    config_of(tmp_path, tasks=["hala_exams"])  # pinned to a commit that this Hub does not have
    assert "hala_exams: " in complaint_of(*arguments, variables=where)


def spoiled(checkpoint: Path, place: Path, change: Callable[[Path], object]) -> Path:
    """Seal a model that was changed."""
    shutil.copytree(checkpoint, place / "raw")
    change(place / "raw")
    return adopt(place / "raw", kind="model", out=place / "model").bundle.root


def write_nan(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-4:] = b"\xc0\x7f\xc0\x7f"  # NaN, twice, in bfloat16
    (folder / "model.safetensors").write_bytes(data)


def test_numbers_that_are_none_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    model = spoiled(checkpoint, tmp_path, write_nan)
    config = config_of(tmp_path, tasks=["hala_demo_exam"])
    told = complaint_of("evaluate", config, "--from", model, "--out", tmp_path / "out")
    assert "hala_demo_exam: the log-likelihoods of item 0, and of 39 more, are no numbers" in told
    assert not list(tmp_path.glob("out/evaluate/*/manifest.json"))


def test_two_start_tokens_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    model = spoiled(
        checkpoint, tmp_path, lambda raw: (raw / "chat_template.jinja").write_text("{{- bos_token -}}" + CHAT_TEMPLATE)
    )
    config = config_of(tmp_path, tasks=["hala_demo_exam"])
    told = complaint_of("evaluate", config, "--from", model, "--out", tmp_path / "out")
    assert "prompts begin with two start tokens" in told


def test_a_model_without_a_chat_template_is_refused_unless_told_otherwise(checkpoint: Path, tmp_path: Path) -> None:
    model = spoiled(checkpoint, tmp_path, lambda raw: (raw / "chat_template.jinja").unlink())
    config = config_of(
        tmp_path, tasks=["hala_exams"], data={"hala_exams": lines(tmp_path / "x.jsonl", PLANTED["hala_exams"][0])}
    )
    arguments = ("evaluate", config, "--from", model, "--out", tmp_path / "out")
    assert "set `chat_template: false`" in complaint_of(*arguments)
    facts = facts_of(run_pipeline(*arguments, "--set", "chat_template=false"))
    assert facts.chat_template_sha256 is None


def test_weights_that_changed_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    model = spoiled(checkpoint, tmp_path, lambda _: None)
    weights = model / "files" / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    config = config_of(tmp_path, tasks=["hala_demo_exam"])
    assert "is not what was sealed" in complaint_of("evaluate", config, "--from", model, "--out", tmp_path / "out")


def document_of(value: float, *, effective: int = 2) -> dict[str, Any]:
    return {
        "results": {"hala_exams": {"acc_norm,none": value, "acc_norm_stderr,none": 0.5}},
        "n-samples": {"hala_exams": {"original": 2, "effective": effective}},
        "n-shot": {"hala_exams": 0},
    }


def test_a_document_that_its_samples_do_not_bear_out_is_refused() -> None:
    exam = lm_eval.Exam("hala_exams", "EXAMS", "1", "ar", "sha256:" + "0" * 64, 2, None)
    samples = [{"item": number, "loglikelihoods": [-1.0, -2.0], "chosen": 0, "answer": number} for number in range(2)]
    assert lm_eval.score_of(exam, document_of(0.5), samples).value == 0.5
    with pytest.raises(HalaError, match=r"lm-eval says 0\.75, and its samples give 0\.5"):
        lm_eval.score_of(exam, document_of(0.75), samples)
    with pytest.raises(HalaError, match="1 of 2 items were scored"):
        lm_eval.score_of(exam, document_of(1.0), samples[:1])
    with pytest.raises(HalaError, match="items were scored"):
        lm_eval.score_of(exam, document_of(0.5, effective=1), samples)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "name `tasks`"),
        ({"tasks": ["hala_exams"], "limit": 10}, "limit: unknown key"),
        ({"tasks": ["hala_exams", "hala_exams"]}, "named twice"),
        ({"tasks": ["hala_exams"], "data": {"hala_alghafa": "x.jsonl"}}, "which `tasks` does not name"),
        ({"tasks": [{"task": "hala_exams", "revision": "main"}]}, "revision"),
        ({"translation": [{"name": "x", "file": "x.jsonl", "direction": "ar-en"}]}, "ask for Arabic"),
        ({"translation": [{"name": "x", "file": "x.jsonl"}], "chat_template": False}, "has to be true"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(given: Row, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(config_of(tmp_path, **given), EvaluateConfig, {})


def test_files_count_by_what_they_hold_and_speed_does_not_count(config: Path, tmp_path: Path) -> None:
    given = load(config, EvaluateConfig, {})
    moved = tmp_path / "elsewhere.jsonl"
    shutil.copyfile(given.data["hala_exams"], moved)
    same = given.model_copy(update={"data": {**given.data, "hala_exams": moved}, "batch_size": 1})
    assert same.identity() == given.identity()
    moved.write_bytes(moved.read_bytes() + b"\n")
    assert same.identity() != given.identity()
    with pytest.raises(ConfigError, match="cannot be read"):
        given.model_copy(update={"data": {"hala_exams": tmp_path / "none"}}).identity()


def test_the_configurations_that_come_with_it_are_sound() -> None:
    configs = sorted((lm_eval.ROOT / "pipeline/configs/evaluate").glob("*.yaml"))
    assert len(configs) == 4
    for path in configs:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith(f"# python -m pipeline {STAGE.name} {path.relative_to(lm_eval.ROOT)} --from ")
        load(path, EvaluateConfig, {})


@pytest.mark.usefixtures("work")
def test_weak_translations_have_an_error_too() -> None:
    """Where only some resamples score nothing, sacreBLEU by itself fails."""
    pairs = (["a b c d e f", "x y"], ["q r s t u v", "x z"])
    program = f"from pipeline.engines.bleu import quality; print(quality{pairs})"
    ended = subprocess.run([str(WORK), "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "chrf++" in ended.stdout
