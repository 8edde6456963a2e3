"""What a repository is to hold, and how that differs from what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hala_release import card, results
from hala_release.bundle import Bundle
from hala_release.disk import git_blob_id
from hala_release.manifest import FileEntry, Record
from hala_release.release import Artifact, Release

if TYPE_CHECKING:
    from hala_release.hub import RemoteFile

HUB_OWNED = {".gitattributes"}
"""Files that the Hub writes itself and a release leaves alone."""


class Change(Record):
    """One file that differs."""

    path: str
    before: int | None
    """Bytes on the Hub; None where there is no such file."""
    after: int | None
    """Bytes in the release; None where there is no such file."""


class Wanted:
    """The bundle's files and the card, for one repository."""

    def __init__(self, artifact: Artifact, bundle: Bundle, release: Release, measured: Sequence[Bundle] = ()) -> None:
        self.artifact = artifact
        self.kind = artifact.kind
        self.repo = release.repo_id(artifact.repo)
        self.bundle = bundle
        self.card = card.render(artifact, bundle, release, measured)
        digest = hashlib.sha256(self.card).hexdigest()
        self.entries = {entry.path: entry for entry in bundle.manifest.files}
        self.entries[card.NAME] = FileEntry(path=card.NAME, size=len(self.card), sha256=digest)

    @property
    def page(self) -> str:
        """Path of the repository's page on the Hub: datasets and models may share a name."""
        return self.repo if self.kind == "model" else f"{self.kind}s/{self.repo}"

    @classmethod
    def open(cls, artifact: Artifact, release: Release, root: Path, *, rehash: bool = False) -> Wanted:
        """Open an artifact's bundle and its results, see that they are what was sealed, and render its card.

        Args:
            root: the directory that the release's paths start from.
            rehash: read every payload file again, also those that did not change since they were last read.

        Raises:
            ContractError: a bundle is missing, unfinished, or not what was sealed; results are of another model.
            ConfigError: it is of another kind than the artifact.
        """
        bundle = Bundle.open(artifact.bundle_under(root))
        bundle.verify(rehash=rehash)
        return cls(artifact, bundle, release, results.measured(artifact, root))

    def source(self, path: str) -> Path | bytes:
        """Return a file's bytes, or the file on disk that has them."""
        return self.card if path == card.NAME else self.bundle.files / path

    def changes(self, tree: Mapping[str, RemoteFile]) -> tuple[Change, ...]:
        """Return what has to change for `tree` to hold exactly this."""
        differing = [
            Change(path=path, before=tree[path].size if path in tree else None, after=entry.size)
            for path, entry in sorted(self.entries.items())
            if not self._holds(tree.get(path), entry)
        ]
        surplus = sorted(tree.keys() - self.entries.keys() - HUB_OWNED)
        return (*differing, *(Change(path=path, before=tree[path].size, after=None) for path in surplus))

    def sealed(self, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Return those of the changes that are in sealed files: the words of a rendered card change without a seal."""
        return tuple(change for change in changes if change.path != card.NAME or self.kind == "space")

    def _holds(self, remote: RemoteFile | None, entry: FileEntry) -> bool:
        if remote is None or remote.size != entry.size:
            return False
        if remote.sha256 is not None:
            return remote.sha256 == entry.sha256
        data = self.card if entry.path == card.NAME else self.bundle.read(entry)
        return remote.blob_id == git_blob_id(data)


def wanted(release: Release, root: Path) -> tuple[Wanted, ...]:
    """Open every bundle of a release, in the order of publication; see `Wanted.open`."""
    return tuple(Wanted.open(artifact, release, root) for artifact in release.in_order)
