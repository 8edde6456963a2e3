"""Findings about models."""

from __future__ import annotations

from collections.abc import Iterator

from hala_release.checks import Check, Subject
from hala_release.finding import Finding
from hala_release.manifest import ModelFacts
from hala_release.payload.checkpoint import TOKENIZERS
from hala_release.release import ModelArtifact


def a_model_brings_its_tokenizer(subject: Subject) -> Iterator[Finding]:
    """AutoTokenizer.from_pretrained(repo) fails without one."""
    if not subject.paths.intersection(TOKENIZERS):
        yield Finding(
            level="error",
            where=subject.artifact.repo,
            message="no tokenizer among the files",
            fix="save the tokenizer into the same directory with save_pretrained, and adopt again",
        )


def a_model_says_how_to_generate(subject: Subject) -> Iterator[Finding]:
    """Without generation_config.json a merged model forgets when to stop (arcee-ai/mergekit#275)."""
    if "generation_config.json" not in subject.paths:
        yield Finding(
            level="warning",
            where=subject.artifact.repo,
            message="no generation_config.json: generation falls back to the library's defaults",
            fix="copy it from the base model, and adopt again",
        )


def a_chat_model_has_a_template(subject: Subject) -> Iterator[Finding]:
    """A derived model without a chat template cannot be used as its base was."""
    match subject.artifact, subject.bundle.manifest.facts:
        case ModelArtifact(pipeline_tag="text-generation", relation="finetune" | "merge"), ModelFacts(
            chat_template_sha256=None
        ):
            yield Finding(
                level="warning",
                where=subject.artifact.repo,
                message="no chat template",
                fix="copy chat_template.jinja from the base model, unless this is not a chat model",
            )


def a_model_does_what_its_task_says(subject: Subject) -> Iterator[Finding]:
    """Search and widgets of the Hub go by the task; an encoder that is said to generate fails there."""
    match subject.artifact, subject.bundle.manifest.facts:
        case ModelArtifact(pipeline_tag="text-generation"), ModelFacts(architecture=architecture):
            if not architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
                yield Finding(
                    level="warning",
                    where=subject.artifact.repo,
                    message=f"its task is text-generation, its architecture is {architecture}",
                    fix="set `pipeline_tag` of this artifact in release.yaml",
                )


def it_was_made_from_what_it_says(subject: Subject) -> Iterator[Finding]:
    """Where provenance knows what a model was made from, the release names that and nothing else."""
    artifact, family = subject.artifact, subject.wanted.family
    ancestors = subject.bundle.manifest.provenance.ancestors
    if not isinstance(artifact, ModelArtifact) or not ancestors:
        return
    digests = {ancestor.manifest_sha256 for ancestor in ancestors}
    fetched = {str(ancestor.config["repo"]) for ancestor in ancestors if ancestor.config.get("repo")}
    named = [*(("model", name) for name in artifact.base or ()), *(("dataset", name) for name in artifact.datasets)]
    for kind, name in named:
        bundle = family.bundle_of(kind, name)
        known = bundle.manifest_sha256 in digests if bundle else kind == "dataset" or name in fetched or not fetched
        if not known:
            yield Finding(
                level="error",
                where=artifact.repo,
                message=f"it says that it was made from {name}, and its provenance knows nothing of that {kind}",
                fix="name what it was made from, or make it again from this",
            )


def entries_of_leaderboards_have_one_score(subject: Subject) -> Iterator[Finding]:
    """A leaderboard takes one number for a task, of a dataset of the Hub, and the higher the better."""
    if not isinstance(subject.artifact, ModelArtifact):
        return
    for task in subject.artifact.eval_results:
        scores = [score for score in subject.wanted.member.results.scores if score.task == task]
        if len(scores) != 1 or not scores[0].higher_is_better or "@" not in scores[0].data:
            yield Finding(
                level="error",
                where=subject.artifact.repo,
                message=f"`eval_results` names {task}, of which there is not one score, the higher the better, on data "
                "of the Hub at a commit",
                fix="name a task that has one, or take it out",
            )


CHECKS: tuple[Check, ...] = (
    a_model_brings_its_tokenizer,
    a_model_says_how_to_generate,
    a_chat_model_has_a_template,
    a_model_does_what_its_task_says,
    it_was_made_from_what_it_says,
    entries_of_leaderboards_have_one_score,
)
