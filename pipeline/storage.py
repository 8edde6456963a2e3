"""Files of a stage, on a disk or in a bucket: read by path or URL, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
import orjson

from hala_release.disk import sync_directory


def join(folder: str, *names: str) -> str:
    """Name a file in a folder."""
    return "/".join([folder.rstrip("/"), *names])


def is_local(path: str) -> bool:
    """Tell a path of this machine from a URL."""
    return "://" not in path


@contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Open a file to read, with seeking."""
    with fsspec.open(path, "rb") as file:
        yield file


@contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """Open a file to write; it appears under its name when the block is left without an error, and lasts."""
    if not is_local(path):
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "file"
            with whole.open("wb") as file:
                yield file
            system, place = fsspec.url_to_fs(path)
            system.makedirs(place.rpartition("/")[0], exist_ok=True)
            system.put_file(str(whole), place)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # also Ctrl-C, and a generator that is closed: what is half written goes
        partial.unlink(missing_ok=True)
        raise
    partial.replace(target)
    sync_directory(target.parent)


def write_json(path: str, value: object) -> None:
    """Write what a task has to tell another one."""
    with writing(path) as file:
        file.write(orjson.dumps(value, default=list, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY))


def read_json(path: str) -> Any:  # noqa: ANN401
    """Return what another task told."""
    with reading(path) as file:
        return orjson.loads(file.read())


def names(folder: str) -> list[str]:
    """Return the names of the whole files in a folder, sorted; none where there is no folder."""
    system, path = fsspec.url_to_fs(folder)
    if not system.exists(path):
        return []
    found = (str(entry["name"]).rsplit("/", 1)[-1] for entry in system.ls(path, detail=True) if entry["type"] == "file")
    return sorted(name for name in found if not name.endswith(".partial"))


def copy(source: str, target: str) -> None:
    """Copy a file."""
    with reading(source) as old, writing(target) as new:
        while piece := old.read(1 << 20):
            new.write(piece)


def copy_tree(source: str, target: str) -> None:
    """Copy every file under a folder to another, over what lies there."""
    system, root = fsspec.url_to_fs(source)
    for path in sorted(system.find(root)):
        copy(system.unstrip_protocol(path), join(target, str(path).removeprefix(root).lstrip("/")))
