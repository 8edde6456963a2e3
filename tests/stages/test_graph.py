"""`hala-release graph` and `hala-release run`: what a bundle was made from, and how it is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hala_release.bundle import Bundle, seal
from hala_release.manifest import Input, Provenance, SpaceFacts
from pipeline.stage import run_stage
from tests import factories
from tests.stages.toys import MAKE, SHOUT, ShoutConfig, ToyConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shouted(tmp_path: Path) -> Bundle:
    """A bundle that was made from two, one of them made from the other's source."""
    made = run_stage(MAKE, ToyConfig(), {}, tmp_path)
    loud = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path)
    return run_stage(SHOUT, ShoutConfig(), {"rows": [loud, made]}, tmp_path)


def test_the_graph_leads_back_to_what_was_there_first(shouted: Bundle, tmp_path: Path) -> None:
    drawn = factories.hala_release("graph", str(shouted.root), cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    first, *rest = drawn.stdout.splitlines()
    assert first.startswith("shout, dataset of 400 rows")
    assert [line[: line.index("dataset")] for line in rest] == [
        "├─ rows: shout, ",
        "│  └─ rows: make, ",
        "└─ rows: make, ",
    ]
    told = factories.hala_release("graph", str(shouted.root), "--json", cwd=tmp_path)
    nodes = json.loads(told.stdout)
    assert len(nodes) == 3
    assert nodes[0]["manifest_sha256"] == shouted.manifest_sha256
    known = {node["manifest_sha256"] for node in nodes}
    assert {one["manifest_sha256"] for node in nodes for one in node["inputs"]} <= known
    mermaid = factories.hala_release("graph", str(shouted.root), "--mermaid", cwd=tmp_path).stdout.splitlines()
    assert mermaid[0] == "graph TD"
    assert sum("-->" in line for line in mermaid) == 3


def test_what_is_not_here_is_told_by_the_manifest_alone(shouted: Bundle, tmp_path: Path) -> None:
    drawn = factories.hala_release("graph", str(shouted.root), "--among", str(tmp_path / "nowhere"), cwd=tmp_path)
    _, *rest = drawn.stdout.splitlines()
    loud, made = (one.manifest_sha256[:12] for one in shouted.manifest.provenance.inputs)
    assert rest == [
        f"├─ rows: shout, {loud}, which is not here",
        f"│  └─ rows: make, {made}, which is not here",
        f"└─ rows: make, {made}, which is not here",
    ]


def test_a_hostile_name_steers_no_terminal_and_no_drawing(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    evil = Provenance(
        stage="\x1b[2Jevil",
        config={"repo": 'a"]; click x href', "revision": "\x1b]0;title"},
        inputs=(Input(name="\x1b[31mrows", manifest_sha256="0" * 64),),
    )
    facts = SpaceFacts(sdk="\x1b[1mgradio", sdk_version=None, app_file=None)
    seal(tmp_path, name="evil", facts=facts, provenance=evil, digests={})
    for more in ((), ("--mermaid",)):
        drawn = factories.hala_release("graph", str(tmp_path), *more, cwd=tmp_path)
        assert drawn.returncode == 0, drawn.stderr
        assert "\x1b" not in drawn.stdout
        assert not more or '"];' not in drawn.stdout, "a label ends where we end it"


def test_run_starts_a_stage_of_the_checkout(tmp_path: Path) -> None:
    told = factories.hala_release("run", "pack", "pipeline/configs/pack/chat.yaml", "--check", cwd=ROOT)
    assert told.returncode == 0, told.stderr
    told = factories.hala_release("run", "pack", "none.yaml", cwd=tmp_path)
    assert told.returncode == 2
    assert "none.yaml cannot be read" in told.stderr
