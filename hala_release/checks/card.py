"""Findings about the card as it would be published."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from hala_release.card import lint
from hala_release.checks import Check, Subject
from hala_release.finding import Finding
from hala_release.release import NamedLicense


def the_card_can_be_published(subject: Subject) -> Iterator[Finding]:
    """What `hala-release card lint` says of it."""
    release = subject.release
    terms = [subject.artifact.license or release.license, *(known.license for known in release.upstream.values())]
    links = [one.link for one in terms if isinstance(one, NamedLicense)]
    told = (release.contact, *links, *(one.url for one in subject.wanted.family.reported))
    page = lint.Page(
        text=subject.wanted.card,
        kind=subject.artifact.kind,
        where=subject.artifact.repo,
        files={*subject.wanted.paths, *links},  # whether the license is there is asked in `terms`
        published={(one.kind, release.repo_id(one.repo)) for one in release.artifacts},
        namespace=release.namespace,
        hosts={urlsplit(address).hostname or "" for address in told},
    )
    yield from lint.lint(page)


CHECKS: tuple[Check, ...] = (the_card_can_be_published,)
