"""The whole road at toy size, as `make tiny` goes it: for real, and again to see that nothing is done twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from hala_release.bundle import Bundle
from hala_release.manifest import ModelFacts

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out" / "tiny"
WORK = ROOT / ".venv-work" / "bin"
STAGES = {"compress", "decontaminate", "dedup", "evaluate", "filter", "ingest", "merge", "pack", "train", "translate"}

pytestmark = pytest.mark.skipif(
    "HALA_ROAD" not in os.environ, reason="takes ten minutes: `make test` runs it by itself"
)


def run(*command: str) -> str:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


def drawn(said: str) -> str:
    """The graph at the end, with the digests of all that the larger model was made from."""
    return said[said.index("merge, model") :]


def manifests() -> dict[Path, int]:
    """When each bundle of a stage was sealed."""
    return {path: path.stat().st_mtime_ns for stage in STAGES for path in OUT.glob(f"{stage}/*/manifest.json")}


@pytest.fixture(scope="module")
def said() -> str:
    """What the road says of the larger model."""
    return run("bash", "pipeline/runs/tiny.sh")


def test_every_stage_has_left_its_bundle(said: str) -> None:
    found = Counter(path.parent.parent.name for path in manifests())
    assert found.keys() == STAGES
    assert found["train"] >= 3
    assert found["merge"] >= 2
    assert found["evaluate"] >= 4
    for stage in ("merge, model", "base: adopt, model", "model: compress, model", "data: pack, dataset"):
        assert stage in said


@pytest.mark.usefixtures("said")
def test_nothing_that_a_stage_leaves_is_a_finding() -> None:
    checked = run(str(WORK / "hala-release"), "check", "pipeline/demo/tiny.release.yaml", "--json")
    assert json.loads(checked) == {"findings": []}


@pytest.mark.usefixtures("said")
def test_the_cards_print_what_was_measured_with_its_error() -> None:
    url = run(str(WORK / "hala-release"), "hub", "url").strip()
    for name in ("tiny-translator", "tiny-chat-demo", "tiny-chat-large"):
        place = f"{url}/hala-tiny/{name}/resolve/v1.0.0/README.md"
        with urllib.request.urlopen(place) as answer:  # noqa: S310 -- the embedded Hub
            card = answer.read().decode()
        rows = re.findall(
            r"^\| (.+?) \| (.+?) \| (\d+) \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) ± [\d.]+ \|", card, re.MULTILINE
        )
        assert [row[1] for row in rows] == [r"acc\_norm", "bleu", "chrf++"], card
        assert float(rows[0][4]) > 5, "forty questions leave much to chance"
        assert "tested in pairs" in card
        if name == "tiny-chat-large":
            assert "model: teacher (adopt, " in card, "the lineage goes back to what came from elsewhere"
            assert "learning\\_rate `0.008`" in card


@pytest.mark.usefixtures("said")
def test_what_was_learnt_is_seen() -> None:
    """A minute of training lowers the loss on pairs that were not trained on; it makes no translator."""
    report = OUT / "family" / "translator" / "files" / "reports" / "train.json"
    loss = json.loads(report.read_text(encoding="utf-8"))["loss"]
    assert loss["validation_after"] < loss["validation_before"] - 2


def test_a_second_run_does_nothing_and_another_t_redoes_the_merge_only(said: str) -> None:
    before = manifests()
    again = run("bash", "pipeline/runs/tiny.sh")
    assert "nothing to do" in again
    assert drawn(again) == drawn(said)
    assert manifests() == before
    merged = Bundle.open(OUT / "family" / "chat-demo")
    roles = {one.name: one.manifest_sha256 for one in merged.manifest.provenance.inputs}
    places = {Bundle.open(path.parent).manifest_sha256: path.parent for path in before} | {
        Bundle.open(OUT / "base-demo").manifest_sha256: OUT / "base-demo"
    }
    inputs = [word for role, digest in roles.items() for word in ("--from", f"{role}={places[digest]}")]
    new = run(
        *(str(WORK / "python"), "-m", "pipeline", "merge", "pipeline/configs/merge/slerp.yaml", *inputs),
        *("--set", "t=0.25", "--again", "--out", str(OUT)),
    )
    made = {path for path, sealed in manifests().items() if before.get(path) != sealed}
    assert made == {ROOT / new.strip() / "manifest.json"}
    assert isinstance(Bundle.open(ROOT / new.strip()).manifest.facts, ModelFacts)
