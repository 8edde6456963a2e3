"""Everything the Hub keeps, under one root directory.

.hala-hub     the store's identity; a directory without it is not a Hub's
hub.db        repositories, old names, tokens, collections, variables and secrets of Spaces (sqlite, 0600)
repos/ID.git  one bare git repository each, named by an id that never changes
blobs/        large files by sha256, and xorbs/ chunks of Xet, shared by all repositories
incoming/     half-received files; emptied at start
spaces/ID/    what a Space needs to run: checkouts, logs, the home of its app; environments/ are shared by all Spaces
token         the owner's token; signing.key is behind upload links and Xet tokens (both 0600, made once)
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
import string
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hala_release.localhub import git
from hala_release.localhub.blobs import Shelf
from hala_release.localhub.daemon import MARKER, refuse_foreign
from hala_release.localhub.refused import Refused
from hala_release.localhub.running import Apps

SCHEMA = """
create table if not exists repos (
  key text primary key, kind text not null, namespace text not null, name text not null, lowered text not null,
  visibility text not null, gated text not null, sdk text not null, created text not null, modified text not null,
  unique (kind, lowered));
create table if not exists old_names (kind text, lowered text, key text not null, primary key (kind, lowered));
create table if not exists tokens (digest text primary key, name text not null, role text not null);
create table if not exists collections (
  key text primary key, owner text not null, title text not null, description text not null, private integer not null,
  theme text not null, position integer not null, updated text not null);
create table if not exists collection_items (
  key text primary key, collection text not null, kind text not null, item text not null, note text not null,
  position integer not null, unique (collection, kind, item));
create table if not exists space_settings (
  key text not null, kind text not null, name text not null, value text not null, description text,
  updated text not null, primary key (key, kind, name));
