"""The metadata of a card, judged before a commit as the Hub judges it."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from tests.hub.conftest import Ask


def upload(api: HfApi, repo: str, card: bytes) -> None:
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo, repo_type="dataset")


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        (b"license: [", "while parsing"),
        (b"- a\n- b", "must be a mapping"),
        (b"license: 5", '"license" must be'),
        (b"language: {en: 1}", '"language" must be'),
        (b"tags: one", '"tags" must be a list'),
        (b"base_model: [1]", '"base_model" must be'),
        (b"datasets: true", '"datasets" must be'),
        (b"license: mit\nlicense: mit", "duplicated key"),
        (b"a: &x [1]\nb: *x", "aliases"),
        (b"a: " + b"[" * 5000, "nested deeper"),
    ],
)
def test_bad_metadata_stops_the_commit(api: HfApi, dataset: str, block: bytes, complaint: str) -> None:
    before = api.dataset_info(dataset).sha
    with pytest.raises(ValueError, match="Invalid metadata in README") as caught:
        upload(api, dataset, b"---\n" + block + b"\n---\n# Card\n")
    assert complaint in str(caught.value)
    assert api.dataset_info(dataset).sha == before


def test_missing_metadata_is_a_warning(api: HfApi, dataset: str) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        upload(api, dataset, b"# Only words\n")
    assert "README.md" in api.list_repo_files(dataset, repo_type="dataset")


def test_strangers_may_ask_and_windows_line_ends_are_fine(ask: Ask) -> None:
    body = {"content": "---\r\nlicense: mit\r\ndate: 2026-01-01\r\nn: .nan\r\n---\r\n# x", "repoType": "model"}
    answer = ask("POST", "/api/validate-yaml", body, token=None)
    assert (answer.status, answer.json) == (200, {"errors": [], "warnings": []})


def test_strange_values_do_not_break_the_listing(api: HfApi, ask: Ask, dataset: str) -> None:
    upload(api, dataset, b"---\nn: .nan\nd: 2026-01-01\nb: !!binary aGk=\n1: one\n---\n")
    card = ask("GET", f"/api/datasets/{dataset}").json["cardData"]
    assert card["n"] == "nan"
    assert card["d"] == "2026-01-01"


RESULT = "{task: {type: translation}, dataset: {type: a/b, name: B}, metrics: [{type: chrf, value: 5}]}"


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (RESULT, None),
        ("5", '"model-index[0].results[0]" must be a mapping'),
        (RESULT.replace("type: translation", "name: x"), '"model-index[0].results[0].task.type" is required'),
        (RESULT.replace(", name: B", ""), '"model-index[0].results[0].dataset.name" is required'),
        (RESULT.replace("type: a/b", "type: 5"), '"model-index[0].results[0].dataset.type" is required'),
        (RESULT.replace("{type: chrf, value: 5}", ""), '"model-index[0].results[0].metrics" is required'),
        (RESULT.replace("type: chrf, ", ""), '"model-index[0].results[0].metrics[0].type" is required'),
        (RESULT.replace("value: 5", "value: null"), '"model-index[0].results[0].metrics[0].value" is required'),
    ],
)
def test_a_model_index_has_a_task_a_dataset_and_values(ask: Ask, result: str, complaint: str | None) -> None:
    content = f"---\nmodel-index: [{{name: M, results: [{result}]}}]\n---\n"
    answer = ask("POST", "/api/validate-yaml", {"content": content, "repoType": "model"})
    assert answer.status == (400 if complaint else 200)
    found = [error["message"] for error in answer.json["errors"]]
    assert len(found) == bool(complaint)
    assert not complaint or found[0].startswith(complaint)


@pytest.mark.parametrize("index", ["[5]", "[{results: []}]", "[{name: M}]", "{name: M}"])
def test_a_model_index_is_a_list_of_named_models(ask: Ask, index: str) -> None:
    body = {"content": f"---\nmodel-index: {index}\n---\n", "repoType": "model"}
    assert ask("POST", "/api/validate-yaml", body).status == 400


@pytest.mark.parametrize(
    ("block", "warning"),
    [
        ("license: other", '"license" is "other"'),
        ("size_categories: [many]", 'The size_categories "many" is not in the official list: 100B<n<1T'),
        ("task_ids: [guessing]", 'The task_ids "guessing" is not in the official list'),
        ("pipeline_tag: guessing", 'The pipeline_tag "guessing" is not in the official list'),
        ("license: other\nlicense_name: lfm1.0\nsize_categories: n<1K\ntask_categories: [translation]", None),
    ],
)
def test_what_the_hub_does_not_know_is_a_warning(ask: Ask, block: str, warning: str | None) -> None:
    answer = ask("POST", "/api/validate-yaml", {"content": f"---\n{block}\n---\n", "repoType": "dataset"})
    assert (answer.status, answer.json["errors"]) == (200, [])
    shown = [found["message"] for found in answer.json["warnings"]]
    assert len(shown) == bool(warning)
    assert not warning or shown[0].startswith(warning)
