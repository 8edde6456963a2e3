"""Cards: front matter built as data from facts, body from the words in cards/. The only import of jinja2."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from hala_release import frontmatter, reports, results
from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError
from hala_release.manifest import ConfigFacts, DatasetFacts, ModelFacts, SpaceFacts, SplitFacts
from hala_release.release import Artifact, DatasetArtifact, License, ModelArtifact, NamedLicense, Release, SpaceArtifact
from hala_release.units import human_bytes, human_count

NAME = "README.md"


def render(artifact: Artifact, bundle: Bundle, release: Release, measured: Sequence[Bundle] = ()) -> bytes:
    """Return the card of an artifact: the same facts and release give the same bytes.

    A Space brings its own card, because the Hub builds from it.

    Args:
        measured: results of a model.

    Raises:
        ConfigError: the bundle is of another kind than the artifact.
        ContractError: the results are of another model, or a report is none.
    """
    facts = bundle.manifest.facts
    match artifact, facts:
        case DatasetArtifact(), DatasetFacts():
            metadata = _dataset_metadata(artifact, facts, release)
        case ModelArtifact(), ModelFacts():
            metadata = _model_metadata(artifact, facts, release)
        case SpaceArtifact(), SpaceFacts():
            return _own_card(bundle)
        case _:
            raise ConfigError(
                f"{artifact.repo} is a {artifact.kind} in the release, its bundle {bundle.root} holds a {facts.kind}",
                fix="correct `kind` or `bundle`",
            )
    template = _environment().get_template(f"{artifact.kind}.md.j2")
    body = template.render(
        artifact=artifact,
        facts=facts,
        release=release,
        repo_id=release.repo_id(artifact.repo),
        title=artifact.title or artifact.repo.rpartition("/")[2],
        license=license_words(artifact.license or release.license),
        files=len(bundle.manifest.files),
        size=bundle.size,
        **(_model_words(facts) if isinstance(facts, ModelFacts) else {"reports": reports.read(bundle)}),
        results=results.tables(measured, bundle),
    )
    return frontmatter.join(frontmatter.Card(metadata, body.rstrip() + "\n")).encode()


def _own_card(bundle: Bundle) -> bytes:
    for entry in bundle.manifest.files:
        if entry.path == NAME:
            return bundle.read(entry)
    raise ContractError(f"{bundle.root} is a Space without {NAME}", fix="add one, and make the bundle again")


def _model_words(facts: ModelFacts) -> dict[str, object]:
    generates = facts.architecture.endswith("ForCausalLM")
    return {
        "generates": generates,
        "loader": "AutoModelForCausalLM" if generates else "AutoModel",
        "has_chat": facts.chat_template_sha256 is not None,
    }


def license_words(terms: License) -> str:
    """Return a license as a reader sees it, with its link where it has one."""
    match terms:
        case NamedLicense(name=name, link=link):
            return f"[{name}]({link})"
        case ids:
            return ", ".join(ids)


def size_category(rows: int) -> str:
    """Return the Hub's size category for a number of rows."""
    limits = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M"),
              (10**9, "1B"), (10**10, "10B"), (10**11, "100B"), (10**12, "1T"))  # fmt: skip
    below = "n"
    for limit, name in limits:
        if rows < limit:
            return f"n<{name}" if below == "n" else f"{below}<n<{name}"
        below = name
    return "n>1T"


def _common_metadata(artifact: Artifact, release: Release) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if language := artifact.language or release.language:
        metadata["language"] = list(language)
    match artifact.license or release.license:
        case NamedLicense(id=license_id, name=name, link=link):
            metadata |= {"license": license_id, "license_name": name, "license_link": link}
        case (license_id,):
            metadata["license"] = license_id
        case ids:
            metadata["license"] = list(ids)
    return metadata


def _dataset_metadata(artifact: DatasetArtifact, facts: DatasetFacts, release: Release) -> dict[str, Any]:
    metadata = _common_metadata(artifact, release)
    metadata["pretty_name"] = artifact.title or artifact.repo.rpartition("/")[2]
    if artifact.task_categories:
        metadata["task_categories"] = list(artifact.task_categories)
    metadata["size_categories"] = [size_category(facts.rows)]
    if artifact.sources:
        metadata["source_datasets"] = list(artifact.sources)
    if artifact.tags:
        metadata["tags"] = list(artifact.tags)
    names = [config.name for config in facts.configs]
    default = "default" if "default" in names else names[0]
    metadata["configs"] = [_viewer_config(config, default=config.name == default) for config in facts.configs]
    info = [_dataset_info(config) for config in facts.configs]
    metadata["dataset_info"] = info if len(info) > 1 else info[0]
    return metadata


def _viewer_config(config: ConfigFacts, *, default: bool) -> dict[str, Any]:
    return {
        "config_name": config.name,
        **({"default": True} if default else {}),
        "data_files": [{"split": split.name, "path": _data_files(split)} for split in config.splits],
    }


def _data_files(split: SplitFacts) -> str | list[str]:
    """Return the glob of a set of shards, so that the card stays the same size however many there are."""
    first, *others = split.files
    stem = first.removesuffix(f"-00000-of-{len(split.files):05d}.parquet")
    if stem != first:
        return f"{stem}-*-of-{len(split.files):05d}.parquet"
    return [first, *others] if others else first


def _dataset_info(config: ConfigFacts) -> dict[str, Any]:
    return {
        "config_name": config.name,
        "features": [dict(feature) for feature in config.features],
        "splits": [
            {"name": split.name, "num_bytes": split.bytes, "num_examples": split.rows} for split in config.splits
        ],
        "download_size": sum(split.download_bytes for split in config.splits),
        "dataset_size": sum(split.bytes for split in config.splits),
    }


def _model_metadata(artifact: ModelArtifact, facts: ModelFacts, release: Release) -> dict[str, Any]:
    metadata = _common_metadata(artifact, release)
    metadata |= {"library_name": "transformers", "pipeline_tag": artifact.pipeline_tag}
    if artifact.base:
        metadata["base_model"] = artifact.base[0] if len(artifact.base) == 1 else list(artifact.base)
        metadata["base_model_relation"] = artifact.relation
    if artifact.datasets:
        metadata["datasets"] = [release.repo_id(name) for name in artifact.datasets]
    metadata["tags"] = list(dict.fromkeys([facts.model_type, *artifact.tags]))
    return metadata


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(_templates()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"commas": "{:,}".format, "bytes": human_bytes, "cell": _cell, "count": human_count}
    return environment


def _templates() -> Path:
    installed = Path(__file__).parent / "_data" / "cards"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "cards"


def _cell(value: object) -> str:
    """Return text from a file as one harmless table cell: no markup, no line break, nothing invisible."""
    text = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in str(value))
    for character in "\\`|<>[]*_":
        text = text.replace(character, f"\\{character}")
    return text
