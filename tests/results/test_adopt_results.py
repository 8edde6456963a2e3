"""What `adopt` makes of what lm-eval and LightEval wrote, and what it refuses.

The files are real: both harnesses ran our demo exam on a model with random weights. Paths of the machine were replaced.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hala_release.adopt import adopt, adopt_results
from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, HalaError, PayloadInvalid
from hala_release.manifest import ResultsFacts, Score, weights_sha256
from hala_release.payload.evaluation import Said
from tests import factories

FILES = Path(__file__).parent / "files"
DATA = "sha256:" + "5" * 64
TASK = "hala_demo_exam"
Document = dict[str, Any]
Change = Callable[[Document], object]
EXAM = Said(data={TASK: DATA})
HALVES = Said(data={"hala_demo_first": DATA, "hala_demo_second": DATA})
LIGHT = Said(
    language={"": "ar"},
    data={"demo_exam:first": DATA, "demo_exam:second": DATA},
    harness_version="0.13.0",
    backend="transformers 5.17.0",
    chat_template="released",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the chat template, and as many parameters, as the one that was measured."""
    folder = tmp_path_factory.mktemp("model")
    raw = factories.write_model(folder / "raw")
    written = json.loads(next((FILES / "lm-eval" / "exam").glob("results_*")).read_bytes())
    (raw / "chat_template.jinja").write_text(written["chat_template"], encoding="utf-8")
    factories.write_tensors(raw / "model.safetensors", {"embed": ("BF16", (1478016,))})
    return adopt(raw, kind="model", out=folder / "sealed").bundle.root


def lm(tmp_path: Path, run: str = "exam", change: Change = lambda _: None, sample: Change | None = None) -> Path:
    """Copy a run of lm-eval, with one thing changed in its document, or in its first sample."""
    folder = tmp_path / "run"
    shutil.copytree(FILES / "lm-eval" / run, folder)
    file = next(folder.glob("results_*"))
    document = json.loads(file.read_bytes())
    change(document)
    file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    if sample:
        path = next(folder.glob("samples_*"))
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        changed = json.loads(first)
        sample(changed)
        path.write_text("\n".join([json.dumps(changed), *rest]) + "\n", encoding="utf-8")
    return folder


def light(tmp_path: Path, run: str = "once", change: Change = lambda _: None, *, details: bool = True) -> Path:
    """Copy a run of LightEval under the names that it gives, with one thing changed in its document."""
    folder, date = tmp_path / "run", "2026-11-23T23-30-45.926902"
    document = json.loads((FILES / "lighteval" / run / "results.json").read_bytes())
    change(document)
    (folder / "results" / "model").mkdir(parents=True)
    (folder / "results" / "model" / f"results_{date}.json").write_text(json.dumps(document), encoding="utf-8")
    below = folder / "details" / "model" / date
    below.mkdir(parents=True)
    for half in ("first", "second") if details else ():
        shutil.copy(FILES / "lighteval" / run / f"{half}.parquet", below / f"details_demo_exam:{half}|0_{date}.parquet")
    return folder


def sealed(run: Path, model: Path, said: Said) -> tuple[Bundle, dict[str, Score]]:
    bundle = adopt_results(run, of=model, out=run.parent / "sealed", said=said).bundle
    bundle.verify(rehash=True)
    assert isinstance(bundle.manifest.facts, ResultsFacts)
    return bundle, {score.task: score for score in bundle.manifest.facts.scores}


def refusal(run: Path, model: Path, said: Said, kind: type[HalaError] = PayloadInvalid) -> str:
    with pytest.raises(kind) as caught:
        adopt_results(run, of=model, out=run.parent / "sealed", said=said)
    assert caught.value.fix
    assert not (run.parent / "sealed").exists()
    return str(caught.value)


