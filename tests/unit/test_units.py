"""Numbers as readers see them."""

from __future__ import annotations

import pytest

from hala_release.units import count, human_bytes, human_count


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (18_000_000_000, "18.0 GB"),
        (5 * 10**16, "50000.0 TB"),
    ],
)
def test_bytes_are_told_in_the_unit_that_fits(size: int, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (1_478_016, "1.5M"), (999_999, "1.0M"), (9 * 10**9, "9.0B")]
)
def test_parameters_are_told_in_short(number: int, text: str) -> None:
    assert human_count(number) == text


def test_one_thing_is_singular() -> None:
    assert (count(1, "file"), count(2000, "file"), count(0, "repository", "repositories")) == (
        "1 file",
        "2,000 files",
        "0 repositories",
    )
