"""Release x Hub -> Plan: what a push would do. It touches nothing; a published release plans to nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field

from hala_release import card
from hala_release.errors import TagTaken
from hala_release.hub import Head, Hub
from hala_release.manifest import Kind, Record
from hala_release.regions import Conflict
from hala_release.release import Release
from hala_release.wanted import Change, Wanted

Settle = Literal["ours", "theirs", "pr"]


class RepoPlan(Record):
    """What a push would do to one repository."""

    kind: Kind
    repo: str
    url: str
    create: bool
    """Whether the repository is new; it stays private until the whole release is tagged."""
    parent: str | None
    """Commit that the changes are based on; None for a new repository."""
    changes: tuple[Change, ...]
    """Of a Space with models that are yet to be pushed: as if their commits were known."""
    commit: str | None
    """The commit that the tag of this version names; None where it is yet to be made."""
    tag: str
    needs_tag: bool
    """Whether the tag is yet to be made; where it exists it names exactly what was sealed."""
    card_differs: bool = False
    """Whether the card would read otherwise than the tagged one; only a new version can publish it."""
    visibility: Literal["show", "hide"] | None = None
    """How others' view of it changes: hidden before anything is sent, shown once the release is tagged."""
    card: str | None = None
    """The card as it will be, with what people wrote into it; None where it is as rendered."""
    conflicts: tuple[Conflict, ...] = ()
    """Where people changed on the Hub what the release would change, too."""
    settled: Settle | None = None
    """How the conflicts are settled: by the release's word, by theirs, or by theirs with a pull request of ours."""
    proposal: str | None = None
    """The card that the pull request proposes."""
    unregistered: tuple[str, ...] = ()
    """Entries of leaderboards that stay out, because their dataset is no registered benchmark of this Hub."""

    @property
    def is_nothing(self) -> bool:
        """Whether the repository is as the release wants it."""
        return not (self.create or self.changes or self.needs_tag or self.visibility)

    @property
    def upload_bytes(self) -> int:
        """Bytes of new and changed files. Of these Xet sends only the chunks that the Hub lacks."""
        return sum(change.after or 0 for change in self.changes)


class CollectionPlan(Record):
    """What a push would do to the family's collection."""

    namespace: str
    title: str
    description: str
    slug: str | None
    """None where it is to be created."""
    private: bool
    """As the release is, so that its name is not told before its time."""
    add: tuple[tuple[Kind, str], ...]


class Plan(Record):
    """Everything that a push would do."""

    schema_version: Literal[1] = Field(1, alias="schema")
    release: str
    version: str
    endpoint: str
    repos: tuple[RepoPlan, ...]
    collection: CollectionPlan | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether the release is published in full."""
        return self.collection is None and all(repo.is_nothing for repo in self.repos)

    @property
    def unsettled(self) -> tuple[RepoPlan, ...]:
        """Repositories with conflicts about which nobody has said whose word counts."""
        return tuple(repo for repo in self.repos if repo.conflicts and repo.settled is None)


def make(release: Release, wanted: Sequence[Wanted], hub: Hub, *, settle: Settle | None = None) -> Plan:
    """Compare what a release wants with the Hub.

    Args:
        settle: whose word counts where people changed on the Hub what the release would change, too.

    Raises:
        TagTaken: a tag of this version names other content.
        PayloadInvalid: a card on the Hub cannot be read.
    """
    benchmarks = hub.benchmarks() if any(want.leaderboards for want in wanted) else frozenset[str]()
    heads = [hub.head(want.kind, want.repo) for want in wanted]
    items: list[tuple[Kind, str]] = [
        (want.kind, head.repo if head else want.repo) for want, head in zip(wanted, heads, strict=True)
    ]
    repos: list[RepoPlan] = []
    for want, head in zip(wanted, heads, strict=True):
        pins = {repo.repo: repo.commit for repo in repos if repo.kind == "model" and repo.commit}
        repos.append(_repo_plan(release, want.pinned(pins), head, hub, benchmarks, settle))
    return Plan(
        release=release.name,
        version=release.version,
        endpoint=hub.endpoint,
        repos=tuple(repos),
        collection=_collection_plan(release, items, hub),
    )


def _repo_plan(
    release: Release, want: Wanted, head: Head | None, hub: Hub, benchmarks: Collection[str], settle: Settle | None
) -> RepoPlan:
    tagged = hub.commit_of(want.kind, want.repo, release.tag) if head else None
    commit = tagged or (head.commit if head else None)
    tree = hub.tree(want.kind, want.repo, commit) if commit else {}
    live = hub.text(want.kind, want.repo, card.NAME, commit) if commit and card.NAME in tree else None
    meeting = want.meeting(
        live, benchmarks, None if settle is None or tagged else "ours" if settle == "ours" else "theirs"
    )
    met = meeting.wanted
    changes = met.changes(tree)
    if tagged:
        _tag_is_ours(release, met, changes)
    proposes = settle == "pr" and meeting.conflicts and not tagged
    return RepoPlan(
        kind=want.kind,
        repo=want.repo,
        url=hub.url(want.kind, want.repo),
        create=head is None,
        parent=head.commit if head else None,
        changes=() if tagged else changes,
        commit=tagged,
        tag=release.tag,
        needs_tag=not tagged,
        card_differs=bool(tagged and changes),
        visibility=_visibility(release, head),
        card=met.card if met.card != want.card else None,
        conflicts=() if tagged else meeting.conflicts,
        settled=settle,
        proposal=want.meeting(live, benchmarks, "ours").wanted.card if proposes else None,
        unregistered=tuple(path for path in want.leaderboards if path not in met.paths),
    )


def _tag_is_ours(release: Release, want: Wanted, changes: Sequence[Change]) -> None:
    if sealed := want.sealed(changes):
        raise TagTaken(
            f"{want.repo} has the tag {release.tag} already, with other content: {len(sealed)} files differ, "
            f"the first is {sealed[0].path}",
            fix="give the release a new version; tags never move, so that whoever pinned one keeps what was pinned",
        )


def _visibility(release: Release, head: Head | None) -> Literal["show", "hide"] | None:
    private = True if head is None else head.private
    if release.visibility == "public":
        return "show" if private else None
    return None if private else "hide"


def _collection_plan(release: Release, items: Sequence[tuple[Kind, str]], hub: Hub) -> CollectionPlan | None:
    if release.collection is None:
        return None
    remote = hub.collection(release.namespace, release.collection.title)
    present = remote.items if remote else frozenset()
    add = tuple(item for item in items if item not in present)
    private = release.visibility == "private"
    if remote and not add and remote.private == private:
        return None
    return CollectionPlan(
        namespace=release.namespace,
        title=release.collection.title,
        description=release.collection.description,
        slug=remote.slug if remote else None,
        private=private,
        add=add,
    )