def test_scores_of_lm_eval_are_bound_to_the_model(tmp_path: Path, model: Path) -> None:
    bundle, scores = sealed(lm(tmp_path), model, EXAM)
    own = Bundle.open(model)
    facts = bundle.manifest.facts
    assert isinstance(facts, ResultsFacts)
    assert facts.weights_sha256 == weights_sha256(own.manifest.files)
    assert (facts.harness, facts.backend, facts.dtype) == ("lm-eval 0.4.13", "transformers 5.17.0", "float32")
    assert facts.chat_template_sha256 == own.manifest.facts.chat_template_sha256  # type: ignore[union-attr]
    digests = {entry.path: entry.sha256 for entry in own.manifest.files}
    assert facts.config_sha256 == digests["config.json"]
    assert facts.generation_config_sha256 == digests["generation_config.json"]
    score = scores[TASK]
    assert (score.value, score.n, score.shots, score.metric, score.out_of) == (0.25, 40, 0, "acc_norm", 1)
    assert (score.title, score.language, score.version, score.data) == ("Demo exam", "ar", "1", DATA)
    assert score.stderr == pytest.approx(0.0693, abs=1e-4)
    origin = bundle.manifest.provenance
    assert origin.stage == "adopt"
    assert [one.manifest_sha256 for one in origin.inputs] == [own.manifest_sha256]
    assert [one.manifest_sha256 for one in origin.ancestors] == [own.manifest_sha256]


def test_samples_have_a_value_for_each_item_and_no_text(tmp_path: Path, model: Path) -> None:
    run = lm(tmp_path)
    bundle, _ = sealed(run, model, EXAM)
    lines = [json.loads(line) for line in (bundle.files / "samples" / f"{TASK}.jsonl").read_bytes().splitlines()]
    assert len(lines) == 40
    assert all(line.keys() == {"item", "prompt_sha256", "value"} for line in lines)
    assert sum(line["value"] for line in lines) / 40 == 0.25
    first = json.loads(next(run.glob("samples_*")).read_text(encoding="utf-8").splitlines()[0])
    prompt = first["arguments"]["gen_args_0"]["arg_0"]
    assert lines[0]["prompt_sha256"] == hashlib.sha256(prompt.encode()).hexdigest()


def test_the_document_is_published_without_the_machine(tmp_path: Path, model: Path) -> None:
    def more(document: Document) -> None:
        document["config"]["model_args"]["token"] = "hf_" + "a" * 30
        document["configs"][TASK]["dataset_kwargs"]["file"] = "/home/somebody/exam.jsonl"

    bundle, _ = sealed(lm(tmp_path, change=more), model, EXAM)
    text = (bundle.files / "results.json").read_text(encoding="utf-8")
    assert '"acc_norm,none": 0.25' in text
    for private in ("hf_aaa", "somebody", "pretty_env_info", "custom_dataset", "date", "model_name", "config_source"):
        assert private not in text


@pytest.mark.parametrize(("run", "by", "value"), [("byitems", "items", 0.25), ("bytasks", "tasks", 1 / 7)])
def test_a_mean_of_a_group_says_what_it_is_a_mean_of(
    tmp_path: Path, model: Path, run: str, by: str, value: float
) -> None:
    _, scores = sealed(lm(tmp_path, run), model, HALVES)
    mean = scores[f"hala_demo_{by.replace('items', 'by_items').replace('tasks', 'by_tasks')}"]
    assert (mean.mean_by, mean.mean_of, mean.n) == (by, ("hala_demo_first", "hala_demo_second"), 40)
    assert mean.value == pytest.approx(value)


def test_a_group_of_groups_is_a_mean_of_the_tasks_in_them(tmp_path: Path, model: Path) -> None:
    def nested(document: Document) -> None:
        document["group_subtasks"] = {
            "hala_demo_by_items": ["halves"],
            "halves": ["hala_demo_first", "hala_demo_second"],
        }
        document["results"]["halves"] = {"alias": "halves", "name": "halves"}

    _, scores = sealed(lm(tmp_path, "byitems", nested), model, HALVES)
    assert scores["hala_demo_by_items"].mean_of == ("hala_demo_first", "hala_demo_second")
    assert "halves" not in scores


