"""The card of a model: its header and what its words need."""

from __future__ import annotations

from typing import Any, NamedTuple

from hala_release import reports
from hala_release.card import charts, evals, making, scores
from hala_release.card.shown import language_and_license, title
from hala_release.family import Family, Member
from hala_release.header import ModelHeader
from hala_release.manifest import ModelFacts
from hala_release.release import ModelArtifact
from hala_release.reports import ContaminationReport

MEMORIES = (8, 16, 24, 48, 80)
"""Gigabytes of memory that graphics cards have."""
HEADROOM = 1.2
"""Memory over the weights' own bytes that we count on for the cache and what is computed in between."""


class Fit(NamedTuple):
    """Whether the weights fit on a device."""

    gigabytes: int
    fits: bool


class Searched(NamedTuple):
    """What is known of test items in a dataset that a model was trained on."""

    repo: str
    reports: tuple[ContaminationReport, ...]


def header(artifact: ModelArtifact, facts: ModelFacts, member: Member, family: Family) -> dict[str, Any]:
    """Return the YAML block of a model's card as data."""
    release = family.release
    metadata = language_and_license(artifact, release)
    metadata |= {"library_name": "transformers", "pipeline_tag": artifact.pipeline_tag}
    if artifact.base:
        metadata["base_model"] = artifact.base[0] if len(artifact.base) == 1 else list(artifact.base)
        metadata["base_model_relation"] = artifact.relation
    if artifact.datasets:
        metadata["datasets"] = [release.repo_id(name) for name in artifact.datasets]
    merged = any(step.stage == "merge" for step in making.steps(member.bundle, {}))
    tags = [facts.model_type, *(["merge", "mergekit"] if merged else []), *artifact.tags]
    metadata["tags"] = list(dict.fromkeys(tags))
    if index := evals.model_index(member, title(artifact)):
        metadata["model-index"] = index
    return ModelHeader.model_validate(metadata).data()


def values(artifact: ModelArtifact, facts: ModelFacts, member: Member, family: Family) -> dict[str, object]:
    """Return what the template of a model may say."""
    release = family.release
    called = making.names(family)
    table = scores.table(member.results)
    generates = facts.architecture.endswith(("ForCausalLM", "LMHeadModel"))
    data = [(release.repo_id(name), family.bundle_of("dataset", name)) for name in artifact.datasets]
    return {
        "artifact": artifact,
        "facts": facts,
        "release": release,
        "repo_id": release.repo_id(artifact.repo),
        "title": title(artifact),
        "license": making.license_words(artifact.license or release.license),
        "size": member.bundle.size,
        "generates": generates,
        "loader": "AutoModelForCausalLM" if generates else "AutoModel",
        "has_chat": facts.chat_template_sha256 is not None,
        "reports": reports.read(member.bundle),
        "digests": tuple(one for one in member.bundle.manifest.files if one.path.endswith(".safetensors")),
        "table": table,
        "out_of": 100,
        "chart": charts.NAMES if table else None,
        "alt": charts.alt(table, title(artifact)) if table else "",
        "family": scores.family_table(family, member),
        "reported": family.reported,
        "steps": making.steps(member.bundle, called),
        "translators": tuple(
            dict.fromkeys(one.name for _, bundle in data if bundle for one in making.translators(bundle, called))
        ),
        "data": tuple(name for name, _ in data),
        "searched": tuple(Searched(name, reports.contamination(bundle) if bundle else ()) for name, bundle in data),
        "terms": making.chain(artifact, family),
        "tree": making.tree(member.bundle, called),
        "fits": tuple(Fit(size, facts.tensor_bytes * HEADROOM <= size * 10**9) for size in MEMORIES),
        "headroom": f"{HEADROOM - 1:.0%}",
        "results_file": evals.NAME,
    }
