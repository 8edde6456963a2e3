"""The command line: one file per command, each parses, calls and prints. Errors are caught here and nowhere else."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from hala_release import __version__
from hala_release.cli.output import show_error
from hala_release.errors import ConfigError, HalaError

COMMANDS = ("adopt", "card", "check", "graph", "hub", "init", "plan", "push", "run", "schema", "verify")
"""Modules beside this one; each has `command`."""


class _Commands(click.Group):
    """Loads a command when it is called, so that help and errors come at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"hala_release.cli.{cmd_name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hala-release")
def cli() -> None:
    """Release a family of datasets and language models on the Hugging Face Hub.

    Start with `hala-release init`. Add `--hub local` to plan, push and verify to rehearse on an embedded Hub, offline.
    """


def main() -> None:
    """Run the command line and exit with the code of what happened."""
    try:
        cli(standalone_mode=False)
    except HalaError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        if "--json" in sys.argv:
            show_error(ConfigError(error.format_message(), fix="compare with --help"))
        else:
            error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        asked = isinstance(stop, click.Abort) and not isinstance(stop.__cause__, KeyboardInterrupt)
        click.echo("nothing was done" if asked else "stopped; run the same command to go on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as with `| head`
        sys.exit(0)
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        show_error(HalaError(message, fix="see to its permissions or to the room on the disk, and run it again"))
        sys.exit(1)
