"""What every kind of card shows of an artifact."""

from __future__ import annotations

from typing import Any

from hala_release.release import Artifact, NamedLicense, Release


def title(artifact: Artifact) -> str:
    """Return the heading of an artifact's card."""
    return artifact.title or artifact.repo.rpartition("/")[2]


def language_and_license(artifact: Artifact, release: Release) -> dict[str, Any]:
    """Return the first keys of a header: whose language, on what terms."""
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
