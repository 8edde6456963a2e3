"""hala-release hub"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hala_release.cli.options import STATE
from hala_release.cli.output import Output, output_options

if TYPE_CHECKING:
    from hala_release.localhub.daemon import Running

ROOT = STATE / "hub"


@click.group()
def command() -> None:
    """Start, stop and empty the embedded Hub."""


@command.command()
@click.option("--port", type=int, default=0, help="Port on 127.0.0.1. Default: the last one, else any free one.")
@output_options
def start(port: int, as_json: bool, quiet: bool) -> None:
    """Start it, or say where it runs."""
    from hala_release.localhub import daemon

    running = daemon.start(ROOT, port=port)
    Output(as_json=as_json, quiet=quiet).show(_document(running), _lines(running))


@command.command()
@output_options
def stop(as_json: bool, quiet: bool) -> None:
    """Stop it; what was published stays on disk."""
    from hala_release.localhub import daemon

    stopped = daemon.stop(ROOT)
    Output(as_json=as_json, quiet=quiet).show({"stopped": stopped}, ["stopped" if stopped else "it was not running"])


@command.command()
@output_options
def status(as_json: bool, quiet: bool) -> None:
    """Say whether it runs, and where."""
    from hala_release.localhub import daemon

    running = daemon.status(ROOT)
    document = _document(running) if running else {"running": False}
    Output(as_json=as_json, quiet=quiet).show(document, _lines(running) if running else ["not running"])


@command.command()
def url() -> None:
    """Print its URL, for HF_ENDPOINT. Starts it when needed."""
    from hala_release.localhub import daemon

    click.echo(daemon.start(ROOT).url)


@command.command()
def token() -> None:
    """Print the token that may write to it, for HF_TOKEN. It is worth nothing elsewhere. Starts it when needed."""
    from hala_release.localhub import daemon

    click.echo(daemon.start(ROOT).token)


@command.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Stop it and delete everything that was published on it."""
    from hala_release.localhub import daemon

    if not ROOT.exists():
        click.echo("there is none here")
        return
    if not yes:
        click.confirm(f"Delete every repository of the embedded Hub in {ROOT}?", abort=True)
    daemon.reset(ROOT)


def _document(running: Running) -> dict[str, object]:
    return {"running": True, "url": running.url, "pid": running.pid, "root": str(running.root)}


def _lines(running: Running) -> list[str]:
    return [
        f"the embedded Hub runs on {running.url} (process {running.pid}, files in {running.root})",
        "to use it with any client of the Hub:",
        "  export HF_ENDPOINT=$(hala-release hub url) HF_TOKEN=$(hala-release hub token)",
    ]