def test_scores_of_lighteval_and_their_mean(tmp_path: Path, model: Path) -> None:
    bundle, scores = sealed(light(tmp_path), model, LIGHT)
    assert {task: score.n for task, score in scores.items()} == {
        "demo_exam:first": 5, "demo_exam:second": 35, "demo_exam": 40,
    }  # fmt: skip
    assert scores["demo_exam"].mean_by == "tasks"
    errors = [scores[f"demo_exam:{half}"].stderr for half in ("first", "second")]
    assert scores["demo_exam"].stderr == pytest.approx(sum(error**2 for error in errors if error) ** 0.5 / 2)
    assert bundle.manifest.facts.harness == "LightEval 0.13.0"  # type: ignore[union-attr]
    assert len((bundle.files / "samples" / "demo_exam-second.jsonl").read_bytes().splitlines()) == 35


def test_items_of_several_splits_are_told_apart(tmp_path: Path, model: Path) -> None:
    run = light(tmp_path)
    path = next(run.rglob("details_demo_exam:first*"))
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["doc"]["id"] = "0"
    pq.write_table(pa.Table.from_pylist(rows), path)
    bundle, _ = sealed(run, model, LIGHT)
    lines = (bundle.files / "samples" / "demo_exam-first.jsonl").read_bytes().splitlines()
    assert len({json.loads(line)["item"] for line in lines}) == 5
    pq.write_table(pa.Table.from_pylist([*rows[:4], rows[0]]), path)
    shutil.rmtree(bundle.root)
    assert "an item is in its samples twice" in refusal(run, model, LIGHT)


def test_the_mean_of_all_tasks_is_a_score_where_it_is_no_other_mean(tmp_path: Path, model: Path) -> None:
    def apart(document: Document) -> None:
        for key in ("results", "config_tasks"):
            document[key]["other|0"] = document[key].pop("demo_exam:second|0")
        del document["results"]["demo_exam:_average|0"]

    said = LIGHT._replace(
        data={"demo_exam:first": DATA, "other": DATA[:-1] + "6"}, items={"demo_exam:first": "5", "other": "35"}
    )
    _, scores = sealed(light(tmp_path, change=apart, details=False), model, said)
    assert scores["all"].mean_of == ("demo_exam:first", "other")
    assert (scores["all"].mean_by, scores["all"].n, scores["all"].data) == ("tasks", 40, "")


def test_what_lighteval_does_not_write_is_asked_for_at_once(tmp_path: Path, model: Path) -> None:
    said = refusal(light(tmp_path, details=False), model, Said(), ConfigError)
    for option in ("language", "data", "items"):
        assert f"--{option} 'demo_exam:first=" in said
        assert f"--{option} 'demo_exam:second=" in said
    for option in ("--harness-version", "--backend", "--chat-template"):
        assert option in said


def test_two_start_tokens_are_seen_in_what_lighteval_fed_the_model(tmp_path: Path, model: Path) -> None:
    said = refusal(light(tmp_path, "twice"), model, LIGHT)
    assert "demo_exam:first|0, details: every prompt begins with two start tokens" in said


def test_what_lm_eval_does_not_write_is_asked_for_at_once(tmp_path: Path, model: Path) -> None:
    def less(document: Document) -> None:
        document["config"]["model"] = "vllm"
        document["config"]["model_dtype"] = None
        document["chat_template"] = document["chat_template_sha"] = None
        document["configs"][TASK]["metadata"] = {}

    said = refusal(lm(tmp_path, change=less), model, Said(), ConfigError)
    for option in ("--data", "--language", "--dtype", "--backend", "--chat-template"):
        assert option in said


