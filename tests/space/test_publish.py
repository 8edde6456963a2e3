"""A Space goes out last, runs the models of its release, answers before it is shown, or is taken back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from hala_release import live
from hala_release.adopt import adopt
from hala_release.errors import SpaceFailed
from hala_release.family import family
from hala_release.hub import Hub, RemoteFile
from hala_release.localhub.daemon import Running
from hala_release.release import SpaceArtifact, load
from tests import factories
from tests.space.conftest import SOURCE, Published, push

GRADIO = re.compile(r"^gradio==(\S+)$", re.MULTILINE)


@pytest.fixture
def api(spaces_hub: Running) -> HfApi:
    """The unmodified client, as the owner."""
    return HfApi(spaces_hub.url, spaces_hub.token)


def text(api: HfApi, path: str, revision: str = "main") -> str:
    """Return a file of the published Space."""
    found = api.hf_hub_download("acme/chat", path, repo_type="space", revision=revision)
    return Path(found).read_text(encoding="utf-8")


def tree(published: Published) -> dict[str, RemoteFile]:
    """Return every file of the published Space."""
    return Hub(published.hub.url, published.hub.token).tree("space", "acme/chat", "main")


def changed(published: Published, folder: Path, version: str, *, repo: str = "chat", **files: str) -> Path:
    """Return the same release with another version, and files of its Space written anew."""
    raw = folder / "raw"
    shutil.copytree(SOURCE, raw, ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in files.items():
        (raw / name.replace("__", ".")).write_text(content, encoding="utf-8")
    adopt(raw, kind="space", out=folder / "space")
    document = yaml.safe_load(published.release.read_text(encoding="utf-8")) | {"version": version}
    document["artifacts"][0]["bundle"] = str(published.release.parent / "smollm")
    document["artifacts"][1] |= {"bundle": str(folder / "space"), "repo": repo}
    release = folder / "release.yaml"
    release.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return release


def test_the_space_is_last_runs_and_is_asked_before_it_is_shown(published: Published, api: HfApi) -> None:
    steps = ["tagging acme/smol", "making acme/smol public", "creating space acme/chat", "acme/chat: running"]
    steps += ["asking acme/chat a question and for a translation", "tagging acme/chat", "making acme/chat public"]
    places = [published.out.index(step) for step in steps]
    assert places == sorted(places)
    runtime = api.get_space_runtime("acme/chat")
    assert runtime.stage == "RUNNING"
    assert runtime.raw["sha"] == api.repo_info("acme/chat", repo_type="space", revision="v1.0.0").sha


def test_models_are_pinned_by_the_commits_of_their_tags(published: Published, api: HfApi) -> None:  # noqa: ARG001
    tagged = api.repo_info("acme/smol", revision="v1.0.0").sha
    assert tagged
    document = json.loads(text(api, "family.json"))
    assert document["models"]["acme/smol"]["revision"] == tagged
    card = yaml.safe_load(text(api, "README.md").split("---")[1])
    (preload,) = card["preload_from_hub"]
    repo, files, revision = preload.split()
    assert (repo, revision) == ("acme/smol", tagged)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(files.split(","))


def test_the_sdk_and_the_requirements_name_one_version(published: Published, api: HfApi) -> None:  # noqa: ARG001
    card = yaml.safe_load(text(api, "README.md").split("---")[1])
    pinned = GRADIO.search(text(api, "requirements.txt"))
    assert pinned
    assert card["sdk_version"] == pinned[1]


def test_a_published_space_plans_to_nothing_and_verifies(published: Published) -> None:
    done = push(published.release, published.hub)
    assert done.returncode == 0
    assert "nothing to do" in done.stdout
    there = str(published.release), "--hub", published.hub.url
    verified = factories.hala_release("verify", *there, cwd=published.release.parent, HF_TOKEN=published.hub.token)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_space_that_cannot_be_built_goes_back_and_the_log_is_in_the_error(
    published: Published, api: HfApi, tmp_path: Path
) -> None:
    before = tree(published)
    broken = (SOURCE / "requirements.txt").read_text(encoding="utf-8") + "no-such-package-at-all==1.0\n"
    done = push(changed(published, tmp_path, "1.0.1", requirements__txt=broken), published.hub)
    assert done.returncode == 5
    assert "acme/chat ended in BUILD_ERROR" in done.stderr
    assert "no-such-package-at-all" in done.stderr
    assert "it is back to" in done.stderr
    assert tree(published) == before
    assert [ref.name for ref in api.list_repo_refs("acme/chat", repo_type="space").tags] == ["v1.0.0"]
    assert api.get_space_runtime("acme/chat").stage == "RUNNING"


def test_a_new_space_that_crashes_is_shown_to_nobody(published: Published, api: HfApi, tmp_path: Path) -> None:
    crash = "print('warming up', flush=True)\nraise SystemExit('no models today')\n"
    done = push(changed(published, tmp_path, "1.0.0", repo="crashing", app__py=crash), published.hub)
    assert done.returncode == 5
    assert "acme/crashing ended in RUNTIME_ERROR" in done.stderr
    assert "no models today" in done.stderr
    assert "no version of it ran before" in done.stderr
    info = api.space_info("acme/crashing")
    assert info.private
    assert not api.list_repo_refs("acme/crashing", repo_type="space").tags
    # The same command goes on once the Space is mended.
    mended = changed(published, tmp_path / "again", "1.0.0", repo="crashing")
    assert push(mended, published.hub).returncode == 0
    assert not api.space_info("acme/crashing").private
    api.delete_repo("acme/crashing", repo_type="space")


def test_an_app_that_shows_another_release_is_told_from_ours(published: Published) -> None:
    release = load(published.release)
    artifact = release.in_order[-1]
    assert isinstance(artifact, SpaceArtifact)
    hub = Hub(published.hub.url, published.hub.token)
    url = hub.runtime("acme/chat").url
    assert url
    commit = hub.commit_of("model", "acme/smol", "v1.0.0")
    assert commit
    whole = family(release, [], published.release.parent)
    live.ask(artifact, url, whole._replace(pins={"acme/smol": commit}))
    with pytest.raises(SpaceFailed, match=r"and not version 1\.0\.0"):
        live.ask(artifact, url, whole._replace(pins={"acme/smol": "f" * 40}))


def test_a_push_that_was_killed_while_it_asked_is_finished_by_the_next(
    published: Published, api: HfApi, tmp_path: Path
) -> None:
    release = changed(published, tmp_path, "1.0.0", repo="killed")
    command = [sys.executable, "-m", "hala_release", "push", str(release), "--hub", published.hub.url, "--yes"]
    environment = {**os.environ, "HF_TOKEN": published.hub.token}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr
        for line in first.stderr:
            if line.startswith("asking acme/killed"):
                first.kill()
    assert first.returncode == -signal.SIGKILL
    assert not api.list_repo_refs("acme/killed", repo_type="space").tags
    assert api.space_info("acme/killed").private
    commit = api.space_info("acme/killed").sha
    done = push(release, published.hub)
    assert done.returncode == 0, done.stderr
    assert "asking acme/killed" in done.stderr
    assert api.repo_info("acme/killed", repo_type="space", revision="v1.0.0").sha == commit
    assert not api.space_info("acme/killed").private
    api.delete_repo("acme/killed", repo_type="space")


def test_a_private_family_needs_one_secret_and_says_so(published: Published, api: HfApi, tmp_path: Path) -> None:
    release = changed(published, tmp_path, "1.0.0", repo="hidden")
    document = yaml.safe_load(release.read_text(encoding="utf-8")) | {"visibility": "private", "namespace": "hidden"}
    release.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    done = push(release, published.hub)
    assert done.returncode == 5
    assert "fix: give the Space a secret HF_TOKEN" in done.stderr
    api.add_space_secret("hidden/hidden", "HF_TOKEN", published.hub.token)
    again = push(release, published.hub)
    assert again.returncode == 0, again.stderr
    assert api.space_info("hidden/hidden").private
    assert published.hub.token not in done.stderr + again.stderr
    api.delete_repo("hidden/hidden", repo_type="space")


def test_a_space_that_shows_other_models_than_their_tags_is_told(published: Published, api: HfApi) -> None:
    tagged = api.repo_info("acme/smol", revision="v1.0.0").sha
    there = "verify", str(published.release), "--hub", published.hub.url
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="acme/smol")
    api.delete_file("x.txt", "acme/smol")
    api.delete_tag("acme/smol", tag="v1.0.0")
    api.create_tag("acme/smol", tag="v1.0.0")
    try:
        told = factories.hala_release(*there, cwd=published.release.parent, HF_TOKEN=published.hub.token)
        assert told.returncode == 4
        assert "it shows other models: acme/smol" in told.stdout + told.stderr
    finally:
        api.delete_tag("acme/smol", tag="v1.0.0")
        api.create_tag("acme/smol", tag="v1.0.0", revision=tagged)
