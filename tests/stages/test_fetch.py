"""A model of the Hub becomes a bundle, pinned by its commit, through the embedded Hub and the unmodified client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hala_release.bundle import Bundle
from hala_release.localhub.daemon import Running
from tests import factories

ROOT = Path(__file__).parents[2]


@pytest.fixture
def published(embedded: Running, family: Path) -> tuple[str, str]:
    """The id of a model on the embedded Hub, and its commit."""
    pushed = factories.hala_release(
        "push", str(family), "--yes", "--json", "--hub", embedded.url, cwd=family.parent, HF_TOKEN=embedded.token
    )
    assert pushed.returncode == 0, pushed.stderr
    program = (
        "import json; from huggingface_hub import HfApi; api = HfApi(); model = next(iter(api.list_models()));"
        "print(json.dumps([model.id, api.model_info(model.id).sha]))"
    )
    told = client(program, embedded)
    name, commit = json.loads(told)
    return name, commit


def client(program: str, embedded: Running) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_ENDPOINT": embedded.url, "HF_TOKEN": embedded.token},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


def fetch(embedded: Running, tmp_path: Path, **config: object) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "fetch.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "fetch", str(path), "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={
            **os.environ,
            "HF_ENDPOINT": embedded.url,
            "HF_TOKEN": embedded.token,
            "HF_HOME": str(tmp_path / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_is_fetched_once_and_knows_where_it_came_from(
    published: tuple[str, str], embedded: Running, family: Path, tmp_path: Path
) -> None:
    name, commit = published
    told = fetch(embedded, tmp_path, repo=name, revision=commit)
    assert told.returncode == 0, told.stderr
    bundle = Bundle.open(Path(told.stdout.strip()))
    bundle.verify(rehash=True)
    assert bundle.manifest.facts.kind == "model"
    assert bundle.manifest.provenance.config["repo"] == name
    assert bundle.manifest.provenance.config["revision"] == commit
    sealed = {
        entry.sha256
        for path in family.parent.rglob("manifest.json")
        for entry in Bundle.open(path.parent).manifest.files
        if entry.path.endswith(".safetensors")
    }
    fetched = {entry.sha256 for entry in bundle.manifest.files if entry.path.endswith(".safetensors")}
    assert fetched
    assert fetched <= sealed, "the weights are those that were pushed"
    assert "README.md" not in {entry.path for entry in bundle.manifest.files}
    again = fetch(embedded, tmp_path, repo=name, revision=commit)
    assert again.stdout == told.stdout
    assert "fetching" not in again.stderr


def test_a_commit_that_is_not_there_is_told(published: tuple[str, str], embedded: Running, tmp_path: Path) -> None:
    for repo, revision in ((published[0], "0" * 40), ("nobody/nothing", published[1])):
        told = fetch(embedded, tmp_path, repo=repo, revision=revision)
        assert told.returncode == 5, told.stderr
        assert "may not see it" in told.stderr
    told = fetch(embedded, tmp_path, repo=published[0], revision="main")
    assert told.returncode == 2, told.stderr


def test_a_hub_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "fetch.yaml"
    path.write_text(json.dumps({"repo": "some/model", "revision": "0" * 40}), encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "-m", "pipeline", "fetch", str(path), "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 5, told.stderr
    assert "Traceback" not in told.stderr
    assert "run it again; what was fetched stays" in told.stderr
