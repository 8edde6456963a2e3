"""The request cache: every answer that a model ever gave here, so that no request is sent twice.

    FOLDER/NAME.answers   a line per answer: the key in hex, a checksum, the answer as JSON
    FOLDER/NAME.index     16 bytes per line: the first eight of the key, and where the line ends

A writer has files of its own and only adds to them. A line is handed to the kernel the moment the answer arrives, so
killing the process loses nothing; `sync` makes it last through a power cut. A line that was cut off, or is damaged, is
no answer. The index only saves reading: what it does not reach is found in the answers themselves.

Folders are shared by tasks, runs and versions. A key covers everything that an answer depends on, so they never clash.
"""

from __future__ import annotations

import os
import threading
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from hala_release.errors import Unfinished
from pipeline.prompts import Message

Numbers = npt.NDArray[np.uint64]

KEY_CHARACTERS = 64
HEAD_CHARACTERS = KEY_CHARACTERS + 1 + 8 + 1
"""Of a line before its JSON: the key, a space, the CRC-32 in hex, a space."""
PLACE_BITS = 40
"""Of a location: which file, then where its line begins there."""
READ_BYTES = 8 << 10
OPEN_FILES = 64
RECENT = 1 << 16
"""Answers of this process that wait to be sorted into its index."""


class Answer(NamedTuple):
    """What a model said to one chat."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


def key(messages: Sequence[Message], digest: str, parameters: Mapping[str, Any]) -> bytes:
    """Return what tells a question from all others: the chat, the model that is asked, and how it is to answer."""
    return sha256(orjson.dumps([messages, digest, parameters], option=orjson.OPT_SORT_KEYS)).digest()


class Answers:
    """The answers in a folder, and a file of one's own for new ones."""

    def __init__(self, folder: Path, name: str) -> None:
        """Find what is there.

        Args:
            name: how the files of this writer begin.
        """
        self._folder = folder
        self._name = name
        self._paths: list[Path] = sorted(folder.glob("*.answers"))
        self._known = _Index.of(self._paths)
        self._own = _Index.empty()
        self._recent: dict[int, list[int]] = {}
        self._waiting = 0
        self._open: OrderedDict[int, int] = OrderedDict()
        self._writer: _Writer | None = None
        self._dirty = False
        self._syncing = threading.Lock()

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """Return how many lines are known, also where two have the same key."""
        return len(self._known.prefixes) + len(self._own.prefixes) + self._waiting

    def get(self, name: bytes) -> Answer | None:
        """Return the answer of a key, when it is there whole."""
        prefix = int.from_bytes(name[:8], "big")
        for location in (*self._recent.get(prefix, ()), *self._own.find(prefix), *self._known.find(prefix)):
            line = self._line(location >> PLACE_BITS, location & ((1 << PLACE_BITS) - 1))
            if answer := _parse(line, name):
                return answer
        return None

    def put(self, name: bytes, answer: Answer) -> None:
        """Add an answer; when this returns, no end of this process can lose it.

        Raises:
            Unfinished: it cannot be written, for example because the disk is full.
        """
        data = orjson.dumps(answer._asdict())
        line = b"%s %08x %s\n" % (name.hex().encode(), zlib.crc32(data), data)
        if self._writer is None:
            self._writer = _Writer(self._folder, self._name)
            self._paths.append(self._writer.path)
            self._file = len(self._paths) - 1
        location = self._file << PLACE_BITS | self._writer.end
        self._writer.add(name, line)
        self._dirty = True
        self._recent.setdefault(int.from_bytes(name[:8], "big"), []).append(location)
        self._waiting += 1
        if self._waiting == RECENT:
            prefixes = [prefix for prefix, places in self._recent.items() for _ in places]
            places = [place for places in self._recent.values() for place in places]
            self._own = self._own.joined(np.array(prefixes, np.uint64), np.array(places, np.uint64))
            self._recent.clear()
            self._waiting = 0

    def sync(self) -> None:
        """Return when what was added so far also survives a power cut; other threads may add meanwhile."""
        with self._syncing:
            if self._dirty and self._writer is not None:
                self._dirty = False
                self._writer.sync()

    def close(self) -> None:
        """Sync, and let go of the files."""
        self.sync()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        while self._open:
            os.close(self._open.popitem()[1])

    def _line(self, file: int, start: int) -> bytes:
        if file in self._open:
            self._open.move_to_end(file)
        else:
            if len(self._open) == OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            self._open[file] = os.open(self._paths[file], os.O_RDONLY)
        found = bytearray()
        while piece := os.pread(self._open[file], READ_BYTES, start + len(found)):
            end = piece.find(b"\n")
            if end >= 0:
                return bytes(found + piece[:end])
            found += piece
        return b""  # the end of the line never reached the disk


