"""hala-release card"""

from __future__ import annotations

from pathlib import Path

import click

from hala_release.cli.options import release_argument
from hala_release.cli.output import Output, output_options


@click.group()
def command() -> None:
    """Render the README.md of each repository."""


@command.command()
@release_argument
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write README.md files here, by page, instead of printing."
)
@output_options
def render(release: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Render every card of the release, as push would publish it."""
    from hala_release.disk import write_atomic
    from hala_release.release import load
    from hala_release.wanted import wanted

    loaded = load(release)
    cards = {want.page: want.card.decode() for want in wanted(loaded, release.parent)}
    if out:
        for page, text in cards.items():
            path = out / page / "README.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode())
    lines = [f"wrote {out / page / 'README.md'}" for page in cards] if out else cards.values()
    Output(as_json=as_json, quiet=quiet).show(cards, lines)
