"""Perform a plan, in the one order that never shows a reader half a family.

    create, private    every new repository
    stage              every blob of every repository: content-addressed, invisible
    commit             one per repository, on the commit that the plan was made from
    verify             the remote tree against the manifest
    tag                every repository, after all of them are right
    show               new repositories become visible
    Spaces             the same for each, with the commits of the models in it; before its tag it has to run and answer,
                       or it goes back to what it was
    collect            the collection, last

A repository that is to be private is hidden first, before anything of the release is in it.

Resuming is planning again. After an error in a commit the Hub is read before anything else is done, because an
answer of 500 can follow a commit that happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hala_release import card, live
from hala_release.disk import append_line
from hala_release.errors import CheckFailed, HubError, HubMoved, HubUnavailable, TagTaken
from hala_release.finding import Finding
from hala_release.hub import Hub, Staged
from hala_release.manifest import Kind, Record, SpaceFacts
from hala_release.plan import CollectionPlan, Plan, RepoPlan
from hala_release.release import SpaceArtifact
from hala_release.talk import Talk, silence
from hala_release.wanted import Change, Wanted


class Receipt(Record):
    """What was done to one repository."""

    time: datetime
    release: str
    version: str
    endpoint: str
    kind: Kind
    repo: str
    commit: str
    tag: str
    files: int
    """Files that changed."""


class Pushed(Record):
    """What a push did."""

    receipts: tuple[Receipt, ...]
    sent_bytes: int | None
    """Bytes that the Hub received for the commits and their blobs; None where the Hub does not tell."""


@dataclass
class _Work:
    """One repository on its way through the phases."""

    plan: RepoPlan
    want: Wanted
    changes: tuple[Change, ...] = ()
    parent: str = ""
    staged: Staged | None = None
    commit: str = ""

    @property
    def is_new(self) -> bool:
        """Whether nobody else has seen the repository yet."""
        return self.plan.create or self.plan.visibility == "show"


def is_settled(plan: Plan) -> None:
    """Return when the plan asks nothing more of anybody.

    Raises:
        CheckFailed: people changed on the Hub what the release would change, and nobody said whose word counts.
    """
    if plan.unsettled:
        raise CheckFailed(
            "people changed on the Hub what this release would change, too",
            findings=[finding for repo in plan.unsettled for finding in _conflicts(repo)],
            fix="push with --card ours, theirs or pr; `hala-release card diff` shows both",
        )


def perform(plan: Plan, wanted: Sequence[Wanted], hub: Hub, *, receipts: Path, talk: Talk = silence) -> Pushed:
    """Do what the plan says.

    Args:
        wanted: what the plan was made from.
        receipts: file of JSON lines; every repository is noted there when it is tagged.
        talk: called with a sentence before each step.

    Raises:
        CheckFailed: people changed on the Hub what the release would change, and nobody said whose word counts.
        BundleChanged: files are not those that were sealed; nothing was sent.
        HubMoved: a repository changed since the plan; nothing of this release is tagged.
        HubError: the Hub refused or broke off. The same command goes on where this one stopped.
    """
    is_settled(plan)
    by_repo = {(want.kind, want.repo): want for want in wanted}
    works = [
        _Work(repo, _as_planned(repo, by_repo[repo.kind, repo.repo]), repo.changes)
        for repo in plan.repos
        if not repo.is_nothing
    ]
    talk(f"publishing as {hub.user()}")
    for work in works:
        talk(f"reading {work.want.bundle.root}")
        work.want.bundle.verify()
    for work in works:
        _card_is_accepted(work, hub)
    names = [(work.plan.kind, work.plan.repo) for work in works]
    before = hub.received_bytes(names)
    for work in works:
        _is_as_planned(work, hub)
    done = _publish([work for work in works if work.plan.kind != "space"], plan, hub, receipts, talk)
    for work in works:
        _propose(work, plan, hub, talk)
    pins = {repo.repo: repo.commit for repo in plan.repos if repo.kind == "model" and repo.commit}
    pins |= {work.plan.repo: work.commit for work in works if work.plan.kind == "model"}
    for work in works:
        if work.plan.kind == "space":
            work.want = work.want.pinned(pins)
            if work.plan.changes:
                tree = {} if work.plan.create else hub.tree(work.plan.kind, work.plan.repo, work.parent)
                work.changes = work.want.changes(tree)
            done += _publish([work], plan, hub, receipts, talk)
    after = hub.received_bytes(names)
    if plan.collection:
        _collect(plan.collection, hub, talk)
    # A Hub that was started again in between counts from zero, so it does not tell either.
    sent = after - before if before is not None and after is not None and after >= before else None
    return Pushed(receipts=tuple(done), sent_bytes=sent)


def _publish(works: Sequence[_Work], plan: Plan, hub: Hub, receipts: Path, talk: Talk) -> list[Receipt]:
    """Bring repositories to the Hub together: none is tagged before all are right, none shown before all are tagged."""
    for work in works:
        _open(work, hub, talk)
    for work in works:
        if work.plan.visibility == "hide":
            _show_or_hide(work, hub, talk)
    for work in works:
        _stage(work, hub, talk)
    for work in works:
        _commit(work, hub, f"Release {plan.release} {plan.version}", talk)
    for work in works:
        _verify(work, hub, talk)
    for work in works:
        if isinstance(work.want.artifact, SpaceArtifact) and work.plan.needs_tag:
            space, whole = work.want.artifact, work.want.family
            live.prove(space, work.plan.repo, work.commit, whole, hub, is_new=work.is_new, talk=talk)
    done = [_tag(work, plan, hub, receipts, talk) for work in works]
    for work in works:
        if work.plan.visibility == "show":
            _show_or_hide(work, hub, talk)
    return done


def _as_planned(plan: RepoPlan, want: Wanted) -> Wanted:
    return want.revised(text=plan.card, without=plan.unregistered) if plan.card or plan.unregistered else want


def _conflicts(repo: RepoPlan) -> Iterator[Finding]:
    for conflict in repo.conflicts:
        yield Finding(
            level="error",
            where=f"{repo.repo}, {card.NAME}",
            message=f"the {conflict.kind} `{conflict.name}` was changed on the Hub",
            fix="keep theirs, take ours, or propose ours in a pull request",
        )


def _card_is_accepted(work: _Work, hub: Hub) -> None:
    if any(change.path == card.NAME and change.after is not None for change in work.plan.changes):
        hub.validate_card(work.plan.kind, work.plan.repo, work.want.card)


def _is_as_planned(work: _Work, hub: Hub) -> None:
    """See that the repository is where the plan saw it, and that the token may write, before anything is made."""
    if work.plan.parent is None:
        return
    kind, repo = work.plan.kind, work.plan.repo
    hub.may_write(kind, repo)
    head = hub.head(kind, repo)
    if head is None or head.commit != work.plan.parent:
        where = f"it was at {work.plan.parent}, it is at {head.commit}" if head else "it is gone"
        raise HubMoved(f"{repo} changed since the plan: {where}", fix=_FIX_MOVED)
    work.parent = work.commit = head.commit
    if not work.plan.needs_tag:  # main may have moved on since; what was tagged is the release
        work.commit = hub.commit_of(kind, repo, work.plan.tag) or head.commit


def _open(work: _Work, hub: Hub, talk: Talk) -> None:
    if not work.plan.create:
        return
    kind, repo = work.plan.kind, work.plan.repo
    talk(f"creating {kind} {repo}, private for now")
    facts = work.want.bundle.manifest.facts
    hub.create(kind, repo, sdk=facts.sdk if isinstance(facts, SpaceFacts) else None)
    head = hub.head(kind, repo)
    if head is None:
        raise HubMoved(f"{repo} was created, and is gone again", fix=_FIX_MOVED)
    work.parent = work.commit = head.commit


_FIX_MOVED = "run `hala-release plan` to see what is new, then push"


def _stage(work: _Work, hub: Hub, talk: Talk) -> None:
    if not work.changes:
        return
    sent = [change.path for change in work.changes if change.after is not None]
    size_of = sum(change.after or 0 for change in work.changes)
    number, size = f"{len(sent):,} of {len(work.want.entries):,} files", f"{size_of:,} bytes"
    talk(f"sending {number} to {work.plan.repo}, {size}")
    files = {path: (work.want.source(path), work.want.entries[path].sha256) for path in sent}
    work.staged = hub.stage(work.plan.kind, work.plan.repo, files)


def _commit(work: _Work, hub: Hub, title: str, talk: Talk) -> None:
    if work.staged is None:
        return
    kind, repo = work.plan.kind, work.plan.repo
    talk(f"committing to {repo}")
    lost = [change.path for change in work.changes if change.after is None]
    try:
        work.commit = hub.commit(kind, repo, work.staged, delete=lost, parent=work.parent, title=title)
    except HubError:
        head = hub.head(kind, repo)
        if head is None or head.commit == work.parent or work.want.changes(hub.tree(kind, repo, head.commit)):
            raise
        work.commit = head.commit  # the Hub had done it before it failed


def _verify(work: _Work, hub: Hub, talk: Talk) -> None:
    talk(f"verifying {work.plan.repo} on the Hub")
    changes = work.want.changes(hub.tree(work.plan.kind, work.plan.repo, work.commit))
    if wrong := changes if work.plan.needs_tag else work.want.sealed(changes):
        raise HubError(
            f"{work.plan.repo} at {work.commit} does not hold what was sent: {len(wrong)} files differ, "
            f"the first is {wrong[0].path}; nothing was tagged",
            fix="run the same command again; if it stays so, the Hub or the disk is at fault",
        )
    if any(path.startswith(card.LEADERBOARDS) for path in work.want.paths):
        problems = hub.refused_evaluations(work.plan.repo, work.commit)
        if problems:
            raise HubError(
                f"{work.plan.repo}: the Hub does not accept these entries of leaderboards:\n"
                + "\n".join(f"  {problem}" for problem in problems)
                + "\nnothing was tagged",
                fix="correct `eval_results` in release.yaml, or take it out",
            )


def _propose(work: _Work, plan: Plan, hub: Hub, talk: Talk) -> None:
    if work.plan.proposal is None:
        return
    try:
        try:
            url = _proposed(work, plan, hub, work.plan.proposal)
        except HubUnavailable:
            url = _proposed(work, plan, hub, work.plan.proposal)  # first sees whether the Hub had done it
    except HubError as error:
        raise HubError(
            f"{work.plan.repo} {work.plan.tag} is published, but its card could not be proposed: {error}",
            fix="`hala-release card diff` shows what it would be; open the pull request by hand",
        ) from error
    talk(
        f"{work.plan.repo}: the card is proposed at {url}" if url else f"{work.plan.repo}: the card was proposed before"
    )


def _proposed(work: _Work, plan: Plan, hub: Hub, text: str) -> str | None:
    return hub.propose(
        work.plan.kind,
        work.plan.repo,
        card.NAME,
        text.encode(),
        parent=work.commit,
        title=f"Card of {plan.release} {plan.version}",
        description="People changed parts of this card that hala-release writes. This is how it would write them.",
    )


def _tag(work: _Work, plan: Plan, hub: Hub, receipts: Path, talk: Talk) -> Receipt:
    kind, repo, tag = work.plan.kind, work.plan.repo, work.plan.tag
    if work.plan.needs_tag:
        talk(f"tagging {repo} {tag}")
        try:
            hub.tag(kind, repo, tag, work.commit)
        except HubError as error:
            match hub.commit_of(kind, repo, tag):
                case work.commit:
                    pass  # the Hub had done it before it failed, or another push of this release did
                case None:
                    raise
                case other:
                    raise TagTaken(
                        f"{repo} got the tag {tag} from someone else meanwhile, on {other}",
                        fix="run `hala-release plan` to see what is there",
                    ) from error
    receipt = Receipt(
        time=datetime.now(UTC),
        release=plan.release,
        version=plan.version,
        endpoint=plan.endpoint,
        kind=kind,
        repo=repo,
        commit=work.commit,
        tag=tag,
        files=len(work.changes),
    )
    append_line(receipts, receipt.model_dump_json())
    return receipt


def _show_or_hide(work: _Work, hub: Hub, talk: Talk) -> None:
    talk(f"making {work.plan.repo} {'public' if work.plan.visibility == 'show' else 'private'}")
    hub.set_private(work.plan.kind, work.plan.repo, private=work.plan.visibility == "hide")


def _collect(plan: CollectionPlan, hub: Hub, talk: Talk) -> None:
    talk(f"bringing the collection {plan.title} up to date")
    if plan.slug is None:
        slug = hub.create_collection(plan.namespace, plan.title, plan.description, private=plan.private)
    else:
        slug = plan.slug
        hub.set_collection_private(slug, private=plan.private)
    for kind, repo in plan.add:
        hub.collect(slug, kind, repo)
