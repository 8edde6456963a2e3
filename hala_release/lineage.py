"""What a bundle was made from, back to what came from elsewhere: the chain of digests in provenance, as a graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hala_release.bundle import Bundle, ancestors
from hala_release.errors import ContractError
from hala_release.manifest import Ancestor


class Node(NamedTuple):
    """One bundle of a graph."""

    manifest_sha256: str
    about: Ancestor | None
    """What provenance says of it; None where nothing does."""
    bundle: Bundle | None
    """None where it is not among the directories that were searched."""

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """(what it was to the stage, manifest_sha256)"""
        return tuple((given.name, given.manifest_sha256) for given in self.about.inputs) if self.about else ()

    @property
    def origin(self) -> str | None:
        """What it is called elsewhere, where it came from there: a repository and its commit."""
        config = self.about.config if self.about else {}
        repo, revision = config.get("repo"), config.get("revision")
        return f"{repo}@{str(revision)[:12]}" if repo and revision else None


Graph = Mapping[str, Node]
ALONG = {"train": "base", "merge": "tuned", "compress": "model"}
"""Stages that make a model -> the input whose weights they go on with."""


def graph(bundle: Bundle, among: Sequence[Path] = ()) -> dict[str, Node]:
    """Return a bundle and all that it was made from, by digest, itself first.

    Args:
        among: directories in which the others are looked for, at any depth.
    """
    here = {one.manifest_sha256: one for folder in among for one in _bundles(folder)}
    here[bundle.manifest_sha256] = bundle
    told = {one.manifest_sha256: one for one in ancestors([bundle])}
    found: dict[str, Node] = {}
    waiting = [bundle.manifest_sha256]
    while waiting:
        digest = waiting.pop(0)
        if digest in found:
            continue
        if digest not in told and digest in here:
            told |= {one.manifest_sha256: one for one in ancestors([here[digest]])}
        found[digest] = Node(digest, told.get(digest), here.get(digest))
        waiting += [below for _, below in found[digest].inputs]
    return found


def parents(bundle: Bundle) -> set[str]:
    """Return the digests of the models whose weights went into a model's: bases, what was tuned or compressed."""
    nodes, found, waiting = graph(bundle), set[str](), [bundle.manifest_sha256]
    while waiting:
        node = nodes[waiting.pop()]
        if node.about and node.about.stage in ALONG:
            below = {digest for role, digest in node.inputs if role in ALONG.values()} - found
            found |= below
            waiting += below
    return found


def draw(nodes: Graph, root: str, words: Callable[[Node], str]) -> Iterator[str]:
    """Return a graph as the lines of a tree; what comes again is not drawn again."""
    return _drawn(nodes, root, words, "", "", set())


def _drawn(
    nodes: Graph, digest: str, words: Callable[[Node], str], first: str, rest: str, seen: set[str]
) -> Iterator[str]:
    node = nodes[digest]
    again = digest in seen and bool(node.inputs)
    yield first + words(node) + (", as above" if again else "")
    seen.add(digest)
    for number, (role, below) in enumerate(() if again else node.inputs, 1):
        last = number == len(node.inputs)
        branch, space = ("└─ ", "   ") if last else ("├─ ", "│  ")
        shown = "".join(c for c in role if c.isprintable())
        yield from _drawn(nodes, below, words, f"{rest}{branch}{shown}: ", rest + space, seen)


def _bundles(folder: Path) -> Iterator[Bundle]:
    """Every finished bundle under a directory; what is inside of one is its own."""
    for place, folders, names in os.walk(folder):
        if "manifest.json" in names and "files" in folders:
            folders.clear()
            try:
                yield Bundle.open(Path(place))
            except ContractError:
                continue  # something else that is called manifest.json
