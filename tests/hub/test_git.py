"""Git itself as a client: it clones and fetches, and is told why it cannot push."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from hala_release.localhub.daemon import Running


def git(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    options = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "credential.helper=")
    return subprocess.run(["git", *options, *arguments], cwd=cwd, env={**kept, **alone}, capture_output=True, text=True)


def test_a_clone_has_history_tags_and_pointers(api: HfApi, local_hub: Running, dataset: str, tmp_path: Path) -> None:
    operations = [CommitOperationAdd("a.txt", b"words"), CommitOperationAdd("b.bin", b"\0" * 5000)]
    api.create_commit(dataset, operations, commit_message="fill", repo_type="dataset")
    api.create_tag(dataset, tag="v1", tag_message="one", repo_type="dataset")
    cloned = git("clone", f"{local_hub.url}/datasets/{dataset}", "copy", cwd=tmp_path)
    assert cloned.returncode == 0, cloned.stderr
    copy = tmp_path / "copy"
    assert (copy / "a.txt").read_text() == "words"
    assert git("cat-file", "blob", "HEAD:b.bin", cwd=copy).stdout.startswith("version https://git-lfs")
    assert git("log", "--format=%s", cwd=copy).stdout.split("\n")[:2] == ["fill", "initial commit"]
    assert git("tag", cwd=copy).stdout.strip() == "v1"
    assert git("for-each-ref", "refs/incoming", cwd=copy).stdout == ""
    api.upload_file(path_or_fileobj=b"more", path_in_repo="a.txt", repo_id=dataset, repo_type="dataset")
    assert git("pull", cwd=copy).returncode == 0
    assert (copy / "a.txt").read_text() == "more"


def test_a_private_clone_needs_the_token(api: HfApi, local_hub: Running, dataset: str, tmp_path: Path) -> None:
    api.update_repo_settings(dataset, private=True, repo_type="dataset")
    address = f"{local_hub.url}/datasets/{dataset}.git"
    assert git("clone", address, "refused", cwd=tmp_path).returncode != 0
    with_token = address.replace("http://", f"http://user:{local_hub.token}@")
    assert git("clone", with_token, "copy", cwd=tmp_path).returncode == 0


def test_a_push_is_refused_with_a_sentence(api: HfApi, local_hub: Running, dataset: str, tmp_path: Path) -> None:
    git("clone", f"{local_hub.url}/datasets/{dataset}", "copy", cwd=tmp_path)
    git("commit", "--allow-empty", "-m", "mine", cwd=tmp_path / "copy")
    pushed = git("push", cwd=tmp_path / "copy")
    assert pushed.returncode != 0
    assert "git push is not built yet in this Hub" in pushed.stderr
    assert len(api.list_repo_commits(dataset, repo_type="dataset")) == 1
