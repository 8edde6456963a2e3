"""G: the target is Arabic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import pycld2  # type: ignore[import-untyped]
from pydantic import Field

from pipeline.rules.counting import Count, Sign
from pipeline.rules.rule import OTHER_LANGUAGE, Action, Batch, Hit, Limits, where
from pipeline.text import arabic

Share = Annotated[float, Field(ge=0, le=1)]


class ArabicShare(Limits):
    """Arabic letters among all letters."""

    min_letters: Annotated[int, Field(ge=1)] = 30
    """Shorter prose is not asked: a name decides there."""
    drop_below: Share = 0.5
    flag_below: Share = 0.8
    unless_source: str = OTHER_LANGUAGE
    """Rows whose source matches are left alone; empty: none."""


class Untranslated(Limits):
    """Latin words in a row, or the source itself."""

    max_latin_words: Annotated[int, Field(ge=1)] = 6
    """So many Latin words may follow each other, outside quotations; a comma ends the run."""
    min_words: Annotated[int, Field(ge=1)] = 3
    """A shorter source may be its own translation: names, numbers."""
    unless_source: str = OTHER_LANGUAGE


class Identified(Limits):
    """The language that CLD2 sees. It does not know dialects, and stands in for GlotLID, whose model is no package."""

    action: Action = "flag"
    min_letters: Annotated[int, Field(ge=1)] = 200
    languages: tuple[str, ...] = ("ar",)
    min_percent: Annotated[int, Field(ge=0, le=100)] = 60
    """Another language must have this share of the text."""
    unless_source: str = OTHER_LANGUAGE


class ForeignLetters(Limits):
    """Letters of Persian, Urdu and Kurdish: those that are another form of an Arabic letter get its form.

    A Farsi yeh at the end of a word that could be ي or ى stays, and is flagged, however few there are.
    """

    action: Action = "repair"
    flag_above: Share = 0.005
    """Share of such letters that is flagged if it is left after the repair."""
    repair_up_to: Share = 0.04
    """Where the repair would leave a larger share of the characters, the language is another one: nothing is mended."""
    repair_min: Annotated[int, Field(ge=1)] = 50
    """Characters below which a text is always mended."""
    unless_source: str = OTHER_LANGUAGE


def arabic_share(batch: Batch, limits: ArabicShare) -> Iterator[Hit]:
    """Find targets with too many letters of other scripts."""
    letters = batch.target[:, Count.LETTERS]
    share = batch.target[:, Count.ARABIC] / np.maximum(letters, 1)
    for pair in where((letters >= limits.min_letters) & (share < limits.flag_below)):
        if not batch.excused(pair, limits.unless_source):
            hard = share[pair] < limits.drop_below
            yield batch.hit(pair, f"{share[pair]:.0%} of the letters are Arabic", None if hard else "flag")


def untranslated(batch: Batch, limits: Untranslated) -> Iterator[Hit]:
    """Find prose that was left in the source language."""
    latin = batch.target[:, Count.LATIN_WORDS]
    for pair in where(latin > limits.max_latin_words):
        if not batch.excused(pair, limits.unless_source):
            yield batch.hit(pair, f"{latin[pair]} Latin words in a row")
    wordy = (batch.source[:, Count.WORDS] >= limits.min_words) & (batch.source[:, Count.LETTERS] > 0)
    same = wordy & (batch.source[:, Count.LENGTH] == batch.target[:, Count.LENGTH]) & (latin <= limits.max_latin_words)
    for pair in where(same):
        if batch.source_prose[pair].split() == batch.target_prose[pair].split():
            yield batch.hit(pair, "the target is the source")


def identified(batch: Batch, limits: Identified) -> Iterator[Hit]:
    """Find long targets that are in another language."""
    sound = (batch.target_signs & Sign.BROKEN) == 0
    for pair in where(sound & (batch.target[:, Count.LETTERS] >= limits.min_letters)):
        try:
            reliable, _, found = pycld2.detect(batch.target_prose[pair])
        except pycld2.error:  # it refuses some characters; the rules that count letters do not
            continue
        _, language, percent, _ = found[0]
        if (
            reliable
            and language not in limits.languages
            and percent >= limits.min_percent
            and not batch.excused(pair, limits.unless_source)
        ):
            yield batch.hit(pair, f"{percent}% is {language}")


def mend_letters(batch: Batch, pair: int, text: str, limits: ForeignLetters) -> str:
    """Give letters their Arabic form, unless the source asks for another language, or the text is in one."""
    if batch.excused(pair, limits.unless_source):
        return text
    mended = arabic.arabic_letters(text)
    if len(text) >= limits.repair_min and arabic.foreign_letters(mended) > limits.repair_up_to * len(text):
        return text
    return mended


def foreign_letters(batch: Batch, limits: ForeignLetters) -> Iterator[Hit]:
    """Find targets in which too many letters are no Arabic ones, or one is left that might be two of them."""
    letters = np.maximum(batch.target[:, Count.LETTERS], 1)
    share = batch.target[:, Count.FOREIGN] / letters
    action: Action | None = "flag" if limits.action == "repair" else None
    for pair in where(batch.target[:, Count.FOREIGN]):
        many, yeh = share[pair] > limits.flag_above, "\u06cc" in batch.target_prose[pair]
        if (many or yeh) and not batch.excused(pair, limits.unless_source):
            reason = f"{share[pair]:.1%} of the letters are Persian or Urdu ones" if many else "a Farsi yeh is left"
            yield batch.hit(pair, reason, action)
