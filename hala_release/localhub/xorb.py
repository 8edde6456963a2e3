"""Xorbs: chunks one after another, each with an eight-byte header, as hf_xet sends them.

chunk   version u8 (0), packed length u24, scheme u8, length u24, packed bytes; all little-endian
scheme  0 stored; 1 LZ4 frame; 2 bytes regrouped by their place in a word of four, then LZ4 frame
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import lz4.frame

from hala_release.errors import PayloadInvalid

LONGEST_CHUNK = 1 << 20
MOST_CHUNKS = 1 << 16
FOOTER = b"XETBLOB"


class XorbInvalid(PayloadInvalid):
    """The bytes are not a xorb."""


class Xorb:
    """A xorb on disk; opening it checks every header."""

    def __init__(self, path: Path) -> None:
        if path.stat().st_size == 0:
            raise XorbInvalid("it is empty")
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._starts = list(self._walk())

    def _walk(self) -> Iterator[int]:
        at, count, end = 0, 0, len(self._data)
        while at < end and self._data[at : at + len(FOOTER)] != FOOTER:
            packed, scheme, length = self._header(at)
            at, start = at + 8 + packed, at
            count += 1
            if (
                at > end
                or scheme > 2
                or not 0 < length <= LONGEST_CHUNK
                or packed > LONGEST_CHUNK
                or count > MOST_CHUNKS
            ):
                raise XorbInvalid(f"chunk {count} has an impossible header")
            yield start

    def _header(self, at: int) -> tuple[int, int, int]:
        header = self._data[at : at + 8]
        if len(header) < 8 or header[0] != 0:
            raise XorbInvalid(f"there is no chunk at byte {at}")
        return int.from_bytes(header[1:4], "little"), header[4], int.from_bytes(header[5:8], "little")

    def __len__(self) -> int:
        return len(self._starts)

    def chunk(self, index: int) -> bytes:
        """The bytes of a chunk."""
        at = self._starts[index]
        packed, scheme, length = self._header(at)
        content = self._data[at + 8 : at + 8 + packed]
        if scheme:
            try:
                content = lz4.frame.LZ4FrameDecompressor().decompress(content, max_length=length + 1)
            except RuntimeError as error:
                raise XorbInvalid(f"chunk {index} is not an LZ4 frame") from error
        if len(content) != length:
            raise XorbInvalid(f"chunk {index} has another length than it says")
        return _ungroup(content) if scheme == 2 else content

    def close(self) -> None:
        """Let go of the file."""
        self._data.close()


def _ungroup(content: bytes) -> bytes:
    """Put bytes that were sorted by their place in a word of four back in order."""
    out, at = bytearray(len(content)), 0
    for place in range(4):
        count = len(range(place, len(content), 4))
        out[place::4] = content[at : at + count]
        at += count
    return bytes(out)
