"""hala-release push"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hala_release.cli.options import LOCAL, STATE, card_option, connect, hub_option, release_argument
from hala_release.cli.output import Output, finding_lines, output_options
from hala_release.cli.plan import plan_lines
from hala_release.units import count, human_bytes

if TYPE_CHECKING:
    from hala_release.plan import Plan, Settle
    from hala_release.push import Pushed


@click.command()
@release_argument
@hub_option
@card_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_options
def command(release: Path, hub: str | None, settle: Settle | None, yes: bool, as_json: bool, quiet: bool) -> None:
    """Publish the release.

    One commit per repository, read back, tagged last. Run it again after any interruption; what is done is not done
    twice.
    """
    from hala_release import checks, plan, push
    from hala_release.errors import CheckFailed, ConfigError
    from hala_release.release import load
    from hala_release.wanted import wanted

    output = Output(as_json=as_json, quiet=quiet)
    loaded = load(release)
    wants = wanted(loaded, release.parent)
    findings = checks.findings(loaded, wants, release.parent)
    if checks.stopping(findings, loaded.gates):
        raise CheckFailed("the release does not pass its checks", findings=findings, fix="mend what is listed above")
    for line in finding_lines(findings):
        output.talk(line)
    target = connect(hub, quiet=quiet)
    made = plan.make(loaded, wants, target, settle=settle)
    if made.is_nothing:
        output.show({"receipts": [], "sent_bytes": 0}, plan_lines(made))
        return
    push.is_settled(made)
    if hub != LOCAL and not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to say yes", fix="look at `hala-release plan`, then push with --yes")
        for line in plan_lines(made):
            click.echo(line, err=True)
        click.confirm("\nPublish this?", abort=True, err=True)
    pushed = push.perform(made, wants, target, receipts=STATE / "receipts.jsonl", talk=output.talk)
    output.show(pushed.model_dump(mode="json"), _lines(made, pushed))


def _lines(plan: Plan, pushed: Pushed) -> Iterator[str]:
    for repo in plan.repos:
        if repo.changes or repo.needs_tag:
            yield f"published {repo.kind} {repo.repo} {repo.tag}, {count(len(repo.changes), 'file')} changed"
            yield f"  {repo.url}"
        elif repo.visibility:
            yield f"made {repo.kind} {repo.repo} {'public' if repo.visibility == 'show' else 'private'}"
    if plan.collection:
        yield f"the collection {plan.collection.title} is up to date"
    offered = sum(repo.upload_bytes for repo in plan.repos)
    if pushed.sent_bytes is not None and offered:
        yield f"sent {human_bytes(pushed.sent_bytes)} for {human_bytes(offered)} of new and changed files"
