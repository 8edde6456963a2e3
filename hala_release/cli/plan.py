"""hala-release plan"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hala_release.cli.options import card_option, connect, hub_option, release_argument
from hala_release.cli.output import Output, output_options
from hala_release.units import count, human_bytes

if TYPE_CHECKING:
    from hala_release.plan import Plan, RepoPlan, Settle


@click.command()
@release_argument
@hub_option
@card_option
@output_options
def command(release: Path, hub: str | None, settle: Settle | None, as_json: bool, quiet: bool) -> None:
    """Show what a push would change.

    The Hub is read, and nothing is touched.
    """
    from hala_release.plan import make
    from hala_release.release import load
    from hala_release.wanted import wanted

    loaded = load(release)
    plan = make(loaded, wanted(loaded, release.parent), connect(hub, quiet=quiet), settle=settle)
    Output(as_json=as_json, quiet=quiet).show(plan.model_dump(mode="json", by_alias=True), plan_lines(plan))


def plan_lines(plan: Plan) -> Iterator[str]:
    """Return a plan as a reader sees it."""
    for repo in plan.repos:
        if repo.card_differs:
            yield f"note: the card of {repo.repo} would read otherwise now; raise `version` to publish it"
    if plan.is_nothing:
        yield f"{plan.release} {plan.version} is published on {plan.endpoint}; nothing to do"
        return
    yield f"{plan.release} {plan.version} on {plan.endpoint}"
    for repo in plan.repos:
        yield ""
        yield from _repo_lines(repo)
    if plan.collection:
        yield ""
        yield f"collection {plan.collection.title}" + ("" if plan.collection.slug else ", new")
        yield from (f"  + {kind} {repo}" for kind, repo in plan.collection.add)
        if plan.collection.slug and not plan.collection.add:
            yield f"  make it {'private' if plan.collection.private else 'public'}"
    yield ""
    commits = sum(bool(repo.changes) for repo in plan.repos)
    total = sum(repo.upload_bytes for repo in plan.repos)
    yield f"{count(commits, 'commit')}, {human_bytes(total)} of new and changed files"


_SETTLED = {
    None: "push needs --card ours, theirs or pr",
    "ours": "the release's word is taken",
    "theirs": "it stays",
    "pr": "it stays, and the release's word is proposed",
}


def _repo_lines(repo: RepoPlan) -> Iterator[str]:
    yield f"{repo.kind} {repo.repo}" + (", new" if repo.create else ", nothing to do" if repo.is_nothing else "")
    for change in repo.changes:
        match change.before, change.after:
            case None, after:
                yield f"  + {change.path}  {human_bytes(after or 0)}"
            case before, None:
                yield f"  - {change.path}  {human_bytes(before or 0)}"
            case before, after:
                yield f"  ~ {change.path}  {human_bytes(before or 0)} -> {human_bytes(after or 0)}"
    for conflict in repo.conflicts:
        yield f"  ! the {conflict.kind} `{conflict.name}` of the card was changed on the Hub: {_SETTLED[repo.settled]}"
    for path in repo.unregistered:
        yield f"  without {path}: its dataset is no registered benchmark of this Hub"
    if repo.needs_tag:
        yield f"  tag {repo.tag}"
    if repo.visibility == "show":
        yield "  make it public, once the whole release is tagged"
    elif repo.visibility == "hide":
        yield "  make it private, before anything is sent"
    elif repo.create:
        yield "  keep it private"