def _parse(line: bytes, name: bytes) -> Answer | None:
    head, data = line[:HEAD_CHARACTERS], line[HEAD_CHARACTERS:]
    if head != b"%s %08x " % (name.hex().encode(), zlib.crc32(data)):
        return None
    return Answer(**orjson.loads(data))


class _Writer:
    """The two files of one writer."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}-{uuid.uuid4().hex[:16]}.answers"
        self.end = 0
        with _said(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._answers = os.open(self.path, flags, 0o644)
            self._index = os.open(self.path.with_suffix(".index"), flags, 0o644)
            self._folder = os.open(folder, os.O_RDONLY)
        self._new = True

    def add(self, name: bytes, line: bytes) -> None:
        with _said(self.path):
            _write(self._answers, line)
            self.end += len(line)
            _write(self._index, name[:8] + self.end.to_bytes(8, "big"))

    def sync(self) -> None:
        with _said(self.path):
            os.fsync(self._answers)
            os.fsync(self._index)
            if self._new:
                os.fsync(self._folder)
                self._new = False

    def close(self) -> None:
        for descriptor in (self._answers, self._index, self._folder):
            os.close(descriptor)


class _said:  # noqa: N801 -- reads as a statement
    """Turn what the disk says into what to do about it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise Unfinished(
                f"answers cannot be kept in {self._path.parent}: {error.strerror}",
                fix="make room there, or name another `cache:`, and run the same command again; nothing kept is lost",
            ) from error


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, or raise OSError: a disk that is nearly full takes a part first."""
    while data:
        data = data[os.write(descriptor, data) :]


class _Index(NamedTuple):
    """Where the lines of keys begin, sorted by the first eight bytes of the key; 16 bytes an answer."""

    prefixes: Numbers
    locations: Numbers

    @classmethod
    def empty(cls) -> _Index:
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64))

    @classmethod
    def of(cls, paths: Sequence[Path]) -> _Index:
        """Read the index files, and the lines that they do not reach."""
        prefixes, locations = [], []
        for file, path in enumerate(paths):
            names, ends = _indexed(path)
            more_names, more_starts = _scanned(path, int(ends[-1]) if len(ends) else 0)
            starts = ends  # in place: a line begins where the one before it ends
            starts[1:] = ends[:-1]
            starts[:1] = 0
            for places, which in ((starts, names), (more_starts, more_names)):
                if len(places):
                    prefixes.append(which)
                    locations.append(np.bitwise_or(places, np.uint64(file << PLACE_BITS), out=places))
        if not prefixes:
            return cls.empty()
        return cls.sorted(_joined(prefixes), _joined(locations))

    @classmethod
    def sorted(cls, prefixes: Numbers, locations: Numbers) -> _Index:
        order = np.argsort(prefixes, kind="stable")
        return cls(prefixes[order], locations[order])

    def joined(self, prefixes: Numbers, locations: Numbers) -> _Index:
        return self.sorted(np.concatenate([self.prefixes, prefixes]), np.concatenate([self.locations, locations]))

    def find(self, prefix: int) -> list[int]:
        """Return where lines begin whose keys begin so, the oldest first."""
        wanted = np.uint64(prefix)
        first = int(np.searchsorted(self.prefixes, wanted))
        last = first
        while last < len(self.prefixes) and self.prefixes[last] == wanted:
            last += 1
        return [int(place) for place in self.locations[first:last]]


def _joined(arrays: list[Numbers]) -> Numbers:
    """Join arrays and let go of them."""
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    arrays.clear()
    return joined


def _indexed(path: Path) -> tuple[Numbers, Numbers]:
    """Return prefixes and ends of lines as the index file has them, up to where it makes no sense."""
    try:
        data = np.fromfile(path.with_suffix(".index"), ">u8")
    except FileNotFoundError:
        data = np.zeros(0, ">u8")
    whole = len(data) // 2 * 2
    prefixes, ends = data[0:whole:2].astype(np.uint64), data[1:whole:2].astype(np.uint64)
    del data  # of large caches too, no more than some arrays of eight bytes an answer lie in memory at a time
    sound = (np.diff(ends.view(np.int64), prepend=0) > HEAD_CHARACTERS) & (ends <= path.stat().st_size)
    count = len(sound) if sound.all() else int(sound.argmin())
    return prefixes[:count], ends[:count]


def _scanned(path: Path, start: int) -> tuple[Numbers, Numbers]:
    """Return prefixes and starts of the whole lines from `start` on."""
    prefixes: list[int] = []
    starts: list[int] = []
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if line.endswith(b"\n") and len(line) > HEAD_CHARACTERS:
                try:
                    prefix = int(line[:16], 16)
                except ValueError:
                    pass  # damaged; the line after it may be sound
                else:
                    prefixes.append(prefix)
                    starts.append(start)
            start += len(line)
    return np.array(prefixes, np.uint64), np.array(starts, np.uint64)
