"""A release whose bundles are open: what every card of it is rendered from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hala_release import reported, results
from hala_release.bundle import Bundle
from hala_release.release import Artifact, Release, under
from hala_release.reported import Reported
from hala_release.results import Results


class Member(NamedTuple):
    """One repository to be."""

    artifact: Artifact
    bundle: Bundle
    results: Results


class Family(NamedTuple):
    """Everything that goes out together."""

    release: Release
    members: tuple[Member, ...]
    """In the order of publication."""
    reported: tuple[Reported, ...] = ()
    pins: Mapping[str, str] = {}
    """The commit of this version, by repository id of the models that have one."""

    def bundle_of(self, kind: str, repo: str) -> Bundle | None:
        """Return the bundle of a repository, if it is one of the family."""
        wanted = self.release.repo_id(repo)
        return next(
            (
                member.bundle
                for member in self.members
                if member.artifact.kind == kind and self.release.repo_id(member.artifact.repo) == wanted
            ),
            None,
        )


def member(artifact: Artifact, root: Path, *, rehash: bool = False) -> Member:
    """Open an artifact's bundle and its results, and see that they are what was sealed.

    Args:
        root: the directory that the release's paths start from.
        rehash: read every payload file again, also those that did not change since they were last read.

    Raises:
        ContractError: a bundle is missing, unfinished, or not what was sealed; results are of another model.
    """
    bundle = Bundle.open(artifact.bundle_under(root))
    bundle.verify(rehash=rehash)
    return Member(artifact, bundle, results.measured(artifact, bundle, root))


def family(release: Release, members: Sequence[Member], root: Path) -> Family:
    """Put open members together with what was reported elsewhere.

    Raises:
        ConfigError: a file of reported scores is missing or wrong.
    """
    return Family(release, tuple(members), tuple(reported.load(under(root, path)) for path in release.reported))
