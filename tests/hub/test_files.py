"""Files: listed, addressed, downloaded in whole and in part."""

from __future__ import annotations

import hashlib

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, HfFileSystem
from huggingface_hub.errors import EntryNotFoundError, RemoteEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from hala_release.localhub.daemon import Running
from tests.hub.conftest import Ask

LARGE = bytes(range(256)) * 64
PARTS = {
    "bytes=2-4": slice(2, 5),
    "bytes=7-": slice(7, None),
    "bytes=-3": slice(-3, None),
    "bytes=5-999": slice(5, 1000),
}


@pytest.fixture
def filled(api: HfApi, dataset: str) -> str:
    operations = [CommitOperationAdd("data/large.bin", LARGE), CommitOperationAdd("data/deep/small.txt", b"0123456789")]
    api.create_commit(dataset, operations, commit_message="fill", repo_type="dataset")
    api.create_tag(dataset, tag="v1", repo_type="dataset")
    return dataset


def test_a_tree_names_sizes_and_hashes(api: HfApi, filled: str) -> None:
    entries = {e.path: e for e in api.list_repo_tree(filled, recursive=True, expand=True, repo_type="dataset")}
    assert list(entries) == [".gitattributes", "data", "data/deep", "data/deep/small.txt", "data/large.bin"]
    large = entries["data/large.bin"]
    assert isinstance(large, RepoFile)
    assert large.lfs is not None
    assert (large.size, large.lfs.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    titles = {path: entry.last_commit.title for path, entry in entries.items() if entry.last_commit}
    assert titles == {path: "initial commit" if path == ".gitattributes" else "fill" for path in entries}


def test_a_tree_starts_where_it_is_asked_to(api: HfApi, filled: str) -> None:
    assert [e.path for e in api.list_repo_tree(filled, "data", repo_type="dataset")] == ["data/deep", "data/large.bin"]
    assert [e.path for e in api.list_repo_tree(filled, "data/deep", repo_type="dataset")] == ["data/deep/small.txt"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(filled, "nowhere", repo_type="dataset"))


def test_a_long_tree_comes_in_pages(api: HfApi, dataset: str) -> None:
    operations = [CommitOperationAdd(f"f{n}.txt", b"x") for n in range(1200)]
    api.create_commit(dataset, operations, commit_message="many", repo_type="dataset")
    assert len(list(api.list_repo_tree(dataset, repo_type="dataset"))) == 1201


def test_paths_are_looked_up_and_missing_ones_left_out(api: HfApi, filled: str) -> None:
    found = api.get_paths_info(filled, ["data", "nope", "data/large.bin"], repo_type="dataset", expand=True)
    assert [(type(e).__name__, e.path) for e in found] == [("RepoFolder", "data"), ("RepoFile", "data/large.bin")]


def test_what_does_not_exist_is_named(api: HfApi, filled: str) -> None:
    with pytest.raises(RemoteEntryNotFoundError) as caught:
        api.hf_hub_download(filled, "nope.txt", repo_type="dataset")
    assert caught.value.response.headers["X-Repo-Commit"] == api.dataset_info(filled).sha
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download(filled, "data/large.bin", repo_type="dataset", revision="v9")


def test_a_file_system_reads_parts(local_hub: Running, filled: str) -> None:
    files = HfFileSystem(endpoint=local_hub.url, token=local_hub.token)
    with files.open(f"datasets/{filled}@v1/data/large.bin", "rb") as opened:
        opened.seek(300)
        assert opened.read(10) == LARGE[300:310]


@pytest.mark.parametrize(("path", "content"), [("data/large.bin", LARGE), ("data/deep/small.txt", b"0123456789")])
@pytest.mark.parametrize(("asked", "part"), PARTS.items())
def test_a_range_is_exactly_that_part(
    ask: Ask, filled: str, path: str, content: bytes, asked: str, part: slice
) -> None:
    answer = ask("GET", f"/datasets/{filled}/resolve/main/{path}", Range=asked)
    assert (answer.status, answer.body) == (206, content[part])
    start = range(len(content))[part].start
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(answer.body) - 1}/{len(content)}"


def test_a_range_past_the_end_is_refused(ask: Ask, filled: str) -> None:
    answer = ask("GET", f"/datasets/{filled}/resolve/main/data/large.bin", Range=f"bytes={len(LARGE)}-")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(LARGE)}")


@pytest.mark.parametrize("asked", ["bytes=4-2", "bytes=x-", "lines=1-2", "bytes=0-1,3-4", "bytes=-"])
def test_a_range_that_makes_no_sense_is_overlooked(ask: Ask, filled: str, asked: str) -> None:
    answer = ask("GET", f"/datasets/{filled}/resolve/main/data/deep/small.txt", Range=asked)
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_headers_tell_a_cache_all_it_needs(ask: Ask, filled: str) -> None:
    answer = ask("HEAD", f"/datasets/{filled}/resolve/v1/data/large.bin")
    sha256 = f'"{hashlib.sha256(LARGE).hexdigest()}"'
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["etag"] == answer.headers["x-linked-etag"] == sha256
    assert answer.headers["content-length"] == answer.headers["x-linked-size"] == str(len(LARGE))
    assert answer.headers["x-repo-commit"] == ask("GET", f"/api/datasets/{filled}").json["sha"]
    assert answer.headers["accept-ranges"] == "bytes"
    assert "x-xet-hash" not in answer.headers
    again = ask("GET", f"/datasets/{filled}/resolve/v1/data/large.bin", If_None_Match=sha256)
    assert (again.status, again.body) == (304, b"")


def test_a_file_is_never_run_by_a_browser(api: HfApi, ask: Ask, dataset: str) -> None:
    hostile = 'x";\u2028<b>.html'
    api.upload_file(path_or_fileobj=b"<script>", path_in_repo=hostile, repo_id=dataset, repo_type="dataset")
    answer = ask("GET", f"/datasets/{dataset}/resolve/main/x%22%3B%E2%80%A8%3Cb%3E.html")
    assert answer.body == b"<script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].count('"') == 2
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["..%2F..%2Fetc%2Fpasswd", "a%00b", "%2E%2E/x", "%FF"])
def test_hostile_addresses_are_refused(ask: Ask, filled: str, path: str) -> None:
    assert ask("GET", f"/datasets/{filled}/resolve/main/{path}").status in (400, 422)
    assert ask("GET", f"/api/datasets/{filled}/tree/main/{path}").status in (400, 422)


def test_other_hosts_are_not_answered(ask: Ask, filled: str) -> None:
    assert ask("GET", f"/api/datasets/{filled}", Host="attacker.example").status == 404
    assert ask("GET", f"/api/datasets/{filled}", Host="datasets-server.localhost").status == 404
