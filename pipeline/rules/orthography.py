"""O: the target is written as Arabic is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.rules.counting import Count, Sign
from pipeline.rules.rule import Action, Batch, Hit, Limits, where
from pipeline.text import arabic


class Orthography(Limits):
    """NFC; tatweel, signs that nobody sees and presentation forms are mended. Alef, hamza, ta marbuta and ya stay."""

    action: Action = "repair"


class Diacritics(Limits):
    """Marks for a letter."""

    action: Action = "flag"
    min_letters: Annotated[int, Field(ge=1)] = 20
    max_marks: Annotated[float, Field(ge=0)] = 0.25
    unless_source: str = r"qur|koran|poe(?:m|t)|verse|diacritic|tashkeel|harakat|vocali|surah|hadith|vowel"
    """Such sources may well get marks."""


class Encoding(Limits):
    """Control characters, halves of characters, U+FFFD, heaps of marks, Arabic read as Latin-1; on either side."""

    max_marks: Annotated[int, Field(ge=1)] = 8
    """Marks on one letter; no script needs so many."""
    min_mojibake: Annotated[int, Field(ge=1)] = 2
    """Pairs of letters such as Ø§ that are a sign of a wrong encoding."""


def clean(_: Batch, __: int, text: str, ___: Orthography) -> str:
    """Return the text in plain spelling."""
    return arabic.clean(text)


def diacritics(batch: Batch, limits: Diacritics) -> Iterator[Hit]:
    """Find targets that are full of marks."""
    letters = batch.target[:, Count.ARABIC]
    share = batch.target[:, Count.MARKS] / np.maximum(letters, 1)
    for pair in where((letters >= limits.min_letters) & (share > limits.max_marks)):
        if not batch.excused(pair, limits.unless_source):
            yield batch.hit(pair, f"{share[pair]:.2f} marks for a letter")


_BROKEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U0001fffe\U0001ffff]"
    "|[\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U0010ffff]"
)
_MOJIBAKE = re.compile(
    "[ØÙ][\x80-\xbf\u0152-\u017e\u0192\u02c6\u02dc\u2010-\u203f\u20ac\u2122]|Ã[\x80-\xbf]|â[\x80-\x9f€]"
)


def encoding(batch: Batch, limits: Encoding) -> Iterator[Hit]:
    """Find characters that no text has."""
    for side, texts, signs in (
        ("source", batch.sources, batch.source_signs),
        ("target", batch.targets, batch.target_signs),
    ):
        for pair in where(signs & Sign.BROKEN):
            if found := _BROKEN.search(texts[pair]):
                yield batch.hit(pair, f"U+{ord(found[0]):04X} in the {side}")
            elif len(wrong := _MOJIBAKE.findall(texts[pair])) >= limits.min_mojibake:
                yield batch.hit(pair, f"{wrong[0]} in the {side}")
    for side, counts in (("source", batch.source), ("target", batch.target)):
        for pair in where(counts[:, Count.MARK_RUN] > limits.max_marks):
            yield batch.hit(pair, f"{counts[pair, Count.MARK_RUN]} marks on a letter in the {side}")
