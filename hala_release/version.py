"""Semantic versions, and the tags made of them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

_SEMVER = re.compile(
    r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
)


def _semver(text: str) -> str:
    if not _SEMVER.fullmatch(text):
        raise ValueError(f"{text!r} is not a semantic version like 1.0.0 or 1.1.0-rc.1")
    return text


def _not_a_number(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError(f"{value} is a number to YAML, and not a semantic version; write all three parts, like 1.0.0")  # noqa: TRY004
    return value


Version = Annotated[str, BeforeValidator(_not_a_number, json_schema_input_type=str), AfterValidator(_semver)]
"""MAJOR.MINOR.PATCH with an optional pre-release (https://semver.org); build metadata is no part of a tag."""


def tag_of(version: Version) -> str:
    """Return the tag that a version has on every repository of its release."""
    return f"v{version}"
