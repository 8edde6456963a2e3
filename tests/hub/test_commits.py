"""Commits: all of it or nothing, one winner, no path that could hurt anybody."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from tests.hub.conftest import Answer, Ask

HOSTILE = [
    "../a",
    "/a",
    "a\\b",
    "a\0b",
    "a\nb",
    ".git/config",
    "x/.GIT/config",
    ".g\u200cit/x",
    "git~1/x",
    "a//b",
    "a/./b",
]
HOSTILE += ["a/..", "", ".", "x" * 1025, "x/" + "y" * 256, "\ud800"]


Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete


def commit(api: HfApi, repo: str, *operations: Operation, parent: str | None = None) -> str:
    done = api.create_commit(
        repo,
        list(operations),
        commit_message="change",
        commit_description="why",
        repo_type="dataset",
        parent_commit=parent,
    )
    return str(done.oid)


def raw_commit(ask: Ask, repo: str, *operations: tuple[str, dict[str, Any]]) -> Answer:
    lines = [("header", {"summary": "raw"}), *operations]
    body = "\n".join(json.dumps({"key": key, "value": value}) for key, value in lines)
    return ask("POST", f"/api/datasets/{repo}/commit/main", body.encode())


def file(path: str, content: bytes = b"x") -> tuple[str, dict[str, Any]]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


def test_a_commit_adds_copies_and_deletes_at_once(api: HfApi, dataset: str) -> None:
    commit(api, dataset, CommitOperationAdd("data/a.txt", b"a"), CommitOperationAdd("data/b.bin", b"\0b"))
    commit(
        api,
        dataset,
        CommitOperationCopy("data/a.txt", "kept/a.txt"),
        CommitOperationCopy("data/b.bin", "kept/b.bin"),
        CommitOperationDelete("data/", is_folder=True),
        CommitOperationAdd("data/new.txt", b"new"),
    )
    files = api.list_repo_files(dataset, repo_type="dataset")
    assert files == [".gitattributes", "data/new.txt", "kept/a.txt", "kept/b.bin"]
    assert api.list_repo_commits(dataset, repo_type="dataset")[0].message == "why"


def test_an_outdated_parent_is_refused_and_changes_nothing(api: HfApi, dataset: str) -> None:
    old = api.dataset_info(dataset).sha
    new = commit(api, dataset, CommitOperationAdd("a.txt", b"1"), parent=old)
    with pytest.raises(HfHubHTTPError, match="The branch was updated since you opened this page") as caught:
        commit(api, dataset, CommitOperationAdd("a.txt", b"2"), parent=old)
    assert caught.value.response.status_code == 412
    assert api.dataset_info(dataset).sha == new


def test_of_eight_racing_commits_one_wins(api: HfApi, dataset: str) -> None:
    parent = api.dataset_info(dataset).sha

    def race(number: int) -> int:
        try:
            commit(api, dataset, CommitOperationAdd("winner.txt", str(number).encode()), parent=parent)
        except HfHubHTTPError as error:
            return int(error.response.status_code)
        return 200

    with ThreadPoolExecutor(8) as threads:
        answers = sorted(threads.map(race, range(8)))
    assert answers == [200] + [412] * 7
    assert len(api.list_repo_commits(dataset, repo_type="dataset")) == 2


def test_racing_commits_without_a_parent_all_arrive(api: HfApi, dataset: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: commit(api, dataset, CommitOperationAdd(f"{n}.txt", b"x")), range(8)))
    assert len(api.list_repo_files(dataset, repo_type="dataset")) == 9


def test_what_did_not_change_is_not_committed_again(api: HfApi, dataset: str) -> None:
    files = {"a.txt": b"a", "b.bin": b"\0" * 2048}
    first = commit(api, dataset, *(CommitOperationAdd(path, content) for path, content in files.items()))
    assert commit(api, dataset, *(CommitOperationAdd(path, content) for path, content in files.items())) == first


def test_ignored_files_stay_out(api: HfApi, dataset: str) -> None:
    commit(api, dataset, CommitOperationAdd(".gitignore", b"*.log\nbuild/\n"))
    commit(
        api,
        dataset,
        CommitOperationAdd("a.log", b"1"),
        CommitOperationAdd("build/x", b"1"),
        CommitOperationAdd("b", b"1"),
    )
    assert api.list_repo_files(dataset, repo_type="dataset") == [".gitattributes", ".gitignore", "b"]


def test_attributes_decide_which_files_are_large(api: HfApi, dataset: str) -> None:
    rules = b"*.bin filter=lfs diff=lfs merge=lfs -text\nplain/*.bin -filter\n"
    commit(api, dataset, CommitOperationAdd(".gitattributes", rules))
    paths = ("a.bin", "plain/a.bin", "a.txt", "empty.bin")
    contents = {"empty.bin": b""}
    commit(api, dataset, *(CommitOperationAdd(path, contents.get(path, b"text")) for path in paths))
    found = {f.path: getattr(f, "lfs", None) for f in api.get_paths_info(dataset, list(paths), repo_type="dataset")}
    assert [path for path, lfs in found.items() if lfs] == ["a.bin"]


def test_deleting_what_is_not_there_is_an_error(api: HfApi, dataset: str) -> None:
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        commit(api, dataset, CommitOperationDelete("nope.txt"))


@pytest.mark.parametrize(
    "path",
    HOSTILE,
)
def test_hostile_paths_are_refused(ask: Ask, dataset: str, path: str) -> None:
    before = ask("GET", f"/api/datasets/{dataset}").json["sha"]
    assert raw_commit(ask, dataset, file("fine.txt"), file(path)).status == 422
    assert ask("GET", f"/api/datasets/{dataset}").json["sha"] == before
    preupload = {"files": [{"path": path, "sample": "", "size": 1}]}
    assert ask("POST", f"/api/datasets/{dataset}/preupload/main", preupload).status == 422


@pytest.mark.parametrize(
    "path", ['"quoted".txt', " lead", "tab'", "عربي/ملف.txt", "a%2Fb", "-x", "a b\u200cc", " ", "\U0001f98a"]
)
def test_strange_but_harmless_paths_come_back(api: HfApi, ask: Ask, dataset: str, path: str) -> None:
    assert raw_commit(ask, dataset, file(path, b"content")).status == 200
    assert path in api.list_repo_files(dataset, repo_type="dataset")
    local = api.hf_hub_download(dataset, path, repo_type="dataset")
    with open(local, "rb") as downloaded:  # noqa: PTH123 - the path is the client's
        assert downloaded.read() == b"content"


def test_a_file_never_replaces_a_folder_in_silence(ask: Ask, dataset: str) -> None:
    assert raw_commit(ask, dataset, file("data/a.txt")).status == 200
    assert raw_commit(ask, dataset, file("data")).status == 422
    assert raw_commit(ask, dataset, file("data/a.txt/b")).status == 422
    assert raw_commit(ask, dataset, ("deletedFolder", {"path": "data"}), file("data")).status == 200


@pytest.mark.parametrize(
    "operation",
    [
        ("lfsFile", {"path": "x.bin", "algo": "sha256", "oid": "a" * 64, "size": 1}),
        ("lfsFile", {"path": "x.bin", "algo": "md5", "oid": "a" * 64}),
        ("lfsFile", {"path": "x.bin", "oid": "../../etc/passwd"}),
        ("file", {"path": "x", "content": "?", "encoding": "base64"}),
        ("file", {"path": "x", "content": "", "encoding": "rot13"}),
        ("file", {"path": "x"}),
        ("symlink", {"path": "x"}),
        file("x.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"b" * 64 + b"\nsize 5\n"),
    ],
)
def test_operations_that_cannot_be_done_are_refused(
    ask: Ask, dataset: str, operation: tuple[str, dict[str, Any]]
) -> None:
    assert raw_commit(ask, dataset, operation).status in (400, 422)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"{}", b'{"key":"file","value":{}}', b"[1]", b'{"key":"header","value":{}}']
)
def test_a_commit_starts_with_its_header(ask: Ask, dataset: str, body: bytes) -> None:
    assert ask("POST", f"/api/datasets/{dataset}/commit/main", body).status == 400


def test_five_thousand_files_are_one_commit(ask: Ask, api: HfApi, dataset: str) -> None:
    paths = [f"d{n % 50}/f{n}.txt" for n in range(5000)]
    assert raw_commit(ask, dataset, *(file(path) for path in paths)).status == 200
    assert set(paths) <= set(api.list_repo_files(dataset, repo_type="dataset"))
    assert len(api.list_repo_commits(dataset, repo_type="dataset")) == 2
