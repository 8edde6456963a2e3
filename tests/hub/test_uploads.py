"""Large files: by Xet and by LFS, stored once, byte for byte, and never unless their hash is right."""

from __future__ import annotations

import hashlib
import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hala_release.localhub.daemon import Running
from tests.hub.conftest import Ask, Fresh

# A warning of the client about its own way to send a file object; it is none of the server's.
OWN_WARNING = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

UPLOAD = """
import sys
from huggingface_hub import HfApi
HfApi().upload_file(path_or_fileobj=sys.argv[1], path_in_repo="x.bin", repo_id=sys.argv[2], repo_type="dataset")
"""
DOWNLOAD = """
import sys
from huggingface_hub import hf_hub_download
print(hf_hub_download(sys.argv[1], "x.bin", repo_type="dataset"))
"""


def received(ask: Ask, dataset: str) -> dict[str, int]:
    counts: dict[str, int] = ask("GET", "/_local/stats").json["repos"].get(f"dataset:{dataset}", {})
    return counts


@pytest.mark.parametrize(("disable_xet", "ways"), [("0", {"xorb_bytes", "shard_bytes"}), ("1", {"blob_bytes"})])
def test_a_file_comes_back_as_it_was_sent(
    ask: Ask, fresh: Fresh, dataset: str, tmp_path: Path, disable_xet: str, ways: set[str]
) -> None:
    content = os.urandom(3 << 20) + b"\0" * (1 << 20) + b"".join(n.to_bytes(4, "little") for n in range(100_000))
    (tmp_path / "sent").write_bytes(content)
    fresh(UPLOAD, str(tmp_path / "sent"), dataset, HF_HUB_DISABLE_XET=disable_xet)
    got = fresh(DOWNLOAD, dataset, HF_HUB_DISABLE_XET=disable_xet).strip()
    assert Path(got).read_bytes() == content
    assert set(received(ask, dataset)) == {*ways, "commit_bytes"}
    assert received(ask, dataset)["commit_bytes"] < 1000


def test_a_small_change_sends_few_bytes_by_xet(ask: Ask, fresh: Fresh, dataset: str, tmp_path: Path) -> None:
    content = bytearray(os.urandom(6 << 20))
    (tmp_path / "sent").write_bytes(content)
    fresh(UPLOAD, str(tmp_path / "sent"), dataset)
    first = received(ask, dataset)["xorb_bytes"]
    content[3 << 20 : (3 << 20) + 100] = b"changed" * 14 + b"!!"
    (tmp_path / "sent").write_bytes(content)
    fresh(UPLOAD, str(tmp_path / "sent"), dataset)
    assert received(ask, dataset)["xorb_bytes"] - first < first * 0.1
    assert Path(fresh(DOWNLOAD, dataset).strip()).read_bytes() == content


@OWN_WARNING
def test_a_file_object_goes_by_lfs(api: HfApi, ask: Ask, dataset: str) -> None:
    content = os.urandom(100_000)
    api.upload_file(path_or_fileobj=BytesIO(content), path_in_repo="x.bin", repo_id=dataset, repo_type="dataset")
    assert received(ask, dataset)["blob_bytes"] == len(content)


@OWN_WARNING
def test_known_content_is_not_sent_again(api: HfApi, ask: Ask, dataset: str) -> None:
    content = os.urandom(100_000)
    for path in ("one.bin", "two.bin"):
        api.upload_file(path_or_fileobj=BytesIO(content), path_in_repo=path, repo_id=dataset, repo_type="dataset")
    assert received(ask, dataset)["blob_bytes"] == len(content)


def lfs_batch(ask: Ask, dataset: str, operation: str, oid: str, size: int) -> dict[str, Any]:
    body = {"operation": operation, "transfers": ["basic"], "objects": [{"oid": oid, "size": size}]}
    answer = ask("POST", f"/datasets/{dataset}.git/info/lfs/objects/batch", body)
    assert answer.status == 200
    found: dict[str, Any] = answer.json["objects"][0]
    return found


