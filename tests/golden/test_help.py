"""The help of every command, as a terminal of 80 columns shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hala_release.cli import COMMANDS, cli
from tests import factories
from tests.golden.conftest import FILES, Golden


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


PATHS = list(commands(cli))


def test_the_sweep_sees_every_command() -> None:
    assert {path[0] for path in PATHS if path} == set(COMMANDS)
    assert len(PATHS) >= 17
    assert {path.stem for path in (FILES / "help").iterdir()} == {"-".join(["hala-release", *path]) for path in PATHS}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(path) or "hala-release")
def test_help_is_what_was_read_and_found_good(path: tuple[str, ...], golden: Golden, tmp_path: Path) -> None:
    run = factories.hala_release(*path, "--help", cwd=tmp_path, COLUMNS="80")
    assert (run.returncode, run.stderr) == (0, "")
    text = run.stdout.replace("python -m hala_release", "hala-release")
    assert list(tmp_path.iterdir()) == []
    golden("-".join(["help/hala-release", *path]) + ".txt", text)
