"""hala-release card"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from hala_release.cli.options import LOCAL, connect, hub_option, release_argument
from hala_release.cli.output import Output, finding_lines, output_options, shown
from hala_release.units import count

if TYPE_CHECKING:
    from hala_release.hub import Hub
    from hala_release.regions import Conflict
    from hala_release.wanted import Wanted


@click.group()
def command() -> None:
    """Render, compare, check and look at the README.md of each repository."""


@command.command()
@release_argument
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write README.md files here, by page, instead of printing."
)
@output_options
def render(release: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Render every card of the release, as push would publish it for the first time."""
    from hala_release.disk import write_atomic
    from hala_release.release import load
    from hala_release.wanted import wanted

    loaded = load(release)
    wants = wanted(loaded, release.parent)
    cards = {want.page: want.card for want in wants}
    if out:
        for want in wants:
            for name, data in want.rendered.items():
                path = out / want.page / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, data)
    lines = [f"wrote {out / page / 'README.md'}" for page in cards] if out else cards.values()
    Output(as_json=as_json, quiet=quiet).show(cards, lines)


@command.command()
@release_argument
@hub_option
@output_options
def diff(release: Path, hub: str | None, as_json: bool, quiet: bool) -> None:
    """Show how each live card would change.

    What people wrote outside of the managed regions stays. Where they changed what the release would change, too, both
    are shown; push then needs --card.
    """
    from hala_release.release import load
    from hala_release.wanted import wanted

    loaded = load(release)
    target = connect(hub, quiet=quiet)
    found = [_difference(want, target) for want in wanted(loaded, release.parent)]
    Output(as_json=as_json, quiet=quiet).show(
        [one.document() for one in found], [line for one in found for line in _lines(one)]
    )


@command.command()
@click.argument("path", metavar="[RELEASE|README.md]", type=click.Path(path_type=Path), default=Path("release.yaml"))
@click.option(
    "--kind", type=click.Choice(["model", "dataset", "space"]), default="model", help="What a README.md is of."
)
@output_options
def lint(path: Path, kind: str, as_json: bool, quiet: bool) -> None:
    """Say what is wrong with the cards of a release, or with one README.md."""
    from hala_release import checks
    from hala_release.errors import CheckFailed

    findings = checks.lint(path, kind)  # type: ignore[arg-type]  # click checks the choice
    if any(finding.level == "error" for finding in findings):
        raise CheckFailed(f"{path}: a card is not fit to be read", findings=findings, fix="mend what is listed above")
    Output(as_json=as_json, quiet=quiet).show(
        {"findings": [asdict(finding) for finding in findings]},
        [
            *finding_lines(findings),
            f"{path}: " + (f"{count(len(findings), 'warning')}, nothing else" if findings else "nothing is wrong"),
        ],
    )


@command.command()
@release_argument
@click.option("--open/--no-open", "opens", default=True, help="Whether a browser shows them.")
@output_options
def preview(release: Path, opens: bool, as_json: bool, quiet: bool) -> None:
    """Look at the cards on the page of the embedded Hub. Nothing is published."""
    from hala_release.release import load
    from hala_release.wanted import wanted

    loaded = load(release)
    target = connect(LOCAL, quiet=quiet)
    pages = {want.page: target.preview(want.kind, want.repo, want.rendered) for want in wanted(loaded, release.parent)}
    Output(as_json=as_json, quiet=quiet).show(pages, [f"{page}: {url}" for page, url in pages.items()])
    if opens:
        for url in pages.values():
            click.launch(url)


class _Difference(NamedTuple):
    repo: str
    diff: list[str]
    conflicts: tuple[Conflict, ...]

    def document(self) -> dict[str, object]:
        return {**self._asdict(), "conflicts": [conflict.model_dump() for conflict in self.conflicts]}


def _difference(want: Wanted, hub: Hub) -> _Difference:
    from hala_release.card import NAME

    head = hub.head(want.kind, want.repo)
    there = head is not None and NAME in hub.tree(want.kind, want.repo, head.commit)
    live = hub.text(want.kind, want.repo, NAME, head.commit) if head and there else None
    merged, conflicts = want.meeting(live, hub.benchmarks() if want.leaderboards else ())
    before, after = (live or "").splitlines(), merged.card.splitlines()
    lines = difflib.unified_diff(before, after, "on the Hub", "as it would be", lineterm="")
    return _Difference(want.page, list(lines), conflicts)


def _lines(found: _Difference) -> Iterator[str]:
    yield f"{found.repo}:" + ("" if found.diff or found.conflicts else " as it would be")
    yield from map(shown, found.diff)
    for conflict in found.conflicts:
        yield f"! the {conflict.kind} `{conflict.name}` was changed on the Hub. There:"
        yield from (f"  < {shown(line)}" for line in conflict.live.splitlines())
        yield "  In the release:"
        yield from (f"  > {shown(line)}" for line in conflict.new.splitlines())
