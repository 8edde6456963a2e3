"""Numbers as a person writes them."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 file`, `2,000 files`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def human_bytes(size: int) -> str:
    """Return bytes in the decimal unit that fits: `912 bytes`, `7.8 MB`."""
    if size < 1000:
        return count(size, "byte")
    return _scaled(size, (" kB", " MB", " GB", " TB"))


def human_count(number: int) -> str:
    """Return a large number in short: `350.0M`."""
    return str(number) if number < 1000 else _scaled(number, ("K", "M", "B", "T"))


def human_seconds(seconds: float) -> str:
    """Return a duration in the unit that fits: `37 seconds`, `1.5 hours`."""
    for size, noun in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {noun}"
    return count(round(seconds), "second")


def _scaled(number: float, units: tuple[str, ...]) -> str:
    step = 0
    number /= 1000
    while round(number, 1) >= 1000 and step < len(units) - 1:
        step += 1
        number /= 1000
    return f"{number:.1f}{units[step]}"
