"""Branches, tags and history."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from tests.hub.conftest import Ask


def upload(api: HfApi, repo: str, content: bytes, revision: str = "main") -> str:
    done = api.upload_file(
        path_or_fileobj=content, path_in_repo="a.txt", repo_id=repo, repo_type="dataset", revision=revision
    )
    return str(done.oid)


@pytest.mark.parametrize("message", [None, "first release\n\nwith notes"])
def test_a_tag_stays_on_its_commit(api: HfApi, dataset: str, message: str | None) -> None:
    oid = upload(api, dataset, b"1")
    api.create_tag(dataset, tag="v1.0.0", revision=oid[:8], tag_message=message, repo_type="dataset")
    upload(api, dataset, b"2")
    assert [(t.name, t.target_commit) for t in api.list_repo_refs(dataset, repo_type="dataset").tags] == [
        ("v1.0.0", oid)
    ]
    assert api.dataset_info(dataset, revision="v1.0.0").sha == oid


def test_a_tag_is_made_once(api: HfApi, dataset: str) -> None:
    api.create_tag(dataset, tag="v1", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="Reference refs/tags/v1 already exists") as caught:
        api.create_tag(dataset, tag="v1", repo_type="dataset")
    assert caught.value.response.status_code == 409
    api.create_tag(dataset, tag="v1", repo_type="dataset", exist_ok=True)


def test_a_deleted_tag_is_gone(api: HfApi, dataset: str) -> None:
    api.create_tag(dataset, tag="v1", repo_type="dataset")
    api.delete_tag(dataset, tag="v1", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(dataset, revision="v1")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(dataset, tag="v1", repo_type="dataset")


def test_nothing_can_be_tagged_that_does_not_exist(api: HfApi, dataset: str) -> None:
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(dataset, tag="v1", revision="nowhere", repo_type="dataset")


def test_branches_part_and_disappear(api: HfApi, dataset: str) -> None:
    api.create_branch(dataset, branch="next/one", repo_type="dataset")
    upload(api, dataset, b"on the branch", revision="next/one")
    assert api.list_repo_files(dataset, repo_type="dataset") == [".gitattributes"]
    assert "a.txt" in api.list_repo_files(dataset, repo_type="dataset", revision="next/one")
    with pytest.raises(HfHubHTTPError, match="already exists"):
        api.create_branch(dataset, branch="next/one", repo_type="dataset")
    api.delete_branch(dataset, branch="next/one", repo_type="dataset")
    assert [b.name for b in api.list_repo_refs(dataset, repo_type="dataset").branches] == ["main"]


def test_main_cannot_be_deleted(api: HfApi, dataset: str) -> None:
    with pytest.raises(HfHubHTTPError, match="Cannot delete refs/heads/main") as caught:
        api.delete_branch(dataset, branch="main", repo_type="dataset")
    assert caught.value.response.status_code == 403


def test_history_is_newest_first_and_comes_in_pages(api: HfApi, dataset: str) -> None:
    oids = [upload(api, dataset, str(number).encode()) for number in range(52)]
    history = api.list_repo_commits(dataset, repo_type="dataset", formatted=True)
    assert [c.commit_id for c in history[:-1]] == oids[::-1]
    assert history[0].authors == ["local"]


@pytest.mark.parametrize("ref", ["a..b", "a%20b", "-x", "refs%2Fheads%2Fx", "HEAD", "x.lock", "@", "a%0Ab", "0" * 40])
def test_names_that_git_would_misread_are_refused(ask: Ask, dataset: str, ref: str) -> None:
    assert ask("POST", f"/api/datasets/{dataset}/branch/{ref}", {}).status == 400


@pytest.mark.parametrize("revision", ["main~1", "HEAD%5E", "--all", ":%2Fx", "main%3Aa.txt", "a%0Amain", "@%7B1%7D"])
def test_revisions_are_names_and_not_expressions(ask: Ask, dataset: str, revision: str) -> None:
    answer = ask("GET", f"/api/datasets/{dataset}/revision/{revision}")
    assert (answer.status, answer.headers["x-error-code"]) == (404, "RevisionNotFound")
