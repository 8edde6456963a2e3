"""R: the target does not say the same again and again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.rules.counting import Count
from pipeline.rules.rule import Action, Batch, Hit, Limits, where

Share = Annotated[float, Field(ge=0, le=1)]


class Ngrams(Limits):
    """The Gopher repetition rules, decision for decision as datatrove's `GopherRepetitionFilter` takes them.

    The default limits are those of FineWeb-2 for arb_Arab. A limit of None or 0 is not asked.
    """

    min_words: Annotated[int, Field(ge=0)] = 30
    """Words and signs that a text must have for the rules of lines, paragraphs and repeated n-grams."""
    top_min_words: Annotated[int, Field(ge=0)] = 100
    """And for those of the most frequent n-gram, which are made for documents: in a sentence, any two words are 20%."""
    dup_para_frac: Share | None = None
    dup_para_char_frac: Share | None = None
    dup_line_frac: Share | None = 0.304
    dup_line_char_frac: Share | None = None
    top_n_grams: Mapping[Annotated[int, Field(ge=2, le=4)], Share] = {2: 0.197, 3: 0.172, 4: 0.146}
    dup_n_grams: Mapping[Annotated[int, Field(ge=5, le=10)], Share] = {
        5: 0.165, 6: 0.153, 7: 0.142, 8: 0.131, 9: 0.12, 10: 0.109,
    }  # fmt: skip


class Loop(Limits):
    """The same, with a letter in it, several times in a row: OpusFilter's RepetitionFilter, white space aside."""

    repeats: Annotated[int, Field(ge=2)] = 3
    """How often in all; OpusFilter's threshold and one."""
    min_length: Annotated[int, Field(ge=1)] = 3
    max_length: Annotated[int, Field(ge=1)] = 100


class Compression(Limits):
    """Size after zlib over size before."""

    min_characters: Annotated[int, Field(ge=1)] = 1000
    drop_below: Share = 0.30


class LetterRun(Limits):
    """One letter several times in a row, tatweel aside."""

    action: Action = "flag"
    max_run: Annotated[int, Field(ge=1)] = 5


def ngrams(batch: Batch, limits: Ngrams) -> Iterator[Hit]:
    """Find targets that repeat lines or runs of words."""
    found = batch.target
    size = np.maximum(found[:, Count.CHARACTERS], 1)
    lines, paragraphs = np.maximum(found[:, Count.LINES], 1), np.maximum(found[:, Count.PARAGRAPHS], 1)
    tests = [
        ("dup_para_frac", found[:, Count.DUP_PARAGRAPHS] / paragraphs, limits.dup_para_frac),
        ("dup_para_char_frac", found[:, Count.DUP_PARAGRAPH_CHARACTERS] / size, limits.dup_para_char_frac),
        ("dup_line_frac", found[:, Count.DUP_LINES] / lines, limits.dup_line_frac),
        ("dup_line_char_frac", found[:, Count.DUP_LINE_CHARACTERS] / size, limits.dup_line_char_frac),
        *((f"top_{n}_gram", found[:, Count.TOP_2 - 2 + n] / size, top) for n, top in limits.top_n_grams.items()),
        *(
            (f"duplicated_{n}_n_grams", found[:, Count.DUP_5 - 5 + n] / size, share)
            for n, share in limits.dup_n_grams.items()
        ),
    ]
    words = found[:, Count.TOKENS]
    left = np.ones(len(words), bool)
    for name, share, limit in tests:
        if limit:
            least = limits.top_min_words if name.startswith("top") else limits.min_words
            over = left & (words >= least) & (share > limit)
            left = left & ~over
            for pair in where(over):
                yield batch.hit(pair, f"{name} {share[pair]:.3f}")


def loop(batch: Batch, limits: Loop) -> Iterator[Hit]:
    """Find targets that loop where their source does not."""
    for pair in where((batch.target[:, Count.LOOP] > 0) & (batch.source[:, Count.LOOP] == 0)):
        length = batch.target[pair, Count.LOOP]
        yield batch.hit(pair, f"{length} characters {limits.repeats} times or more in a row")


def compression(batch: Batch, limits: Compression) -> Iterator[Hit]:
    """Find long targets that zlib makes too small."""
    for pair in where(batch.target[:, Count.LENGTH] >= limits.min_characters):
        text = batch.target_prose[pair].encode("utf-8", "replace")
        ratio = len(zlib.compress(text)) / len(text)
        if ratio < limits.drop_below:
            yield batch.hit(pair, f"zlib ratio {ratio:.2f}")


def letter_run(batch: Batch, limits: LetterRun) -> Iterator[Hit]:
    """Find targets with a drawn-out letter."""
    run = batch.target[:, Count.SAME_LETTER]
    for pair in where(run > limits.max_run):
        yield batch.hit(pair, f"a letter {run[pair]} times in a row")
