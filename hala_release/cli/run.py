"""hala-release run"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hala_release.errors import ConfigError


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, metavar="STAGE CONFIG [OPTIONS]", type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run a stage of the pipeline, from a checkout.

    How far it is goes to stderr, where its result lies to stdout; the same command again finds it. `hala-release run
    --help` lists the stages and their options.
    """
    checkout = next((one for one in (Path.cwd(), Path(__file__).parents[2]) if (one / "pipeline").is_dir()), None)
    if checkout is None:
        raise ConfigError(
            "the pipeline is not here: it runs from a checkout", fix="clone hala-release, and run this inside of it"
        )
    path = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))
    sys.stdout.flush()
    os.execve(  # noqa: S606 -- this very Python, arguments as a list
        sys.executable, [sys.executable, "-m", "pipeline", *arguments], {**os.environ, "PYTHONPATH": path}
    )
