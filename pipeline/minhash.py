"""MinHash of rows, bit for bit that of datatrove for the same words, two orders of magnitude sooner.

A text is cut into words, each run of `ngram` words is hashed (XXH64), and `bands * hashes` permutations of these hashes
each give their least value. Rows that agree in all values of one band are taken for near duplicates: with Jaccard
similarity s that happens with probability 1 - (1 - s^hashes)^bands.

Why not a library: rensa (Rust) is as fast at the permutations, but it wants each word as a Python string or the
n-grams hashed by somebody else, and its permutations are its own, so that its duplicates are not datatrove's. Here the
words never leave the column they came in, and what is found can be compared with datatrove's bit by bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from hala_release.manifest import Record
from pipeline.compiled import compiled
from pipeline.words import Folded, Hashes, Places, xxh64

MERSENNE = (1 << 61) - 1


class MinHash(Record):
    """How near duplicates are looked for."""

    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Words in a shingle; a shorter text has none, and no near duplicates."""
    bands: Annotated[int, Field(ge=1, le=256)] = 14
    hashes: Annotated[int, Field(ge=1, le=256)] = 8
    """Values that must agree in a band; similarity (1 / bands)^(1 / hashes) is found half the time or more."""
    seed: int = 1
    """Draws the permutations, as datatrove draws them."""


def signatures(texts: Folded, first: Places, used: np.ndarray[Any, np.dtype[np.bool_]], how: MinHash) -> Hashes:
    """Return the least values of each row, `bands * hashes` of them.

    Args:
        texts: in the form `words`.
        first: row `i` has the texts `first[i]` to `first[i + 1]`.
        used: the texts that count; no shingle goes over one that does not.

    Returns:
        A row of 2^64 - 1 where a row has no shingle.
    """
    scale, shift = permutations(how.bands * how.hashes, how.seed)
    return _signatures(*texts, first, used, scale, shift, how.ngram)


def band_keys(signed: Hashes, how: MinHash) -> tuple[Hashes, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return one number for each band of each row, and which rows have any."""
    keys = _band_keys(np.ascontiguousarray(signed).view(np.uint8), how.bands, how.hashes * 8)
    return keys, signed[:, 0] <= MERSENNE


@lru_cache
def permutations(count: int, seed: int) -> tuple[Hashes, Hashes]:
    """Draw `count` permutations x -> (x * scale + shift) mod (2^61 - 1), the product mod 2^64, as datatrove does."""
    draw = np.random.RandomState(seed)
    prime = np.uint64(MERSENNE)
    scale = draw.randint(1, prime, dtype=np.uint64, size=(1, count))
    shift = draw.randint(0, prime, dtype=np.uint64, size=(1, count))
    return scale[0], shift[0]


@compiled
def _signatures(
    data: Any,  # noqa: ANN401
    starts: Places,
    ends: Places,
    first: Places,
    used: Any,  # noqa: ANN401
    scale: Hashes,
    shift: Hashes,
    ngram: int,
) -> Hashes:
    prime = np.uint64(MERSENNE)
    count = len(scale)
    rows = len(first) - 1
    least = np.full((rows, count), np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64)
    begins = np.empty(ngram, np.int64)
    for row in range(rows):
        mine = least[row]
        words = 0
        for text in range(first[row], first[row + 1]):
            if not used[text]:
                words = 0
                continue
            begin = starts[text]
            for place in range(starts[text], ends[text] + 1):
                if place < ends[text] and data[place] != 32:
                    continue
                if place == begin:
                    continue
                begins[words % ngram] = begin
                words += 1
                begin = place + 1
                if words < ngram:
                    continue
                shingle = xxh64(data, begins[words % ngram], place)
                for one in range(count):
                    value = shingle * scale[one] + shift[one]
                    value = (value & prime) + (value >> np.uint64(61))
                    value = min(value, value - prime)  # what lies below the prime wraps to something greater
                    mine[one] = min(mine[one], value)
    return least


@compiled
def _band_keys(signed: Any, bands: int, width: int) -> Hashes:  # noqa: ANN401
    keys = np.empty((len(signed), bands), np.uint64)
    for row in range(len(signed)):
        for band in range(bands):
            keys[row, band] = xxh64(signed[row], band * width, (band + 1) * width)
    return keys