"""


@dataclass(frozen=True)
class Caller:
    """The owner of a valid token."""

    name: str
    role: str

    @property
    def writes(self) -> bool:
        """Whether the token may change anything."""
        return self.role == "write"


@dataclass(frozen=True)
class Repo:
    """A repository: where it is and what its owner set."""

    key: str
    kind: str
    namespace: str
    name: str
    visibility: str
    gated: str
    sdk: str
    created: str
    modified: str
    git_dir: Path

    @property
    def id(self) -> str:
        """Namespace and name as they were last written."""
        return f"{self.namespace}/{self.name}"

    @property
    def url_path(self) -> str:
        """The path of its page: models have no prefix."""
        return self.id if self.kind == "model" else f"{self.kind}s/{self.id}"

    @property
    def private(self) -> bool:
        """Whether it is hidden from callers without a token."""
        return self.visibility == "private"


class Store:
    """One root directory, opened."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.id = prepare(root)
        self.token = (root / "token").read_text().strip()
        self.blobs = Shelf(root / "blobs", root / "incoming")
        self.xorbs = Shelf(root / "xorbs", root / "incoming")
        self.apps = Apps(root, self.blobs, self.space_settings)
        (root / "hub.db").touch(mode=0o600)
        self._db = sqlite3.connect(root / "hub.db", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db_lock = threading.RLock()
        self._repo_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        with self.db() as db:
            db.executescript("pragma journal_mode = wal; pragma synchronous = full;" + SCHEMA)
        self.add_token(self.token, "write")
        self._sweep()

    @contextmanager
    def db(self) -> Iterator[sqlite3.Connection]:
        """The database in one transaction, for one thread at a time."""
        with self._db_lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:  # whatever it was, also a request that was cut off
                self._db.execute("rollback")
                raise
            if self._db.in_transaction:
                self._db.execute("commit")

    @contextmanager
    def writing(self, repo: Repo) -> Iterator[None]:
        """Hold the only place in which a repository's refs may be changed."""
        with self._repo_locks[repo.key]:
            if not repo.git_dir.exists():
                raise Refused(404, "Repository not found", code="RepoNotFound")
            yield

    def git_dir(self, key: str) -> Path:
        """The bare repository of a key."""
        return self.root / "repos" / f"{key}.git"

    def find(self, kind: str, repo_id: str) -> Repo | None:
        """A repository by its present name or one it had before, whatever the case."""
        lowered = repo_id.lower()
        with self.db() as db:
            row = db.execute("select * from repos where kind = ? and lowered = ?", (kind, lowered)).fetchone()
            row = (
                row
                or db.execute(
                    "select repos.* from old_names old join repos using (key) where old.kind = ? and old.lowered = ?",
                    (kind, lowered),
                ).fetchone()
            )
        return self._repo(row) if row else None

    def repos(self, kind: str | None = None) -> list[Repo]:
        """All repositories, the last changed first."""
        with self.db() as db:
            rows = db.execute("select * from repos where ? is null or kind = ? order by modified desc", (kind, kind))
            return [self._repo(row) for row in rows]

    def _repo(self, row: sqlite3.Row) -> Repo:
        values = {key: row[key] for key in row.keys() if key != "lowered"}  # noqa: SIM118 - a Row iterates over values
        return Repo(**values, git_dir=self.git_dir(row["key"]))

    def touch(self, repo: Repo, **settings: str) -> None:
        """Note that a repository changed, and the settings that changed with it."""
        values = {**settings, "modified": now()}
        with self.db() as db:
            for column, value in values.items():
                db.execute(f"update repos set {column} = ? where key = ?", (value, repo.key))  # noqa: S608 - our names

    def caller(self, token: str) -> Caller | None:
        """Whose token this is."""
        with self.db() as db:
            row = db.execute("select name, role from tokens where digest = ?", (digest(token),)).fetchone()
        return Caller(row["name"], row["role"]) if row else None

    def add_token(self, token: str, role: str) -> None:
        """Accept a token; only its digest is kept."""
        with self.db() as db:
            db.execute("insert or ignore into tokens values (?, ?, ?)", (digest(token), git.AUTHOR, role))

    def space_settings(self, key: str) -> tuple[dict[str, str], dict[str, str]]:
        """The variables and the secrets of a Space, with their values."""
        with self.db() as db:
            rows = db.execute("select kind, name, value from space_settings where key = ?", (key,)).fetchall()
        variables, secrets = ({r["name"]: r["value"] for r in rows if r["kind"] == k} for k in ("variables", "secrets"))
        return variables, secrets

    def _sweep(self) -> None:
        """Remove what a killed server left half done: received parts, and repositories that were never announced."""
        for part in (self.root / "incoming").iterdir():
            part.unlink()
        keys = {repo.key for repo in self.repos()}
        self.apps.sweep(keys)
        known = {f"{key}.git" for key in keys}
        for path in (self.root / "repos").iterdir():
            if path.name not in known:
                shutil.rmtree(path)
                continue
            for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "fast_import_crash_*"):
                for left in path.glob(pattern):
                    left.unlink()
            if (path / git.INCOMING).is_dir():
                shutil.rmtree(path / git.INCOMING)


def prepare(root: Path) -> str:
    """Make the root, or recognise it; returns the store's id."""
    refuse_foreign(root)
    made = {MARKER: secrets.token_hex(12), "token": new_token(), "signing.key": secrets.token_hex(32)}
    for name, text in made.items():
        if not (root / name).exists():
            write_secret(root / name, text)
    for name in ("repos", "blobs", "xorbs", "incoming"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return (root / MARKER).read_text().strip()


def write_secret(path: Path, text: str) -> None:
    """Write a small file that only its owner can read, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def new_token() -> str:
    """A random token in the form that clients expect."""
    return "hf_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(34))


def new_key() -> str:
    """Twelve random bytes in hexadecimal, as the Hub's object ids look."""
    return secrets.token_hex(12)


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def now() -> str:
    """The present moment as the Hub writes it."""
    return moment(datetime.now(UTC))


def moment(time: datetime) -> str:
    """A moment as the Hub writes it, in milliseconds and UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
