"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from hala_release.errors import ConfigError

if TYPE_CHECKING:
    from hala_release.hub import Hub

P = ParamSpec("P")
R = TypeVar("R")

LOCAL = "local"
STATE = Path(".hala")
"""Where the release layer keeps what is of this machine: the embedded Hub, receipts, the schema for editors."""


def release_argument(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command the release file."""
    return click.argument("release", type=click.Path(path_type=Path), default=Path("release.yaml"))(command)


def hub_option(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command `--hub`."""
    return click.option(
        "--hub",
        metavar="local|URL",
        help="The Hub to talk to: `local` for the embedded one, started when needed. "
        "Default: HF_ENDPOINT, else the public Hub.",
    )(command)


def card_option(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command `--card`."""
    return click.option(
        "--card",
        "settle",
        type=click.Choice(["ours", "theirs", "pr"]),
        help="Where people changed on the Hub what this release would change, too: take the release's word, keep "
        "theirs, or keep theirs and propose the release's in a pull request.",
    )(command)


def connect(hub: str | None, *, quiet: bool) -> Hub:
    """Return the Hub that the user means; unless `quiet`, its client draws progress on a terminal."""
    token = None
    if hub == LOCAL:
        from hala_release.localhub import daemon

        running = daemon.start(STATE / "hub")
        _never_through_a_proxy("127.0.0.1")
        hub, token = running.url, running.token
    elif hub is not None and not hub.startswith(("http://", "https://")):
        raise ConfigError(
            f"--hub {hub} is neither `{LOCAL}` nor an address like https://huggingface.co",
            fix=f"write `--hub {LOCAL}`, or the whole address with https://",
        )
    from hala_release.hub import Hub

    return Hub(hub.rstrip("/") if hub else None, token, progress=sys.stderr.isatty() and not quiet)


def _never_through_a_proxy(host: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), host]))
