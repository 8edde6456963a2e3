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
