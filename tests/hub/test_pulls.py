"""Pull requests, opened by a commit and read by the real client."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitInfo, CommitOperationAdd, DiscussionComment, DiscussionCommit, HfApi
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from tests.hub.conftest import Ask


def write(api: HfApi, repo: str, content: bytes, *, title: str = "Change it", **how: str | bool) -> CommitInfo:
    done = api.create_commit(
        repo,
        [CommitOperationAdd("a.txt", content)],
        commit_message=title,
        commit_description="Because it is **right**.",
        repo_type="dataset",
        **how,  # type: ignore[call-overload]
    )
    assert isinstance(done, CommitInfo)
    return done


def test_a_commit_opens_a_pull_request_and_leaves_the_branch(api: HfApi, ask: Ask, dataset: str) -> None:
    first = write(api, dataset, b"1")
    done = write(api, dataset, b"2", create_pr=True)
    assert (done.pr_num, done.pr_revision) == (1, "refs/pr/1")
    assert api.dataset_info(dataset).sha == first.oid
    assert api.dataset_info(dataset, revision="refs/pr/1").sha == done.oid
    found = api.list_repo_refs(dataset, repo_type="dataset", include_pull_requests=True).pull_requests
    assert [(pull.ref, pull.target_commit) for pull in found or []] == [("refs/pr/1", done.oid)]
    assert [branch.name for branch in api.list_repo_refs(dataset, repo_type="dataset").branches] == ["main"]
    for revision, content in (("main", b"1"), ("refs%2Fpr%2F1", b"2")):
        assert ask("GET", f"/datasets/{dataset}/resolve/{revision}/a.txt").body == content
    page = ask("GET", f"/datasets/{dataset}/discussions/1")
    assert "<strong>right</strong>" in page.body.decode()
    assert ask("GET", f"/datasets/{dataset}?rev=refs%2Fpr%2F1").status == 200


def test_a_pull_request_says_what_it_is_about(api: HfApi, dataset: str) -> None:
    write(api, dataset, b"1\n")
    done = write(api, dataset, b"2\n", title="A better number", create_pr=True)
    listed = list(api.get_repo_discussions(dataset, repo_type="dataset"))
    assert [(d.num, d.title, d.status, d.author, d.is_pull_request) for d in listed] == [
        (1, "A better number", "open", "local", True)
    ]
    told = api.get_discussion_details(dataset, 1, repo_type="dataset")
    assert (told.title, told.status, told.git_reference) == ("A better number", "open", "refs/pr/1")
    assert (told.repo_id, told.repo_type, told.target_branch) == (dataset, "dataset", "refs/heads/main")
    assert told.url == done.pr_url
    assert "-1\n+2" in (told.diff or "")
    assert told.conflicting_files == []
    description, commit = told.events
    assert isinstance(description, DiscussionComment)
    assert description.content == "Because it is **right**."
    assert isinstance(commit, DiscussionCommit)
    assert (commit.summary, commit.oid) == ("A better number", done.oid)


def test_pull_requests_are_numbered_and_listed_newest_first(api: HfApi, dataset: str) -> None:
    for number in (1, 2, 3):
        assert write(api, dataset, str(number).encode(), title=f"No. {number}", create_pr=True).pr_num == number
    listed = [d.num for d in api.get_repo_discussions(dataset, repo_type="dataset", discussion_status="open")]
    assert listed == [3, 2, 1]
    assert not list(api.get_repo_discussions(dataset, repo_type="dataset", discussion_type="discussion"))
    assert not list(api.get_repo_discussions(dataset, repo_type="dataset", discussion_status="closed"))
    assert not list(api.get_repo_discussions(dataset, repo_type="dataset", author="somebody"))


def test_a_pull_request_starts_from_the_parent_that_is_named(api: HfApi, dataset: str) -> None:
    first = write(api, dataset, b"1")
    write(api, dataset, b"2")
    done = write(api, dataset, b"3", create_pr=True, parent_commit=first.oid[:7])
    history = [c.commit_id for c in api.list_repo_commits(dataset, repo_type="dataset", revision="refs/pr/1")]
    assert history[:2] == [done.oid, first.oid]
    assert api.get_discussion_details(dataset, 1, repo_type="dataset").conflicting_files is True
    with pytest.raises(RevisionNotFoundError):
        write(api, dataset, b"4", create_pr=True, parent_commit="0" * 40)


def test_a_pull_request_takes_further_commits(api: HfApi, dataset: str) -> None:
    write(api, dataset, b"1", title="Begin", create_pr=True)
    more = write(api, dataset, b"2", title="Go on", revision="refs/pr/1")
    told = api.get_discussion_details(dataset, 1, repo_type="dataset")
    assert (told.title, len(told.events)) == ("Begin", 3)
    assert api.dataset_info(dataset, revision="refs/pr/1").sha == more.oid


def test_only_a_branch_can_be_asked_to_take_changes(api: HfApi, ask: Ask, dataset: str) -> None:
    write(api, dataset, b"1", create_pr=True)
    api.create_tag(dataset, tag="v1", repo_type="dataset")
    for revision in ("v1", "refs/pr/1"):
        with pytest.raises(RevisionNotFoundError):
            write(api, dataset, b"2", create_pr=True, revision=revision)
    with pytest.raises(RevisionNotFoundError):
        write(api, dataset, b"2", revision="refs/pr/7")
    for number in ("7", "x", "0"):
        assert ask("GET", f"/api/datasets/{dataset}/discussions/{number}").status == 404


def test_what_a_pull_request_changes_is_as_guarded_as_the_files(api: HfApi, ask: Ask, dataset: str) -> None:
    write(api, dataset, b"secret", create_pr=True)
    api.update_repo_settings(dataset, gated="manual", repo_type="dataset")
    for address in (f"/api/datasets/{dataset}/discussions/1?diff=1", f"/datasets/{dataset}/discussions/1"):
        assert ask("GET", address, token=None).status == 401
        assert b"secret" in ask("GET", address).body


def test_merging_commenting_and_closing_are_not_built(api: HfApi, dataset: str) -> None:
    write(api, dataset, b"1", create_pr=True)
    for refused in (
        lambda: api.merge_pull_request(dataset, 1, repo_type="dataset"),
        lambda: api.comment_discussion(dataset, 1, comment="yes", repo_type="dataset"),
        lambda: api.change_discussion_status(dataset, 1, new_status="closed", repo_type="dataset"),
        lambda: api.create_discussion(dataset, title="Talk", repo_type="dataset"),
    ):
        with pytest.raises(HfHubHTTPError, match="not built yet") as caught:
            refused()
        assert caught.value.response.status_code == 501
