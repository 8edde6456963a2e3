"""hala-release schema"""

from __future__ import annotations

import json

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of release.yaml."""
    from hala_release.release import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
