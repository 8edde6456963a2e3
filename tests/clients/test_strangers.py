"""Strangers load the released demo family by its tag, and get exactly what was sealed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.clients.conftest import FLOOR, TAG, Published, floor
from tests.publish import families

ROOT = Path(__file__).parents[2]

LOAD_DATASET = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from datasets import Features, List, Value, load_dataset

repo, tag, files = sys.argv[1], sys.argv[2], Path(sys.argv[3])
shards = {"train": "data/train-00000-of-00001.parquet", "validation": "data/validation-00000-of-00001.parquet"}
turn = {"from": Value("string"), "value": Value("string")}
features = Features(
    {"id": Value("string"), "conversations": List(turn), "source": Value("string"), "license": Value("string")}
)
loaded = load_dataset(repo, revision=tag)
streamed = load_dataset(repo, revision=tag, streaming=True)
assert list(loaded) == list(streamed) == list(shards), loaded
for split, shard in shards.items():
    sealed = pq.read_table(files / shard).to_pylist()
    assert loaded[split].features == streamed[split].features == features, loaded[split].features
    assert loaded[split].to_list() == sealed
    assert list(streamed[split]) == sealed
print(sum(len(split) for split in loaded.values()))
"""

LOAD_MODEL = """
import re, sys
from pathlib import Path
import torch
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

repo, tag = sys.argv[1:]
config = AutoConfig.from_pretrained(repo, revision=tag)
assert config.model_type == "lfm2", config
tokenizer = AutoTokenizer.from_pretrained(repo, revision=tag)
model = AutoModelForCausalLM.from_pretrained(repo, revision=tag)
inputs = tokenizer("احفظ الملف", return_tensors="pt")
outputs = model.generate(**inputs, min_new_tokens=8, max_new_tokens=8, do_sample=False)
assert outputs.shape[1] == inputs["input_ids"].shape[1] + 8, outputs.shape
assert torch.equal(outputs, model.generate(**inputs, min_new_tokens=8, max_new_tokens=8, do_sample=False))

card = Path(hf_hub_download(repo, "README.md", revision=tag)).read_text(encoding="utf-8")
(block,) = re.findall(r"## Quick start\\n\\n```python\\n(.*?)```", card, re.DOTALL)
assert repo in block and tag in block, block
quick = {}
exec(block, quick)
assert quick["outputs"].shape[1] > quick["inputs"]["input_ids"].shape[1]
print("loaded")
"""

LOAD_FILES = """
import re, sys
from pathlib import Path
import pandas
from huggingface_hub import HfFileSystem, hf_hub_download, snapshot_download

corpus, model, tag, folder = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
shard = "data/validation-00000-of-00001.parquet"
frame = pandas.read_parquet(f"hf://datasets/{corpus}@{tag}/{shard}")
pandas.testing.assert_frame_equal(frame, pandas.read_parquet(folder / "corpus" / "files" / shard))

files = HfFileSystem()
weights = folder / "model" / "files" / "model.safetensors"
assert files.cat_file(f"{model}@{tag}/model.safetensors") == weights.read_bytes()
with files.open(f"{model}@{tag}/model.safetensors", "rb") as stream:
    stream.seek(1000)
    assert stream.read(500) == weights.read_bytes()[1000:1500]
found = {path.partition("@" + tag + "/")[2] for path in files.find(f"datasets/{corpus}@{tag}")}
sealed = {path.relative_to(folder / "corpus" / "files").as_posix()
          for path in (folder / "corpus" / "files").rglob("*") if path.is_file()}
assert found == {*sealed, "README.md", ".gitattributes"}, found

snapshot = Path(snapshot_download(corpus, repo_type="dataset", revision=tag))
for path in sealed:
    assert (snapshot / path).read_bytes() == (folder / "corpus" / "files" / path).read_bytes(), path

card = (snapshot / "README.md").read_text(encoding="utf-8")
(block,) = re.findall(r"## Quick start\\n\\n```python\\n(.*?)```", card, re.DOTALL)
assert corpus in block and tag in block, block
quick = {}
exec(block, quick)
assert quick["dataset"]["validation"].num_rows == len(frame)
print("read")
"""