def test_the_commit_of_a_dataset_is_taken_from_the_task(tmp_path: Path, model: Path) -> None:
    commit = "ab" * 20

    def pinned(document: Document) -> None:
        document["configs"][TASK].update(dataset_path="owner/exams", dataset_kwargs={"revision": commit})

    _, scores = sealed(lm(tmp_path, change=pinned), model, Said(title={TASK: "EXAMS"}))
    assert (scores[TASK].data, scores[TASK].title) == (f"owner/exams@{commit}", "EXAMS")


def put(*steps: str, value: object) -> Change:
    def change(document: Document) -> None:
        for step in steps[:-1]:
            document = document[step]
        document[steps[-1]] = value

    return change


RESULT = ("results", TASK)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("config", "limit", value=10), "a limit of 10"),
        (put("n-samples", TASK, "effective", value=39), "hala_demo_exam: 39 of 40 items"),
        (put(*RESULT, "acc_norm,none", value=1.5), "acc_norm is 1.5, outside of 0 to 1"),
        (put(*RESULT, "acc_norm,none", value=-0.1), "acc_norm is -0.1, outside of 0 to 1"),
        (put(*RESULT, "acc_norm,none", value=0.275), "acc_norm is 0.275, and its samples give 0.25"),
        (put(*RESULT, "acc_norm,none", value=float("nan")), "NaN is no number"),
        (put(*RESULT, "acc_norm,none", value=float("inf")), "Infinity is no number"),
        (put(*RESULT, "acc_norm,none", value="0.25"), "acc_norm,none is no finite number"),
        (put(*RESULT, "acc_norm_stderr,none", value="N/A"), "a mean without a standard error"),
        (put(*RESULT, "acc_norm_stderr,none", value=-0.1), "the standard error of acc_norm is -0.1"),
        (put(*RESULT, "acc_norm_stderr,none", value=0.0001), "and its samples give 0.06934"),
        (put("chat_template_sha", value="0" * 64), "chat_template_sha is not the digest"),
        (lambda d: d.update(chat_template=None, chat_template_sha="0" * 64), "its chat template is 000000000000"),
        (put("config", "model_num_parameters", value=1478017), "1,478,017 parameters, and this one 1,478,016"),
        (put("config", "model_args", "peft", value="adapter"), "loaded with peft"),
        (put("lm_eval_version", value="0.3.0"), "is of lm-eval 0.3.0; understood is 0.4.13"),
        (put("n-shot", value=3), "another layout than lm-eval 0.4.13 writes"),
        (lambda d: d.pop("n-samples"), "another layout"),
        (lambda d: [d.pop("n-samples"), d.pop("lm_eval_version")], "neither the layout of lm-eval 0.4.13 nor"),
        (lambda d: d["results"].update(other={}), "other is neither a task nor a group"),
    ],
)
def test_an_untrue_file_of_lm_eval_is_refused(tmp_path: Path, model: Path, change: Change, words: str) -> None:
    said = refusal(lm(tmp_path, change=change), model, EXAM)
    assert words in said
    assert "results_2026-11-23T23-10-50.623889.json" in said


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (put("acc_norm", value=1.0), "acc_norm is 0.25, and its samples give 0.275"),
        (put("doc_id", value=1), "item 1 is there twice"),
        (put("prompt_hash", value="0" * 64), "prompt_hash of item 0 is not that of its prompt"),
        (put("arguments", "gen_args_0", "arg_0", value="<|startoftext|>" * 2), "begins with two start tokens"),
        (lambda s: s.pop("filter"), "a line has not what lm-eval writes"),
        (lambda s: s.pop("acc_norm"), "1 samples have no acc_norm"),
    ],
)
def test_untrue_samples_are_refused(tmp_path: Path, model: Path, sample: Change, words: str) -> None:
    assert words in refusal(lm(tmp_path, sample=sample), model, EXAM)


