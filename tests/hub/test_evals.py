"""Evaluation results in files of their own, as model_info gives them back."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import yaml
from huggingface_hub import EvalResultEntry, HfApi, eval_result_entries_to_yaml

from tests.hub.conftest import Ask

BENCHMARK = "acme/benchmark"
GOOD = "- dataset: {id: acme/benchmark, task_id: easy}\n  value: 20.9\n"


@pytest.fixture(scope="module", autouse=True)
def benchmark(api: HfApi) -> str:
    """A dataset that this Hub counts as a registered benchmark, with the tasks `easy` and `hard`."""
    api.create_repo(BENCHMARK, repo_type="dataset")
    card = b"---\ntags: ['benchmark:official']\n---\n# B"
    for path, content in (("README.md", card), ("eval.yaml", b"name: B\ntasks: [{id: easy}, {id: hard}]\n")):
        api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=BENCHMARK, repo_type="dataset")
    return BENCHMARK


@pytest.fixture
def model(api: HfApi, name: str) -> str:
    api.create_repo(name)
    return name


def put(api: HfApi, repo: str, content: str, path: str = ".eval_results/x.yaml") -> None:
    api.upload_file(path_or_fileobj=content.encode(), path_in_repo=path, repo_id=repo)


def test_the_client_reads_back_what_it_wrote(api: HfApi, model: str) -> None:
    written = [
        EvalResultEntry(BENCHMARK, "easy", 20.9),
        EvalResultEntry(
            BENCHMARK, "hard", 7, "0" * 40, None, "2026-11-23", "https://example.org", "logs", None, "acme", "0-shot"
        ),
    ]
    put(api, model, yaml.safe_dump(eval_result_entries_to_yaml(written)))
    assert api.model_info(model, expand=["evalResults"]).eval_results == written
    assert api.model_info(model).eval_results is None


def test_a_model_without_results_has_none(api: HfApi, ask: Ask, model: str) -> None:
    put(api, model, "not yaml: [", path=".eval_results/notes.txt")
    assert ask("GET", f"/api/models/{model}?expand=evalResults").json["evalResults"] == []
    assert api.model_info(model, expand=["evalResults"]).eval_results is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("- [", "not YAML"),
        ("dataset: {}", "must be a list"),
        ("[]", "must be a list"),
        ("- 5", "[0]: not a mapping"),
        ("- value: 5", "[0]: dataset must be a mapping"),
        (GOOD.replace("id: acme/benchmark, ", ""), "dataset.id is missing"),
        (GOOD.replace(", task_id: easy", ""), "dataset.task_id is missing"),
        (GOOD.replace("easy", "''"), "dataset.task_id must be a text"),
        (GOOD.replace("  value: 20.9\n", ""), "value is missing"),
        (GOOD.replace("20.9", "high"), "value must be a finite number, not 'high'"),
        (GOOD.replace("20.9", ".nan"), "value must be a finite number"),
        (GOOD.replace("20.9", "-.inf"), "value must be a finite number"),
        (GOOD.replace("20.9", "true"), "value must be a finite number"),
        (GOOD + "  stderr: 1\n", "stderr is not a known key"),
        (GOOD.replace("task_id", "split: x, task_id"), "dataset.split is not a known key"),
        (GOOD + "  source: {name: x}\n", "source.url is missing"),
        (GOOD + "  date: 5\n", "date must be a text"),
        (GOOD.replace("easy", "other"), "acme/benchmark has no task 'other' in its eval.yaml"),
        (GOOD.replace("acme/benchmark", "acme/nowhere"), "acme/nowhere is not a registered benchmark"),
        ("- &a {dataset: *a, value: 1}", "aliases"),
    ],
)
def test_a_file_that_does_not_count_says_why(ask: Ask, api: HfApi, model: str, content: str, complaint: str) -> None:
    put(api, model, content)
    put(api, model, GOOD, path=".eval_results/good.yaml")
    good, bad = ask("GET", f"/api/models/{model}?expand=evalResults").json["evalResults"]
    assert good == {
        "filename": ".eval_results/good.yaml",
        "data": {"dataset": {"id": BENCHMARK, "task_id": "easy"}, "value": 20.9},
    }
    assert bad.keys() == {"filename", "error"}
    assert bad["filename"] == ".eval_results/x.yaml"
    assert complaint in bad["error"]
    if not version("huggingface_hub").startswith("1.31."):  # which stops at a refused one
        assert len(api.model_info(model, expand=["evalResults"]).eval_results or []) == 1


def test_a_dataset_without_the_tag_is_no_benchmark(ask: Ask, api: HfApi, model: str, dataset: str) -> None:
    put(api, model, GOOD.replace(BENCHMARK, dataset))
    found = ask("GET", f"/api/models/{model}?expand=evalResults").json["evalResults"]
    assert found[0]["error"] == f"[0]: {dataset} is not a registered benchmark"


def test_benchmarks_can_be_listed(api: HfApi, dataset: str) -> None:
    listed = [found.id for found in api.list_datasets(benchmark=True)]
    assert BENCHMARK in listed
    assert dataset not in listed
    assert [found.id for found in api.list_datasets(filter="benchmark:official", author="acme")] == [BENCHMARK]


def test_the_results_of_a_tag_are_those_of_its_commit(api: HfApi, model: str) -> None:
    put(api, model, GOOD)
    api.create_tag(model, tag="v1")
    put(api, model, GOOD.replace("20.9", "30"))
    values = [api.model_info(model, revision=r, expand=["evalResults"]).eval_results for r in ("v1", "main")]
    assert [[entry.value for entry in found or []] for found in values] == [[20.9], [30]]
