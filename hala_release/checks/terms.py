"""Findings about what readers of every kind of repository need: terms of use, language, a word on what it is."""

from __future__ import annotations

from collections.abc import Iterator

from hala_release.checks import Check, Subject
from hala_release.finding import Finding
from hala_release.release import NamedLicense, SpaceArtifact


def a_license_file_is_there(subject: Subject) -> Iterator[Finding]:
    """A license without an id is only as good as its text."""
    match subject.artifact.license or subject.release.license:
        case NamedLicense(link=link) if "://" not in link and link not in subject.paths:
            yield Finding(
                level="error",
                where=subject.artifact.repo,
                message=f"the license text {link} is not among the files",
                fix="put it into the directory and adopt again, or link to a URL",
            )


def the_card_says_what_this_is(subject: Subject) -> Iterator[Finding]:
    """Readers decide by the first paragraph and the language."""
    if isinstance(subject.artifact, SpaceArtifact):
        return
    missing = [] if subject.artifact.summary else ["summary"]
    if not (subject.artifact.language or subject.release.language):
        missing.append("language")
    for key in missing:
        yield Finding(
            level="warning",
            where=subject.artifact.repo,
            message=f"the card has no {key}",
            fix=f"set `{key}` of this artifact in release.yaml",
        )


CHECKS: tuple[Check, ...] = (a_license_file_is_there, the_card_says_what_this_is)
