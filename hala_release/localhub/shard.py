"""Shards: how files are put together from chunks, as hf_xet sends them.

A 48-byte header, then records of 48 bytes: for each file its hash, flags and number of terms; the terms (xorb, length,
first and last chunk); with flag 31 as many records that prove the terms; with flag 30 one record with the sha256 of
the file. A record of 32 bytes 0xff ends the list. What follows (chunks by xorb) is not needed here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hala_release.errors import PayloadInvalid

TAG = b"HFRepoMetaData"
RECORD = 48
END = b"\xff" * 32


class ShardInvalid(PayloadInvalid):
    """The bytes are not a shard."""


@dataclass(frozen=True)
class Term:
    """A run of chunks of a xorb."""

    xorb: str
    length: int
    first: int
    end: int


@dataclass(frozen=True)
class File:
    """A file as its terms, and the sha256 that they must give."""

    terms: tuple[Term, ...]
    sha256: str | None


def files(shard: bytes) -> Iterator[File]:
    """The files of a shard; every count is checked against the bytes that are really there."""
    if not shard.startswith(TAG):
        raise ShardInvalid("it has another tag")
    at = RECORD
    while True:
        if len(shard) < at + RECORD:
            raise ShardInvalid("it ends inside the list of files")
        key, flags, count = struct.unpack_from("<32sII", shard, at)
        if key == END:
            return
        terms_at, proofs, extra = at + RECORD, count * (flags >> 31 & 1), flags >> 30 & 1
        at = terms_at + RECORD * (count + proofs + extra)
        if len(shard) < at:
            raise ShardInvalid("a file has more terms than the shard has bytes")
        terms = tuple(_term(shard, terms_at + RECORD * i) for i in range(count))
        yield File(terms, hash_text(shard[at - RECORD : at - 16]) if extra else None)


def _term(shard: bytes, at: int) -> Term:
    xorb, _, length, first, end = struct.unpack_from("<32sIIII", shard, at)
    return Term(hash_text(xorb), length, first, end)


def hash_text(raw: bytes) -> str:
    """The text of a hash: four numbers of 64 bits."""
    return "".join(f"{part:016x}" for part in struct.unpack("<4Q", raw))
