"""How something was made, on whose terms, and from what: the part of a card that provenance writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hala_release import lineage
from hala_release.bundle import Bundle
from hala_release.escape import cell
from hala_release.family import Family
from hala_release.lineage import ALONG, Node
from hala_release.release import Artifact, DatasetArtifact, License, ModelArtifact, NamedLicense

DONE = {"train": "trained", "merge": "merged", "compress": "compressed"}
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "train": (
        *("epochs", "max_steps", "batch_size", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm"),
        *("max_length", "packing", "learn", "dtype", "seed"),
    ),
    "merge": ("method", "t"),
    "compress": ("scheme", "targets", "ignore", "rounding"),
}
"""What of a stage's configuration a reader needs to do it again."""


class Step(NamedTuple):
    """One stage on the way."""

    stage: str
    settings: tuple[tuple[str, str], ...]
    made_from: tuple[tuple[str, str], ...]
    """(what it was to the stage, what it is called)"""
    tools: tuple[tuple[str, str], ...]
    """(library, version)"""


class Translator(NamedTuple):
    """A model that translated rows."""

    name: str
    prompt: tuple[tuple[str, str], ...]
    """(role, text) of the messages; `{text}` stands for the row's."""


class Terms(NamedTuple):
    """A work and its license."""

    what: str
    """What it is to this one."""
    name: str
    kind: str
    revision: str
    license: str
    """As Markdown; empty where nobody said it."""


def names(family: Family) -> dict[str, str]:
    """Return what the bundles of a release are called on the Hub, by digest."""
    return {one.bundle.manifest_sha256: family.release.repo_id(one.artifact.repo) for one in family.members}


def steps(bundle: Bundle, called: Mapping[str, str]) -> tuple[Step, ...]:
    """Return the stages that made a model's weights, the first one first; none for what another tool made."""
    nodes = lineage.graph(bundle)
    found: list[Step] = []
    node: Node | None = nodes[bundle.manifest_sha256]
    while node and node.about and node.about.stage in ALONG:
        about = node.about
        found.append(
            Step(
                stage=about.stage,
                settings=tuple(_settings(about.config, SETTINGS[about.stage])),
                made_from=tuple((role, _described(nodes[digest], nodes, called)) for role, digest in node.inputs),
                tools=tuple(sorted(about.tools.items())),
            )
        )
        below = next((digest for role, digest in node.inputs if role == ALONG[about.stage]), None)
        node = nodes[below] if below else None
    return tuple(reversed(found))


def translators(bundle: Bundle, called: Mapping[str, str]) -> tuple[Translator, ...]:
    """Return the models that translated rows of a dataset, with what they were asked."""
    nodes = lineage.graph(bundle)
    found = []
    for node in nodes.values():
        if node.about and node.about.stage == "translate":
            models = [_described(nodes[digest], nodes, called) for role, digest in node.inputs if role == "model"]
            server = node.about.config.get("server")
            named = server.get("model") if isinstance(server, dict) else None
            found.append(Translator(models[0] if models else str(named or ""), _prompt(node.about.config)))
    return tuple(dict.fromkeys(found))


def tree(bundle: Bundle, called: Mapping[str, str]) -> tuple[str, ...]:
    """Return all that something was made from as the lines of a tree; empty for what has no inputs."""
    nodes = lineage.graph(bundle)
    if len(nodes) < 2:
        return ()

    def words(node: Node) -> str:
        name, stage = _called(node, called), node.about.stage if node.about else "not known"
        digest = node.manifest_sha256[:12]
        return f"{stage}, {digest}" if name in {stage, digest} else f"{name} ({stage}, {digest})"

    return tuple(lineage.draw(nodes, bundle.manifest_sha256, words))


def chain(artifact: Artifact, family: Family) -> tuple[Terms, ...]:
    """Return what an artifact is made from with the terms of each, itself first."""
    release = family.release
    terms = license_words(artifact.license or release.license)
    own = Terms("this repository", release.repo_id(artifact.repo), artifact.kind, release.tag, terms)
    found = {(own.kind, own.name): own}
    match artifact:
        case ModelArtifact():
            role = "base" if artifact.base and len(artifact.base) == 1 else "parent"
            made_from = [(name, role, "model") for name in artifact.base or ()]
            made_from += [(release.repo_id(name), "training data", "dataset") for name in artifact.datasets]
        case DatasetArtifact():
            made_from = [(name, "source", "dataset") for name in artifact.sources]
        case _:
            made_from = []
    bundle = family.bundle_of(artifact.kind, artifact.repo)
    nodes = [node.about for node in lineage.graph(bundle).values() if node.about] if bundle else []
    fetched = {(node.kind, str(node.config["repo"])): node.config for node in nodes if node.config.get("repo")}
    named = [(kind, name, what) for name, what, kind in made_from]
    further = [(kind, name, "further back") for kind, name in fetched if name not in {name for name, _, _ in made_from}]
    for kind, name, what in (*named, *further):
        revision = str(fetched.get((kind, name), {}).get("revision") or "")
        found.setdefault((kind, name), _terms(name, what, kind, revision, family))
    return tuple(found.values())


def license_words(terms: License, *, at: str = "") -> str:
    """Return a license as a reader sees it, with its link where it has one.

    Args:
        at: page of the repository whose license it is; without it, the one that the words stand in.
    """
    match terms:
        case NamedLicense(name=name, link=link):
            return f"[{cell(name)}]({f'{at}/blob/main/{link}' if at and '://' not in link else link})"
        case ids:
            return ", ".join(ids)


def _terms(name: str, what: str, kind: str, revision: str, family: Family) -> Terms:
    release, page = family.release, _page(name, kind)
    for one in family.members:
        if release.repo_id(one.artifact.repo) == name and one.artifact.kind == kind:
            terms = license_words(one.artifact.license or release.license, at=page)
            return Terms(what, name, kind, release.tag, terms)
    if known := release.upstream.get(name):
        return Terms(what, name, kind, known.revision or revision, license_words(known.license, at=page))
    return Terms(what, name, kind, revision, "")


def _page(name: str, kind: str) -> str:
    return f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name}"


def _called(node: Node, called: Mapping[str, str]) -> str:
    if name := called.get(node.manifest_sha256):
        return name
    if node.origin:
        return node.origin
    if node.about is None:
        return node.manifest_sha256[:12]
    config = node.about.config
    local = config.get("local")
    source = local.get("name") if isinstance(local, dict) else config.get("source")
    return str(source) if node.about.stage == "ingest" and source else node.about.name


def _described(node: Node, nodes: Mapping[str, Node], called: Mapping[str, str]) -> str:
    """Return what a model is called, or what it was before something was done to it: `teacher (compressed)`."""
    name = _called(node, called)
    if node.about is None or name != node.about.stage or name not in DONE:
        return name
    below = next((digest for role, digest in node.inputs if role == ALONG[name]), None)
    return f"{_described(nodes[below], nodes, called)} ({DONE[name]})" if below else name


def _settings(config: Mapping[str, object], keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key in keys:
        match config.get(key):
            case None:
                pass
            case bool() as value:
                yield key, "yes" if value else "no"
            case list() as values:
                yield key, ", ".join(str(value) for value in values)
            case value:
                yield key, str(value)


def _prompt(config: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    messages = config.get("messages")
    if not isinstance(messages, list):
        return ()
    return tuple((str(one.get("role", "")), str(one.get("content", ""))) for one in messages if isinstance(one, dict))
