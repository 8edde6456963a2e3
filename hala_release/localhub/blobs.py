"""Large files on disk by their hash: received piece by piece, checked, then renamed into place."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool

from hala_release.localhub.refused import Refused

PIECE = 1 << 20


class Shelf:
    """A directory of files that are never changed, each under its hash."""

    def __init__(self, directory: Path, incoming: Path) -> None:
        self._directory = directory
        self._incoming = incoming

    def path(self, name: str) -> Path:
        """Where a file is, or would be."""
        return self._directory / name[:2] / name[2:4] / name

    def size(self, name: str) -> int | None:
        """The size of a file, None if it is not here."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return None

    @contextmanager
    def partial(self) -> Iterator[Path]:
        """A place for a file that is still being received; gone afterwards unless it was kept."""
        path = self._incoming / secrets.token_hex(16)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, name: str, partial: Path) -> None:
        """Give a complete file its name; its bytes and its name are on disk when this returns."""
        path = self.path(name)
        sync(partial)
        for directory in (path.parent.parent, path.parent):
            if not directory.exists():
                directory.mkdir(exist_ok=True)
                sync(directory.parent)
        partial.replace(path)
        sync(path.parent)

    async def receive(self, name: str, body: AsyncIterator[bytes], *, size: int) -> None:
        """Keep a body whose sha256 is its name; anything else leaves no trace."""
        with self.partial() as partial:
            sha256 = hashlib.sha256()
            counted = await spool(body, partial, limit=size, also=sha256.update)
            if counted != size or sha256.hexdigest() != name:
                raise Refused(400, f"Expected {size} bytes with sha256 {name}, received {counted} others")
            await run_in_threadpool(self.keep, name, partial)


async def spool(
    body: AsyncIterator[bytes], path: Path, *, limit: int, also: Callable[[bytearray], object] | None = None
) -> int:
    """Write a body to disk as it arrives, and give each piece to `also`; returns its size."""
    size, held = 0, bytearray()

    def write_out(file: BinaryIO) -> None:
        if also:
            also(held)
        file.write(held)
        held.clear()

    with path.open("wb") as file:
        async for piece in body:
            size += len(piece)
            if size > limit:
                raise Refused(413, f"The body is larger than {limit} bytes")
            held += piece
            if len(held) >= PIECE:
                await run_in_threadpool(write_out, file)
        await run_in_threadpool(write_out, file)
    return size


def write(path: Path, pieces: Iterator[bytes]) -> tuple[int, str]:
    """Write generated pieces to disk; returns their size and sha256."""
    size, sha256 = 0, hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            size += len(piece)
            sha256.update(piece)
            file.write(piece)
    return size, sha256.hexdigest()


def read(path: Path, start: int, length: int) -> Iterator[bytes]:
    """A part of a file in pieces."""
    with path.open("rb") as file:
        file.seek(start)
        while length > 0 and (piece := file.read(min(PIECE, length))):
            length -= len(piece)
            yield piece


def sync(path: Path) -> None:
    """Bring a file, or the names in a directory, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
