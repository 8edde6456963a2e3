"""Xorbs and shards: what hf_xet writes is read back, anything else is refused without harm."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import lz4.frame
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hala_release.localhub.shard import END, TAG, File, ShardInvalid, Term, files, hash_text
from hala_release.localhub.xorb import Xorb, XorbInvalid


def chunk(content: bytes, scheme: int) -> bytes:
    packed = b"".join(content[place::4] for place in range(4)) if scheme == 2 else content
    packed = lz4.frame.compress(packed) if scheme else packed
    return b"\0" + len(packed).to_bytes(3, "little") + bytes([scheme]) + len(content).to_bytes(3, "little") + packed


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.integers(0, 2)), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_chunks_come_back_whatever_their_packing(tmp_path: Path, chunks: list[tuple[bytes, int]]) -> None:
    path = tmp_path / "xorb"
    path.write_bytes(b"".join(chunk(*one) for one in chunks) + b"XETBLOB and a footer")
    xorb = Xorb(path)
    assert [xorb.chunk(index) for index in range(len(xorb))] == [content for content, _ in chunks]
    xorb.close()


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_other_bytes_are_no_xorb_or_a_sound_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "xorb"
    path.write_bytes(content)
    with suppress(XorbInvalid):
        xorb = Xorb(path)
        for index in range(len(xorb)):
            with suppress(XorbInvalid):
                xorb.chunk(index)
        xorb.close()


def test_a_chunk_cannot_grow_beyond_its_word(tmp_path: Path) -> None:
    packed = lz4.frame.compress(b"\0" * 50_000_000)[: (1 << 20) - 1]
    path = tmp_path / "xorb"
    path.write_bytes(b"\0" + len(packed).to_bytes(3, "little") + b"\x01" + (100).to_bytes(3, "little") + packed)
    xorb = Xorb(path)
    with pytest.raises(XorbInvalid, match="another length"):
        xorb.chunk(0)
    xorb.close()


def shard(*records: bytes) -> bytes:
    return TAG.ljust(48, b"\0") + b"".join(record.ljust(48, b"\0") for record in (*records, END))


def test_a_shard_names_files_terms_and_sha256() -> None:
    term = struct.pack("<32sIIII", b"\1" * 32, 0, 77, 2, 5)
    header = struct.pack("<32sII", b"\2" * 32, 3 << 30, 1)
    assert list(files(shard(header, term, b"proof", b"\3" * 32))) == [
        File((Term(hash_text(b"\1" * 32), 77, 2, 5),), hash_text(b"\3" * 32))
    ]
    assert list(files(shard())) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 100, TAG, shard()[:-48], shard(struct.pack("<32sII", b"\2" * 32, 0, 0xFFFFFFFF)), shard(b"\2" * 48)],
)
def test_a_shard_that_promises_more_than_it_holds_is_refused(content: bytes) -> None:
    with pytest.raises(ShardInvalid):
        list(files(content))


@given(st.binary(max_size=400))
def test_any_other_bytes_are_no_shard(content: bytes) -> None:
    with suppress(ShardInvalid):
        list(files(TAG.ljust(48, b"\0") + content))
