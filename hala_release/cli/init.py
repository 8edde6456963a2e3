"""hala-release init"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from hala_release.cli.options import STATE


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("release.yaml"))
@click.option(
    "--space",
    type=click.Path(path_type=Path),
    help="Write the Space for chat and translation into this folder instead: adapt it, then `adopt` it.",
)
def command(path: Path, space: Path | None) -> None:
    """Write a release.yaml to start from.

    It is commented, and comes with its schema for editors.
    """
    from hala_release.disk import shipped, write_atomic
    from hala_release.errors import ConfigError
    from hala_release.release import SCHEMA_ID, json_schema

    if space is not None:
        if space.exists():
            raise ConfigError(f"{space} exists", fix="name another folder")
        shutil.copytree(shipped("spaces") / "hala", space, ignore=shutil.ignore_patterns("__pycache__"))
        click.echo(f"wrote {space}; then `hala-release adopt {space} --kind space --out BUNDLE`")
        return
    if path.exists():
        raise ConfigError(f"{path} exists", fix="edit it, or name another file")
    schema = path.parent / STATE / SCHEMA_ID
    schema.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(schema, (json.dumps(json_schema(), indent=2) + "\n").encode())
    write_atomic(path, (Path(__file__).parent.parent / "release.example.yaml").read_bytes())
    click.echo(f"wrote {path}; edit it, then run `hala-release check {path}`")
