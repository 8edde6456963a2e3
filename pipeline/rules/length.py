"""L: the target is as long as a translation is, and whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.rules.counting import Count
from pipeline.rules.rule import Batch, Hit, Limits, where

Ratio = Annotated[float, Field(gt=0)]


class Characters(Limits):
    """Characters of the target over those of the source; marks and tatweel count for nothing."""

    min_characters: Annotated[int, Field(ge=1)] = 100
    """Shorter sources are not compared: a word more or less decides there."""
    drop_below: Ratio = 0.4
    drop_above: Ratio = 2.0
    flag_below: Ratio = 0.55
    flag_above: Ratio = 1.3


class Words(Limits):
    """Words of the target over those of the source."""

    min_words: Annotated[int, Field(ge=1)] = 10
    """Shorter sources are not compared."""
    drop_above: Ratio = 2.5


class Truncated(Limits):
    """The model ended by itself, and ended a sentence where the source does."""

    min_characters: Annotated[int, Field(ge=1)] = 100
    """Shorter sources are not asked how they end."""
    ratio_below: Ratio = 0.7
    """A text without an end is cut off if it is shorter than this, too."""


def characters(batch: Batch, limits: Characters) -> Iterator[Hit]:
    """Find targets that are too long or too short."""
    source, target = batch.source[:, Count.LENGTH], batch.target[:, Count.LENGTH]
    ratio = target / np.maximum(source, 1)
    asked = source >= limits.min_characters
    for pair in where(asked & ((ratio < limits.flag_below) | (ratio > limits.flag_above))):
        hard = ratio[pair] < limits.drop_below or ratio[pair] > limits.drop_above
        yield batch.hit(pair, f"{ratio[pair]:.2f} characters for one", None if hard else "flag")


def words(batch: Batch, limits: Words) -> Iterator[Hit]:
    """Find targets with too many words."""
    source, target = batch.source[:, Count.WORDS], batch.target[:, Count.WORDS]
    ratio = target / np.maximum(source, 1)
    for pair in where((source >= limits.min_words) & (ratio > limits.drop_above)):
        yield batch.hit(pair, f"{ratio[pair]:.2f} words for one")


def truncated(batch: Batch, limits: Truncated) -> Iterator[Hit]:
    """Find targets that were cut off."""
    for pair, why in enumerate(batch.finish):
        if why != "stop":
            yield batch.hit(pair, f"the model stopped for: {why[:40]}")
    source, target = batch.source, batch.target
    short = target[:, Count.LENGTH] < limits.ratio_below * source[:, Count.LENGTH]
    asked = source[:, Count.LENGTH] >= limits.min_characters
    for pair in where(asked & short & (source[:, Count.ENDS] == 1) & (target[:, Count.ENDS] == 0)):
        if batch.finish[pair] == "stop":
            yield batch.hit(pair, "short, and no end of a sentence")
