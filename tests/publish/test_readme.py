"""The README can be followed: its commands in their order, its release.yaml, its Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hala_release.release import SpaceArtifact, load
from pipeline.demo.corpus import write_corpus
from tests import factories

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

# On the page these talk to the public Hub; here they rehearse.
REHEARSE = """
hala-release() {
    case "$1 $*" in
        *--hub*) command hala-release "$@" ;;
        plan*|push*|verify*) command hala-release "$@" --hub local ;;
        *) command hala-release "$@" ;;
    esac
}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_space_of_the_readme_fits_into_its_release(tmp_path: Path) -> None:
    release, space = blocks("yaml")
    (tmp_path / "release.yaml").write_text(release + space, encoding="utf-8")
    artifact = load(tmp_path / "release.yaml").in_order[-1]
    assert isinstance(artifact, SpaceArtifact)
    assert artifact.models == ("my-model",)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A directory with the rows and the checkpoint that the page starts from."""
    write_corpus(tmp_path / "my-rows")
    factories.write_model(tmp_path / "my-checkpoint")
    return tmp_path


def test_the_readme_can_be_followed(workplace: Path) -> None:
    commands = [
        line.removeprefix("$ ").split("#")[0].rstrip()
        for block in blocks("console")
        for line in block.splitlines()
        if line.startswith("$ ") and not line.startswith("$ make")
    ]
    assert len(commands) >= 12
    *steps, last = commands
    assert last == "hala-release hub stop"
    release, _ = blocks("yaml")
    (workplace / "release.yaml").write_text(release, encoding="utf-8")
    (python,) = blocks("python")
    (workplace / "quick_start.py").write_text(python + "print(dataset)\n", encoding="utf-8")
    script = "\n".join(
        ["set -euo pipefail", REHEARSE, "trap 'hala-release hub stop' EXIT", *steps, "python quick_start.py"]
    )

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=workplace,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_HOME": str(workplace / "home"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout, "the second push published again"
    assert "num_rows: 11596" in done.stdout
    assert (workplace / "my-corpus" / "README.md").is_file(), "git clone"
