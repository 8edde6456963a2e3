"""What `pip install` brings: the wheel alone, without the checkout around it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import factories

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_the_wheel_renders_cards_without_the_checkout(installed: Path, family: Path) -> None:
    command = [sys.executable, "-P", "-c", "import hala_release.cli as c; print(c.__file__); c.main()"]
    done = subprocess.run(
        [*command, "card", "render", str(family)],
        cwd=family.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(installed))
    assert "# corpus" in done.stdout
    assert "# model" in done.stdout


def test_the_wheel_carries_every_word_and_space(installed: Path) -> None:
    for folder in ("cards", "spaces"):
        there = {
            path.relative_to(CHECKOUT / folder)
            for path in (CHECKOUT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert there
        assert all((installed / "hala_release" / "_data" / folder / path).is_file() for path in there)


def test_init_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = factories.hala_release("init", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "release.yaml").is_file()
    done = factories.hala_release("init", "--space", "page", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page" / "app.py").is_file()
    again = factories.hala_release("init", "--space", "page", cwd=tmp_path, PYTHONPATH=str(installed))
    assert again.returncode == 2
    adopted = factories.hala_release("adopt", "page", "--kind", "space", "--out", "sealed", cwd=tmp_path)
    assert adopted.returncode == 0, adopted.stderr
