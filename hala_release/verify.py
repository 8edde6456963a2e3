"""Read back what was published, without downloading it: the tagged trees against the manifests."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from hala_release import card
from hala_release.finding import Finding
from hala_release.hub import Hub
from hala_release.release import Release
from hala_release.wanted import Change, Wanted


def verify(release: Release, wanted: Sequence[Wanted], hub: Hub) -> list[Finding]:
    """Return how the Hub differs from the release at its tag; nothing where it is exactly what was sealed."""
    benchmarks = hub.benchmarks() if any(want.leaderboards for want in wanted) else frozenset[str]()
    pins: dict[str, str] = {}
    found: list[Finding] = []
    for want in wanted:
        found += _repository(release, want.pinned(pins), hub, benchmarks, pins)
    return found


def _repository(
    release: Release, want: Wanted, hub: Hub, benchmarks: Collection[str], pins: dict[str, str]
) -> Iterator[Finding]:
    """Yield what differs in one repository, and note the commit of a model."""
    head = hub.head(want.kind, want.repo)
    if head is None:
        yield _error(want.repo, f"there is no such {want.kind} on {hub.endpoint}, or this token may not see it")
        return
    if head.private != (release.visibility == "private"):
        yield _error(
            want.repo, f"it is {'private' if head.private else 'public'}, the release says {release.visibility}"
        )
    tagged = hub.commit_of(want.kind, want.repo, release.tag)
    if tagged is None:
        yield _error(want.repo, f"it has no tag {release.tag}")
        return
    if want.kind == "model":
        pins[want.repo] = tagged
    tree = hub.tree(want.kind, want.repo, tagged)
    live = hub.text(want.kind, want.repo, card.NAME, tagged) if card.NAME in tree else None
    met, conflicts = want.meeting(live, benchmarks)
    changes = met.changes(tree)
    sealed = want.sealed(changes)
    for change in sealed:
        yield _error(f"{want.repo}, {change.path}", f"{_difference(change)} at {release.tag}", _FIX_TAGGED)
    for conflict in conflicts:
        yield Finding(
            level="warning",
            where=f"{want.repo}, {card.NAME}",
            message=f"the {conflict.kind} `{conflict.name}` at {release.tag} is not as the release would write it",
            fix="see `hala-release card diff`; raise `version` and push with --card ours",
        )
    if len(changes) > len(sealed):
        yield Finding(
            level="warning",
            where=want.repo,
            message=f"the card at {release.tag} reads otherwise than it would be rendered now",
            fix="nothing, or raise `version` and push",
        )


def _difference(change: Change) -> str:
    if change.before is None:
        return "missing"
    return "not part of the release, but there" if change.after is None else "other bytes than were sealed"


_FIX_UNFINISHED = "run `hala-release push`, which ends what is unfinished"
_FIX_TAGGED = "raise `version` and push; tags never move"


def _error(where: str, message: str, fix: str = _FIX_UNFINISHED) -> Finding:
    return Finding(level="error", where=where, message=message, fix=fix)
