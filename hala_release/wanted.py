"""What a repository is to hold, and how that differs from what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hala_release import card, regions
from hala_release.bundle import Bundle
from hala_release.disk import git_blob_id
from hala_release.errors import ConfigError, ContractError
from hala_release.family import Family, Member, family, member
from hala_release.finding import Finding
from hala_release.manifest import FileEntry, Record
from hala_release.regions import Conflict, Side
from hala_release.release import Release

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
    """The bundle's files, the card and what goes with it, for one repository."""

    def __init__(
        self, member: Member, family: Family, *, text: str | None = None, without: Collection[str] = ()
    ) -> None:
        """Render the card of a member, unless it is given.

        Args:
            text: the card with people's words in it.
            without: files that go with the card and are not wanted on this Hub.

        Raises:
            ConfigError: the bundle is of another kind than the artifact.
            ContractError: a report is none.
        """
        self.member = member
        self.artifact = member.artifact
        self.kind = member.artifact.kind
        self.repo = family.release.repo_id(member.artifact.repo)
        self.bundle: Bundle = member.bundle
        self.card = text if text is not None else card.render(member, family)
        self.family = family
        self._without = frozenset(without)

    @property
    def page(self) -> str:
        """Path of the repository's page on the Hub: datasets and models may share a name."""
        return self.repo if self.kind == "model" else f"{self.kind}s/{self.repo}"

    @cached_property
    def rendered(self) -> dict[str, bytes]:
        """What is not of the bundle, by path: the card, charts, results."""
        files = {path: data for path, data in card.files(self.member, self.family).items() if path not in self._without}
        return {card.NAME: self.card.encode(), **files}

    @cached_property
    def entries(self) -> dict[str, FileEntry]:
        """Every file by path."""
        made = {
            path: FileEntry(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())
            for path, data in self.rendered.items()
        }
        return {**{entry.path: entry for entry in self.bundle.manifest.files}, **made}

    @property
    def paths(self) -> frozenset[str]:
        """Every path, of which nothing has to be drawn."""
        sealed = {entry.path for entry in self.bundle.manifest.files}
        return frozenset({card.NAME, *sealed, *card.beside(self.member, self.family)} - self._without)

    @property
    def leaderboards(self) -> Mapping[str, str]:
        """Files that enter a leaderboard of the Hub, with the dataset that has to be a registered benchmark."""
        return card.leaderboards(self.member)

    def meeting(self, live: str | None, benchmarks: Collection[str], take: Side | None = None) -> Meeting:
        """Return what is wanted of a repository that has a card and of a Hub that knows benchmarks.

        The card of a Space is part of its bundle, and is not merged.

        Args:
            live: the card that is there.
            benchmarks: datasets that are registered.
            take: whose word counts where people changed what is ours.

        Raises:
            PayloadInvalid: the card that is there cannot be read.
        """
        if self.kind == "space":
            return Meeting(self, ())
        merged = regions.merge(self.card, live, take=take, strict=card.STRICT, where=f"the card of {self.repo}")
        without = [path for path, dataset in self.leaderboards.items() if dataset not in benchmarks]
        return Meeting(self.revised(text=merged.text, without=without), merged.conflicts)

    def pinned(self, pins: Mapping[str, str]) -> Wanted:
        """Return the same with models at other commits; only what a Space holds depends on them.

        Args:
            pins: repository id of a model -> commit.
        """
        return self if self.kind != "space" else Wanted(self.member, self.family._replace(pins=pins))

    def revised(self, *, text: str | None, without: Collection[str]) -> Wanted:
        """Return the same with another card, and without files that go with it."""
        return Wanted(self.member, self.family, text=self.card if text is None else text, without=without)

    def source(self, path: str) -> Path | bytes:
        """Return a file's bytes, or the file on disk that has them."""
        return self.rendered[path] if path in self.rendered else self.bundle.files / path

    def changes(self, tree: Mapping[str, RemoteFile]) -> tuple[Change, ...]:
        """Return what has to change for `tree` to hold exactly this."""
        differing = [
            Change(path=path, before=tree[path].size if path in tree else None, after=entry.size)
            for path, entry in sorted(self.entries.items())
            if not self._holds(tree.get(path), entry)
        ]
        surplus = [
            path for path in sorted(tree.keys() - self.entries.keys() - HUB_OWNED) if not card.is_of_others(path)
        ]
        return (*differing, *(Change(path=path, before=tree[path].size, after=None) for path in surplus))

    def sealed(self, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Return those of the changes that are in sealed files: what is rendered changes without a seal."""
        if self.kind == "space":
            made = {card.NAME, *card.beside(self.member, self.family)}
            return tuple(change for change in changes if change.path not in made)
        return tuple(change for change in changes if not card.is_rendered(change.path))

    def _holds(self, remote: RemoteFile | None, entry: FileEntry) -> bool:
        if remote is None or remote.size != entry.size:
            return False
        if remote.sha256 is not None:
            return remote.sha256 == entry.sha256
        data = self.rendered[entry.path] if entry.path in self.rendered else self.bundle.read(entry)
        return remote.blob_id == git_blob_id(data)


class Meeting(NamedTuple):
    """What is wanted of a repository as it is."""

    wanted: Wanted
    conflicts: tuple[Conflict, ...]
    """Where people changed what is ours, and we would change it, too."""


class Opened(NamedTuple):
    """A release as far as it could be opened."""

    wanted: tuple[Wanted, ...]
    findings: tuple[Finding, ...]
    """What could not."""


def wanted(release: Release, root: Path, *, rehash: bool = False) -> tuple[Wanted, ...]:
    """Open every bundle of a release, see that it is what was sealed, and render the cards, first what comes first.

    Args:
        root: the directory that the release's paths start from.
        rehash: read every payload file again, also those that did not change since they were last read.

    Raises:
        ContractError: a bundle is missing, unfinished, or not what was sealed; results are of another model.
        ConfigError: it is of another kind than the artifact.
    """
    members = [member(artifact, root, rehash=rehash) for artifact in release.in_order]
    whole = family(release, members, root)
    return tuple(Wanted(one, whole) for one in members)


def opened(release: Release, root: Path, *, rehash: bool = False) -> Opened:
    """Do the same, and return as findings what is wrong with single artifacts."""
    members, found, wants = [], [], []
    for artifact in release.in_order:
        try:
            members.append(member(artifact, root, rehash=rehash))
        except (ContractError, ConfigError) as error:
            found.append(Finding(level="error", where=artifact.repo, message=str(error), fix=error.fix))
    whole = family(release, members, root)
    for one in members:
        try:
            wants.append(Wanted(one, whole))
        except (ContractError, ConfigError) as error:
            found.append(Finding(level="error", where=one.artifact.repo, message=str(error), fix=error.fix))
    return Opened(tuple(wants), tuple(found))