@pytest.mark.parametrize("name", ["../up", "a/b", "a\u202eb", "a\nb", "a\u200bb", "", " a"])
def test_a_hostile_name_is_no_task(tmp_path: Path, model: Path, name: str) -> None:
    def renamed(document: Document) -> None:
        for key in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples"):
            document[key][name] = document[key].pop(TASK)

    run = lm(tmp_path, change=renamed)
    next(run.glob("samples_*")).unlink()
    said = refusal(run, model, Said(data={name: DATA}))
    assert f"{name!a} cannot be the name of a task" in said
    assert said.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("results", "hala_demo_by_items", "acc_norm,none", value=0.2), "0.2 is not the mean of its tasks"),
        (put("group_subtasks", "hala_demo_by_items", value=["hala_demo_first"]), "0.25 is not the mean"),
        (
            put("group_subtasks", "hala_demo_by_items", value=["hala_demo_first", "hala_demo_third"]),
            "a mean over a part of its tasks: there is no hala_demo_third",
        ),
        (put("group_subtasks", "hala_demo_by_items", value=["hala_demo_by_items"]), "a mean of itself"),
    ],
)
def test_an_untrue_mean_is_refused(tmp_path: Path, model: Path, change: Change, words: str) -> None:
    assert words in refusal(lm(tmp_path, "byitems", change), model, HALVES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("config_general", "max_samples", value=3), "max_samples of 3"),
        (put("results", "demo_exam:first|0", "acc_norm", value=0.4), "acc_norm is 0.4, and its samples give 0.2"),
        (put("results", "demo_exam:first|0", "acc_norm_stderr", value=None), "a mean without a standard error"),
        (put("results", "demo_exam:_average|0", "acc_norm", value=0.9), "0.9 is not the mean of its tasks"),
        (put("config_tasks", "demo_exam:first|0", "original_num_docs", value=9), "-1 of 9 items were scored"),
        (lambda d: d["results"].pop("demo_exam:first|0"), "demo_exam:first|0 has no result"),
        (put("config_tasks", value=[]), "another layout than LightEval 0.13.0 writes"),
        (put("config_general", value=[]), "another layout than LightEval 0.13.0 writes"),
    ],
)
def test_an_untrue_file_of_lighteval_is_refused(tmp_path: Path, model: Path, change: Change, words: str) -> None:
    assert words in refusal(light(tmp_path, change=change), model, LIGHT)


def test_a_task_that_was_measured_twice_names_both_files(tmp_path: Path, model: Path) -> None:
    run = lm(tmp_path)
    shutil.copy(next(run.glob("results_*")), run / "results_2026-11-24T00-00-00.000000.json")
    said = refusal(run, model, EXAM)
    assert (
        f"{TASK} is in results_2026-11-23T23-10-50.623889.json and in results_2026-11-24T00-00-00.000000.json" in said
    )
    assert sealed(next(run.glob("results_*-50.*")), model, EXAM)[1][TASK].value == 0.25


def test_other_weights_than_the_model_s_are_refused_where_they_are_still_there(tmp_path: Path, model: Path) -> None:
    other = factories.write_model(tmp_path / "other")
    run = lm(tmp_path, change=put("config", "model_args", "pretrained", value=str(other)))
    assert "the weights that it names are not those of the model" in refusal(run, model, EXAM)


