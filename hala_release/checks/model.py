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


CHECKS: tuple[Check, ...] = (
    a_model_brings_its_tokenizer,
    a_model_says_how_to_generate,
    a_chat_model_has_a_template,
    a_model_does_what_its_task_says,
)