def path_of(href: str) -> str:
    return "/" + href.split("/", 3)[3]


def test_content_with_another_hash_or_size_is_refused(ask: Ask, dataset: str) -> None:
    content = os.urandom(1000)
    oid = hashlib.sha256(content).hexdigest()
    href = path_of(lfs_batch(ask, dataset, "upload", oid, 1000)["actions"]["upload"]["href"])
    for wrong in (content[:-1], content + b"x", b"y" * 1000):
        assert ask("PUT", href, wrong, token=None).status in (400, 413)
    assert "actions" in lfs_batch(ask, dataset, "upload", oid, 1000)
    assert ask("PUT", href, content, token=None).status == 200
    assert "actions" not in lfs_batch(ask, dataset, "upload", oid, 1000)
    assert ask("POST", f"/datasets/{dataset}.git/info/lfs/verify", {"oid": oid, "size": 1000}).status == 200
    assert ask("POST", f"/datasets/{dataset}.git/info/lfs/verify", {"oid": oid, "size": 999}).status == 404
    link = lfs_batch(ask, dataset, "download", oid, 1000)["actions"]["download"]["href"]
    assert ask("GET", path_of(link), token=None).body == content
    assert "error" in lfs_batch(ask, dataset, "download", "0" * 64, 5)


def test_an_upload_link_cannot_be_made_up_or_bent(ask: Ask, dataset: str) -> None:
    href = path_of(lfs_batch(ask, dataset, "upload", "1" * 64, 5)["actions"]["upload"]["href"])
    payload, _, proof = href.removeprefix("/_lfs/").partition(".")
    for link in ("x", "x.y", f"{payload}.{'0' * 64}", f"{payload[:-2]}AA.{proof}", f"%FF.{proof}", f"{payload}."):
        assert ask("PUT", f"/_lfs/{link}", b"12345", token=None).status in (400, 403)
    assert ask("GET", href, token=None).status == 403


def xet(ask: Ask, dataset: str) -> tuple[str, str]:
    answer = ask("GET", f"/api/datasets/{dataset}/xet-write-token/main")
    assert answer.headers["x-xet-access-token"] == answer.json["accessToken"]
    return path_of(answer.json["casUrl"]), str(answer.json["accessToken"])


def test_the_xet_address_belongs_to_this_store(ask: Ask, dataset: str) -> None:
    address, token = xet(ask, dataset)
    other = address[:-1] + ("0" if address[-1] != "0" else "1")
    assert ask("POST", f"{other}/v1/xorbs/default/{'a' * 64}", b"", token=token).status == 403
    assert ask("POST", f"{address}/v2/shards", b"", token=token).status == 404


@pytest.mark.parametrize(
    "xorb",
    [
        b"",
        b"x",
        b"\0" * 8,
        b"\0\xff\xff\xff\0\xff\xff\xff",
        b"\0\x05\0\0\x09\x05\0\0hello",
        b"\0\x06\0\0\0\x05\0\0hello",
    ],
)
def test_a_broken_xorb_is_refused(ask: Ask, dataset: str, xorb: bytes) -> None:
    address, token = xet(ask, dataset)
    assert ask("POST", f"{address}/v1/xorbs/default/{'a' * 64}", xorb, token=token).status == 400


def test_xet_wants_its_own_token(ask: Ask, local_hub: Running, dataset: str) -> None:
    address, token = xet(ask, dataset)
    reader = ask("GET", f"/api/datasets/{dataset}/xet-read-token/main").json["accessToken"]
    for wrong in (local_hub.token, reader, token[:-1], "x"):
        assert ask("POST", f"{address}/v1/shards", b"", token=wrong).status == 403
    assert ask("POST", f"{address}/v1/xorbs/default/..%2F..%2Fx", b"", token=token).status == 400


def test_no_half_received_file_is_left_behind(local_hub: Running) -> None:
    assert list((local_hub.root / "incoming").iterdir()) == []
    assert json.loads((local_hub.root / "address.json").read_text())["pid"] == local_hub.pid