def test_scores_of_a_model_of_the_hub_do_not_become_those_of_another(tmp_path: Path, model: Path) -> None:
    """The base has the parameters and the template of what was tuned from it."""

    def of_the_base(document: Document) -> None:
        document["config"]["model_args"]["pretrained"] = "LiquidAI/LFM2-350M"
        document["config"]["model_sha"] = "1" * 40

    run = lm(tmp_path, change=of_the_base)
    told = "it was measured on LiquidAI/LFM2-350M@111111111111, and the model is "
    assert f"{told}not known to be that" in refusal(run, model, EXAM)
    tuned = EXAM._replace(model=f"my/tuned@{'2' * 40}")
    assert f"{told}my/tuned@222222222222" in refusal(run, model, tuned)
    name = f"LiquidAI/LFM2-350M@{'1' * 40}"
    assert sealed(run, model, EXAM._replace(model=name))[0].manifest.facts.model == name  # type: ignore[union-attr]


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, model: Path) -> None:
    def several(document: Document) -> None:
        document["config"].update(limit=2, model_num_parameters=5)
        document["results"][TASK]["acc_norm,none"] = 7.0

    said = refusal(lm(tmp_path, change=several), model, EXAM)
    assert all(words in said for words in ("a limit of 2", "has 5 parameters", "acc_norm is 7.0"))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said(data={"unknown": DATA, TASK: DATA}), "--data is given for unknown, which was not evaluated"),
        (Said(data=EXAM.data, language={TASK: "en"}), "--language says en, and the file ar"),
        (Said(data={TASK: "owner/name@main"}), "owner/name@main is no data"),
        (Said(data=EXAM.data, metric={TASK: "f1"}), "no f1; it has acc_norm,none"),
        (Said(data=EXAM.data, chat_template="none"), "--chat-template says none"),
    ],
)
def test_what_is_said_has_to_fit(tmp_path: Path, model: Path, said: Said, words: str) -> None:
    assert words in refusal(lm(tmp_path), model, said, HalaError)


def test_a_user_adopts_results(tmp_path: Path, model: Path) -> None:
    run = lm(tmp_path)
    base = ("adopt", str(run), "--kind", "results", "--out", "sealed")
    for options, words in [((), "--of"), (("--of", str(model)), "--data 'hala_demo_exam=")]:
        refused = factories.hala_release(*base, *options, cwd=tmp_path)
        assert refused.returncode == 2
        assert words in refused.stderr
    done = factories.hala_release(
        *base, "--of", str(model), "--data", f"{TASK}={DATA}", "--title", f"{TASK}=EXAMS", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["manifest"]["facts"]["scores"][0]["title"] == "EXAMS"
    assert isinstance(Bundle.open(tmp_path / "sealed").manifest.facts, ResultsFacts)


def test_only_results_take_the_options_of_results(tmp_path: Path, model: Path) -> None:
    wrong = factories.hala_release(
        "adopt", str(model), "--kind", "model", "--out", "x", "--language", "ar", "--of", str(model), cwd=tmp_path
    )
    assert wrong.returncode == 2
    assert "a model takes no --of, --language" in wrong.stderr


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(document: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where a document can be changed."""
    inner: Mapping[Any, Any] = {}
    if isinstance(document, dict):
        inner = document
    elif isinstance(document, list):
        inner = dict(enumerate(document))
    return [path, *(place for key, value in inner.items() for place in places(value, (*path, key)))][0 if path else 1 :]


@pytest.mark.parametrize("harness", ["lm-eval/byitems", "lighteval/once"])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_document_gives_scores_or_says_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, model: Path, harness: str, data: st.DataObject
) -> None:
    document = json.loads(next((FILES / harness).glob("results*.json")).read_bytes())
    *steps, last = data.draw(st.sampled_from(places(document)))
    inner = document
    for step in steps:
        inner = inner[step]
    inner[last] = data.draw(JSON)
    folder = tmp_path_factory.mktemp("any")
    (folder / "results_1.json").write_text(json.dumps(document), encoding="utf-8")
    said = (
        HALVES if harness.startswith("lm") else LIGHT._replace(items={"demo_exam:first": "5", "demo_exam:second": "35"})
    )
    try:
        bundle = adopt_results(folder, of=model, out=folder / "sealed", said=said).bundle
    except HalaError as error:
        assert error.fix
        assert all(character.isprintable() for character in str(error) if character != "\n")
    else:
        assert isinstance(Bundle.open(bundle.root).manifest.facts, ResultsFacts)
