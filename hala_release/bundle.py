"""A bundle: the finished directory that a stage hands to the release layer.

NAME/manifest.json   written last, so its existence means that the bundle is complete
NAME/files/…         exactly as they will lie on the Hub; read-only
NAME/.digests.json   which digest was seen at which size and times, so that no file is hashed twice
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hala_release.disk import sha256_of, sync_directory, write_atomic
from hala_release.errors import BundleChanged, BundleIncomplete, PayloadInvalid
from hala_release.manifest import (
    Ancestor,
    Facts,
    FileEntry,
    Manifest,
    Provenance,
    collisions,
    problem_with_path,
)


@dataclass(frozen=True)
class Bundle:
    """A sealed directory and what it says of itself."""

    root: Path
    manifest: Manifest
    manifest_sha256: str

    @classmethod
    def open(cls, root: Path) -> Bundle:
        """Open a finished bundle, reading its manifest only.

        Raises:
            BundleIncomplete: there is no manifest.
            ContractError: the manifest is not one, or is too new.
        """
        path = root / "manifest.json"
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            what = "is not finished" if (root / "files").exists() else "is not a bundle"
            raise BundleIncomplete(
                f"{root} {what}: it has no manifest.json",
                fix=f"run the stage that makes it, or `hala-release adopt DIR --kind KIND --out {root}`",
            ) from error
        return cls(root, Manifest.from_json(data, where=str(path)), hashlib.sha256(data).hexdigest())

    @property
    def files(self) -> Path:
        """Where the payload lies."""
        return self.root / "files"

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return sum(entry.size for entry in self.manifest.files)

    def read(self, entry: FileEntry) -> bytes:
        """Return a payload file's bytes, known to be those that were sealed.

        Raises:
            BundleChanged: they are not.
        """
        try:
            data = (self.files / entry.path).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleChanged(f"{self.root}: {entry.path} is missing", fix=_FIX_CHANGED) from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleChanged(f"{self.root}: {entry.path} changed after it was sealed", fix=_FIX_CHANGED)
        return data

    def verify(self, *, rehash: bool = False) -> None:
        """Return when `files/` is what was sealed, file by file and nothing else.

        A file whose size, times and inode are those of its last hashing is not read again, unless `rehash`.

        Raises:
            BundleChanged: lists every file that is missing, changed or added, and every link.
        """
        remembered = {} if rehash else _remembered(self.root)
        present, problems = walk(self.files)
        seen: dict[str, list[int | str]] = {}
        for entry in self.manifest.files:
            file = present.pop(entry.path, None)
            if file is None:
                problems.append(f"{entry.path} is missing")
                continue
            mark = _mark(file)
            if mark[0] != entry.size:
                problems.append(f"{entry.path} has {mark[0]:,} bytes, sealed with {entry.size:,}")
                continue
            sealed: list[int | str] = [*mark, entry.sha256]
            if remembered.get(entry.path) != sealed and sha256_of(file) != entry.sha256:
                problems.append(f"{entry.path} has other bytes than were sealed")
            seen[entry.path] = sealed
        problems += [f"{path} was added" for path in present]
        if problems:
            raise BundleChanged(
                f"{self.root} is not what was sealed:\n" + "\n".join(f"  {problem}" for problem in problems),
                fix=_FIX_CHANGED,
            )
        if seen != remembered:
            _remember(self.root, seen)


def ancestors(inputs: Iterable[Bundle]) -> tuple[Ancestor, ...]:
    """Return what a bundle that is made from `inputs` descends from, each once, the nearest first."""
    found: dict[str, Ancestor] = {}
    for one in inputs:
        manifest, origin = one.manifest, one.manifest.provenance
        parent = Ancestor(
            manifest_sha256=one.manifest_sha256,
            name=manifest.name,
            kind=manifest.facts.kind,
            stage=origin.stage,
            config=origin.config,
            inputs=origin.inputs,
            tools=origin.tools,
        )
        for ancestor in (parent, *origin.ancestors):
            found.setdefault(ancestor.manifest_sha256, ancestor)
    return tuple(found.values())


_FIX_CHANGED = "put the files back, or make the bundle again; a sealed bundle is never edited"


def seal(root: Path, *, name: str, facts: Facts, provenance: Provenance, digests: Mapping[str, str]) -> Bundle:
    """Finish the bundle at `root`, whose payload lies in `root/files`: list it, make it read-only, write the manifest.

    Args:
        digests: sha256 by path, for the files whose writer computed it; the others are hashed here.

    Raises:
        PayloadInvalid: a link, or a path that cannot be published.
    """
    files = root / "files"
    present, problems = walk(files)
    if problems:
        raise PayloadInvalid(
            f"{root} cannot be sealed:\n" + "\n".join(f"  {problem}" for problem in problems),
            fix="rename or remove these files",
        )
    entries: list[FileEntry] = []
    seen: dict[str, list[int | str]] = {}
    for path, file in sorted(present.items()):
        digest = digests.get(path) or sha256_of(file)
        file.chmod(0o444)
        seen[path] = [*_mark(file), digest]
        entries.append(FileEntry(path=path, size=file.stat().st_size, sha256=digest))
    for folder, _, _ in os.walk(files):
        sync_directory(Path(folder))
    manifest = Manifest(name=name, facts=facts, files=tuple(entries), provenance=provenance)
    _remember(root, seen)
    write_atomic(root / "manifest.json", manifest.to_json(), mode=0o444)
    return Bundle.open(root)


def walk(root: Path, *, without: Collection[Path] = ()) -> tuple[dict[str, Path], list[str]]:
    """Return the regular files under `root` by path in the repository, and what cannot be published, as sentences.

    Args:
        without: files and directories to pass over.

    Raises:
        OSError: a directory cannot be read, so what it holds is not known.
    """
    found: dict[str, Path] = {}
    problems = []
    for folder, folders, names in os.walk(root, onerror=_unless_missing):
        folders[:] = [name for name in folders if Path(folder) / name not in without]
        for name in sorted([*names, *(name for name in folders if (Path(folder) / name).is_symlink())]):
            file = Path(folder) / name
            if file in without:
                continue
            path = file.relative_to(root).as_posix()
            mode = file.lstat().st_mode
            if stat.S_ISLNK(mode):
                problems.append(f"{_shown(path)} is a symbolic link")
            elif not stat.S_ISREG(mode):
                problems.append(f"{_shown(path)} is not a regular file")
            elif problem := problem_with_path(path):
                problems.append(f"{path!r} {problem}")
            else:
                found[path] = file
    problems += [f"{first} and {second} differ only in case" for first, second in collisions(sorted(found))]
    return found, problems


def _shown(path: str) -> str:
    """Return a path that is not checked yet so that it can be printed and steers no terminal."""
    return path if path.isprintable() else ascii(path)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _mark(file: Path) -> list[int]:
    """What changes when a file is written: also its change time, which no program can set back."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _remembered(root: Path) -> dict[str, list[int | str]]:
    try:
        document = json.loads((root / ".digests.json").read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}  # never written, or cut off: hashing again is always right
    return document if isinstance(document, dict) else {}


def _remember(root: Path, seen: Mapping[str, list[int | str]]) -> None:
    if os.access(root, os.W_OK):
        write_atomic(root / ".digests.json", json.dumps(seen).encode())
