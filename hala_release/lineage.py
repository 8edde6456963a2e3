"""What a bundle was made from, back to what came from elsewhere: the chain of digests in provenance, as a graph."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hala_release.bundle import Bundle
from hala_release.errors import ContractError


class Node(NamedTuple):
    """One bundle of a graph."""

    manifest_sha256: str
    bundle: Bundle | None
    """None where it is not among the directories that were searched."""
    inputs: tuple[tuple[str, str], ...]
    """(what it was to the stage, manifest_sha256)"""

    @property
    def origin(self) -> str | None:
        """What it is called elsewhere, where it came from there: a repository and its commit."""
        config = self.bundle.manifest.provenance.config if self.bundle else {}
        repo, revision = config.get("repo"), config.get("revision")
        return f"{repo}@{str(revision)[:12]}" if repo and revision else None


def graph(bundle: Bundle, among: Sequence[Path]) -> dict[str, Node]:
    """Return a bundle and all that it was made from, by digest, itself first.

    Args:
        among: directories in which the others are looked for, at any depth.
    """
    known = {one.manifest_sha256: one for folder in among for one in _bundles(folder)}
    found: dict[str, Node] = {}
    waiting = [bundle.manifest_sha256]
    known[bundle.manifest_sha256] = bundle
    while waiting:
        digest = waiting.pop(0)
        if digest in found:
            continue
        one = known.get(digest)
        made_from = one.manifest.provenance.inputs if one else ()
        found[digest] = Node(digest, one, tuple((given.name, given.manifest_sha256) for given in made_from))
        waiting += [given.manifest_sha256 for given in made_from]
    return found


def _bundles(folder: Path) -> Iterator[Bundle]:
    """Every finished bundle under a directory; what is inside of one is its own."""
    for place, folders, names in os.walk(folder):
        if "manifest.json" in names and "files" in folders:
            folders.clear()
            try:
                yield Bundle.open(Path(place))
            except ContractError:
                continue  # something else that is called manifest.json
