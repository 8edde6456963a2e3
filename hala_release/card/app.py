"""What a Space of the family is given: models pinned by their commits, what its page says of them, requirements."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hala_release import lineage
from hala_release.bundle import Bundle
from hala_release.card import charts, making, scores, words
from hala_release.card.scores import Table
from hala_release.card.shown import title
from hala_release.errors import ConfigError
from hala_release.family import Family, Member
from hala_release.manifest import ModelFacts
from hala_release.release import ModelArtifact, SpaceArtifact

NAME = "family.json"
ABOUT = {"en": "about.en.md", "ar": "about.ar.md"}
REQUIREMENTS = "requirements.txt"
ZERO = "requirements-zero.txt"
UNKNOWN = "0" * 40
"""Stands for the commit of a model that this release is yet to push."""
PYTHON = {"cpu": "3.11", "zero": "3.12.12"}
"""By the lock that is used: what it was resolved for, and what ZeroGPU has."""
_GRADIO = re.compile(r"^gradio==([0-9][0-9A-Za-z.]*)", re.MULTILINE)
_LOADED = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json"
    r"|chat_template\.jinja|merges\.txt|(tokenizer|spiece)\.model|[\w.-]+\.safetensors|model\.safetensors\.index\.json"
)
"""Files of a model that transformers loads."""


class Shown(NamedTuple):
    """A model as the page tells of it."""

    artifact: ModelArtifact
    bundle: Bundle
    facts: ModelFacts
    repo: str
    title: str
    revision: str
    license: str
    table: Table | None
    charts: Mapping[str, str]
    """`light` and `dark` -> path of the picture; empty where nothing was measured."""


def files(artifact: SpaceArtifact, member: Member, family: Family) -> dict[str, bytes]:
    """Return the files that the app reads, by path.

    Raises:
        ConfigError: the Space is to run on ZeroGPU and has no requirements for it.
    """
    if not artifact.is_app:
        return {}
    shown = tuple(_shown(artifact, family))
    made = {NAME: _json(artifact, shown, family)}
    values = {"models": shown, "release": family.release, "title": title(artifact), "out_of": 100}
    about = dict(words.regions("about", values))
    made |= {path: about[language].encode() for language, path in ABOUT.items()}
    for one in shown:
        if one.table:
            pictures = charts.draw(one.table, one.title)
            made |= {path: pictures[_PICTURES[theme]] for theme, path in one.charts.items()}
    if is_zero(artifact):
        made[REQUIREMENTS] = _requirements(artifact, member.bundle)
    return made


def paths(artifact: SpaceArtifact, family: Family) -> frozenset[str]:
    """Return the paths of what `files` makes, without making it."""
    if not artifact.is_app:
        return frozenset()
    pictures = {path for one in _shown(artifact, family) for path in one.charts.values()}
    return frozenset({NAME, *ABOUT.values(), *pictures, *([REQUIREMENTS] if is_zero(artifact) else [])})


def header(artifact: SpaceArtifact, member: Member, family: Family) -> dict[str, Any]:
    """Return the keys from which the Hub builds the app: they follow the lock, the models and the hardware.

    Raises:
        ConfigError: the requirements name no version of gradio.
    """
    if not artifact.is_app:
        return {}
    lock = _requirements(artifact, member.bundle).decode()
    pinned = _GRADIO.search(lock)
    if pinned is None:
        raise ConfigError(
            f"the requirements of {artifact.repo} pin no gradio", fix="lock them, for example with `gradio==6.31.0`"
        )
    made: dict[str, Any] = {
        "title": title(artifact),
        "sdk_version": pinned[1],
        "python_version": PYTHON["zero" if is_zero(artifact) else "cpu"],
        "suggested_hardware": artifact.hardware,
        "startup_duration_timeout": "1h",
    }
    if family.release.visibility == "public":  # the Hub cannot preload private ones
        made["preload_from_hub"] = [_preload(one) for one in _shown(artifact, family)]
    return made


def is_zero(artifact: SpaceArtifact) -> bool:
    """Tell whether the Space is for ZeroGPU."""
    return artifact.hardware.startswith("zero-")


_PICTURES = dict(zip(("light", "dark"), charts.NAMES, strict=True))


def _shown(artifact: SpaceArtifact, family: Family) -> Iterator[Shown]:
    release = family.release
    for name in artifact.models:
        repo = release.repo_id(name)
        models = [one for one in family.members if one.artifact.kind == "model"]
        member = next((one for one in models if release.repo_id(one.artifact.repo) == repo), None)
        if member is None:
            raise ConfigError(f"{artifact.repo} needs {name}, whose bundle cannot be opened", fix="mend that first")
        model, facts = member.artifact, member.bundle.manifest.facts
        if not isinstance(model, ModelArtifact) or not isinstance(facts, ModelFacts):
            raise ConfigError(f"{name} is no model", fix="correct `kind` or `bundle`")
        table = scores.table(member.results)
        yield Shown(
            artifact=model,
            bundle=member.bundle,
            facts=facts,
            repo=repo,
            title=title(model),
            revision=family.pins.get(repo, UNKNOWN),
            license=making.license_words(model.license or release.license),
            table=table,
            charts={theme: f"charts/{repo.replace('/', '--')}-{theme}.png" for theme in _PICTURES} if table else {},
        )


def _json(artifact: SpaceArtifact, shown: tuple[Shown, ...], family: Family) -> bytes:
    release = family.release
    models = {
        one.repo: _model(one.title, one.revision, context=one.facts.context, size=one.facts.tensor_bytes)
        for one in shown
    }
    bases: dict[str, str] = {}
    for one in shown:
        base = _base(one, family) if one.repo in map(release.repo_id, artifact.chat) else None
        if base:
            name, revision = base
            bases[one.repo] = name
            # Nothing of its files is at hand; what was made from it has its shape.
            alike = _model(name.rpartition("/")[2], revision, context=one.facts.context, size=one.facts.tensor_bytes)
            models.setdefault(name, alike)
    document = {
        "schema": 1,
        "title": title(artifact),
        "version": release.version,
        "models": models,
        "chat": [release.repo_id(name) for name in artifact.chat],
        "bases": bases,
        "translate": {
            into: {"model": release.repo_id(name), "prompt": artifact.prompts[into]}
            for into, name in artifact.translate.items()
        },
        "examples": artifact.examples,
        "about": ABOUT,
        "charts": [
            {
                "light": one.charts["light"],
                "dark": one.charts["dark"],
                "alt": {
                    "en": charts.alt(one.table, one.title, where="above"),
                    "ar": charts.alt_in_arabic(one.table, one.title),
                },
            }
            for one in shown
            if one.table
        ],
    }
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()


def _model(name: str, revision: str, *, context: int | None, size: int) -> dict[str, Any]:
    return {"revision": revision, "title": name, "context": context, "bytes": size}


def _base(one: Shown, family: Family) -> tuple[str, str] | None:
    """Return what a model was made from and its commit, where there is one such and its commit is known."""
    if not one.artifact.base or len(one.artifact.base) != 1:
        return None
    (name,) = one.artifact.base
    release = family.release
    if family.bundle_of("model", name):
        return name, family.pins.get(name, UNKNOWN)
    if (upstream := release.upstream.get(name)) and upstream.revision:
        return name, upstream.revision
    for node in lineage.graph(one.bundle).values():
        config = node.about.config if node.about else {}
        if config.get("repo") == name and re.fullmatch(r"[0-9a-f]{40}", str(config.get("revision"))):
            return name, str(config["revision"])
    return None


def _preload(one: Shown) -> str:
    loaded = sorted(entry.path for entry in one.bundle.manifest.files if _LOADED.fullmatch(entry.path))
    return f"{one.repo} {','.join(loaded)} {one.revision}"


def _requirements(artifact: SpaceArtifact, bundle: Bundle) -> bytes:
    name = ZERO if is_zero(artifact) else REQUIREMENTS
    entry = next((entry for entry in bundle.manifest.files if entry.path == name), None)
    if entry is None:
        raise ConfigError(
            f"{bundle.root} has no {name}, which `hardware: {artifact.hardware}` needs",
            fix="lock what the app needs into it, and make the bundle again",
        )
    return bundle.read(entry)