VERSION = "from importlib.metadata import version; print(version('huggingface_hub'), version('datasets'))"


def version(python: str) -> tuple[int, ...]:
    """Return the version of huggingface_hub that a Python has."""
    done = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True)
    return tuple(int(part) for part in done.stdout.split()[0].split(".")[:3])


@floor
def test_both_ends_of_the_supported_range_are_swept() -> None:
    (requirement,) = (
        line
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        if line.startswith("huggingface-hub")
    )
    lowest, below = requirement.removeprefix("huggingface-hub>=").split(",<")
    assert ".".join(map(str, version(os.environ[FLOOR])[:2])) == lowest
    assert version(os.environ[FLOOR])[0] == 1
    assert version(sys.executable)[0] == 2 == int(below) - 1


def test_the_push_went_the_way_that_was_asked_for(published: Published) -> None:
    stats = families.ask_local(published.hub, "stats")
    used, unused = ("xorb_bytes", "blob_bytes") if published.setting.xet else ("blob_bytes", "xorb_bytes")
    assert stats[used] > 1_000_000
    assert stats[unused] == 0


def test_datasets_gives_the_rows_of_the_bundle_loaded_and_streamed(published: Published, tmp_path: Path) -> None:
    files = published.folder / "corpus" / "files"
    rows = published.run(LOAD_DATASET, published.corpus, TAG, files, home=tmp_path / "home")
    assert int(rows) > 11_000


def test_transformers_loads_the_model_generates_and_runs_the_quick_start_of_the_card(
    published: Published, tmp_path: Path
) -> None:
    assert published.run(LOAD_MODEL, published.model, TAG, home=tmp_path / "home").endswith("loaded\n")


def test_pandas_file_systems_and_snapshots_read_the_bytes_of_the_bundle(published: Published, tmp_path: Path) -> None:
    said = published.run(LOAD_FILES, published.corpus, published.model, TAG, published.folder, home=tmp_path / "home")
    assert said.endswith("read\n")


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_hf_download_by_tag_gives_the_bytes_of_the_bundle(published: Published, tmp_path: Path, kind: str) -> None:
    repo, bundle = (published.corpus, "corpus") if kind == "dataset" else (published.model, "model")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE_"))}
    hub = {"HF_ENDPOINT": published.hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    out = tmp_path / "out"
    done = subprocess.run(
        [published.script("hf"), "download", repo, "--repo-type", kind, "--revision", TAG, "--local-dir", out],
        env={**kept, **hub, **published.setting.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sealed = families.files(published.folder / bundle)
    got = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }
    assert got.keys() - sealed.keys() == {"README.md", ".gitattributes"}
    assert {path: got[path] for path in sealed} == sealed


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_git_clones_the_tag_with_pointers_for_large_files(published: Published, tmp_path: Path, kind: str) -> None:
    repo, bundle = (f"datasets/{published.corpus}", "corpus") if kind == "dataset" else (published.model, "model")
    url = f"{published.hub.url}/{repo}"
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", "-c", "advice.detachedHead=false", "clone", "--branch", TAG, url, tmp_path / "clone"],
        env={**os.environ, **plain, "GIT_LFS_SKIP_SMUDGE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pointers = 0
    for path, data in families.files(published.folder / bundle).items():
        cloned = (tmp_path / "clone" / path).read_bytes()
        if cloned != data:
            assert cloned.startswith(b"version https://git-lfs.github.com/spec/v1\n")
            assert f"oid sha256:{hashlib.sha256(data).hexdigest()}\nsize {len(data)}\n".encode() in cloned
            pointers += 1
    assert pointers == {"dataset": 2, "model": 1}[kind]
