"""hala-release init"""

from __future__ import annotations

import json
from pathlib import Path

import click

from hala_release.cli.options import STATE


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("release.yaml"))
def command(path: Path) -> None:
    """Write a release.yaml to start from.

    It is commented, and comes with its schema for editors.
    """
    from hala_release.disk import write_atomic
    from hala_release.errors import ConfigError
    from hala_release.release import SCHEMA_ID, json_schema

    if path.exists():
        raise ConfigError(f"{path} exists", fix="edit it, or name another file")
    schema = path.parent / STATE / SCHEMA_ID
    schema.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(schema, (json.dumps(json_schema(), indent=2) + "\n").encode())
    write_atomic(path, (Path(__file__).parent.parent / "release.example.yaml").read_bytes())
    click.echo(f"wrote {path}; edit it, then run `hala-release check {path}`")
