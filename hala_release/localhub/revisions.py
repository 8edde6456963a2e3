"""From what a reader writes (branch, tag, commit, full ref, path) to objects of a repository."""

from __future__ import annotations

from dataclasses import dataclass

from hala_release.localhub import git, names
from hala_release.localhub.refused import Refused
from hala_release.localhub.store import Repo


@dataclass(frozen=True)
class Found:
    """An object at a path of a commit."""

    commit: str
    oid: str
    kind: str
    size: int


def _candidates(revision: str) -> list[str]:
    """Where git looks, in order; a branch wins over a tag, both over an abbreviated commit."""
    if revision == "HEAD":
        return ["refs/heads/main"]
    if revision.startswith("refs/"):
        return [] if revision.startswith(git.INCOMING) else [revision]
    places = [f"refs/heads/{revision}", f"refs/tags/{revision}"]
    return [*places, revision] if names.SHA.fullmatch(revision) else places


def commit(repo: Repo, revision: str) -> str:
    """The commit that a revision stands for."""
    found = git.check(repo.git_dir, (f"{c}^{{commit}}" for c in _candidates(names.revision(revision))))
    for candidate in found:
        if candidate:
            return candidate[0]
    raise missing(revision)


def at(repo: Repo, revision: str, path: str) -> Found:
    """The file or directory at a path of a revision; one git process for both questions."""
    asked = [
        line for c in _candidates(names.revision(revision)) for line in (f"{c}^{{commit}}", f"{c}:{names.path(path)}")
    ]
    found = git.check(repo.git_dir, asked)
    for commit_found, entry in zip(found[::2], found[1::2], strict=True):
        if commit_found is None:
            continue
        if entry is None:
            raise Refused(404, "Entry not found", code="EntryNotFound", headers={"X-Repo-Commit": commit_found[0]})
        return Found(commit_found[0], *entry)
    raise missing(revision)


def missing(revision: str) -> Refused:
    """The refusal of a revision that does not exist."""
    return Refused(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
