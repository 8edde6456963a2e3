"""Read back what was published, without downloading it: the tagged trees against the manifests."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from hala_release import card
from hala_release.card.app import NAME as APP
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
    if (
        APP in tree
        and APP in want.rendered
        and (other := _other_models(want, hub.text(want.kind, want.repo, APP, tagged)))
    ):
        yield _error(f"{want.repo}, {APP}", f"at {release.tag} it shows other models: {other}", _FIX_TAGGED)
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


def _other_models(want: Wanted, text: str) -> str:
    """Return the models that a Space names with other commits than their tags do."""
    ours = json.loads(want.rendered[APP])["models"]
    try:
        theirs = {name: model["revision"] for name, model in json.loads(text)["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its file cannot be read"
    return ", ".join(name for name, model in ours.items() if theirs.get(name) != model["revision"])


def _difference(change: Change) -> str:
    if change.before is None:
        return "missing"
    return "not part of the release, but there" if change.after is None else "other bytes than were sealed"


_FIX_UNFINISHED = "run `hala-release push`, which ends what is unfinished"
_FIX_TAGGED = "raise `version` and push; tags never move"


def _error(where: str, message: str, fix: str = _FIX_UNFINISHED) -> Finding:
    return Finding(level="error", where=where, message=message, fix=fix)
