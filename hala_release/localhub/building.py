"""From a commit of a Space to what can be started: its configuration, its files, its environment, its models.

What differs from the Hub: there is no container, so a Space runs with the rights of whoever runs this Hub, system
packages (packages.txt) are not installed, and `gradio` is installed without the extras that the Hub adds. Environments
are shared by all Spaces that ask for the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hala_release.errors import HalaError
from hala_release.localhub import git, names, pointers
from hala_release.localhub.blobs import Shelf
from hala_release.localhub.child import MODULE
from hala_release.localhub.refused import Refused

SDK = "gradio"
"""The only kind of Space that is run here."""
COMPLETE = "complete"
"""The file that is written last into an environment."""
PIECE = 64 << 20
REQUIREMENTS = ("pre-requirements.txt", "requirements.txt")
STARTUP = "30m"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
REGULAR = {"100644": 0o644, "100755": 0o755}
PRELOAD = """
import json
from huggingface_hub import hf_hub_download, snapshot_download
sys.tracebacklimit = 0
repo, files, revision = json.loads(sys.argv[0])
for file in files:
    print(hf_hub_download(repo, file, revision=revision))
if not files:
    print(snapshot_download(repo, revision=revision))
"""


class BuildFailed(HalaError):
    """The Space cannot be built; the message stands at the end of its build log."""


class ConfigInvalid(HalaError):
    """The card does not say how to run the Space."""


class Source(NamedTuple):
    """A commit of a Space."""

    key: str
    repo: str
    git_dir: Path
    commit: str
    header: Mapping[str, Any]
    """The metadata of its card."""
    fault: str
    """Why the metadata cannot be read; empty if it can."""


class Preload(NamedTuple):
    """A model whose files are fetched before the app starts; all of its files if none is named."""

    repo: str
    files: list[str]
    revision: str | None


class Recipe(NamedTuple):
    """How a Space wants to be run."""

    sdk_version: str
    python: str
    app_file: str
    startup: float
    preload: list[Preload]


class Steps(Protocol):
    """The build that a step belongs to: takes its words, runs its programs, ends it when it is not wanted any more."""

    def say(self, words: str) -> None:
        """Write a line into the build log."""

    def run(self, python: str | Path, program: str, *arguments: str, cwd: Path, env: Mapping[str, str]) -> int:
        """Run a program to its end; returns its exit status."""

    def pause(self, seconds: float) -> None:
        """Wait a little."""


def app_file(header: Mapping[str, Any]) -> str:
    """The file that is run: app.py unless the card names another."""
    named = header.get("app_file")
    return named if isinstance(named, str) and named else "app.py"


def recipe(source: Source) -> Recipe:
    """Read the card of a Space.

    Raises:
        ConfigInvalid: it cannot be read, or a value in it cannot be used.
    """
    if source.fault:
        raise ConfigInvalid(f"The metadata in README.md cannot be read: {source.fault}")
    header = source.header
    if (sdk := header.get("sdk") or SDK) != SDK:
        raise ConfigInvalid(f"This Hub runs {SDK} Spaces only; README.md names the sdk {str(sdk)[:100]!r}")
    version = _version(header, "sdk_version", r"\d+(\.\d+){1,2}\w*")
    if not version:
        raise ConfigInvalid("README.md must name the `sdk_version`, for example 6.31.0")
    startup = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhd])[a-z]*", str(header.get("startup_duration_timeout") or STARTUP))
    if startup is None:
        raise ConfigInvalid("`startup_duration_timeout` must be a time like 30m or 1h")
    try:
        app = names.path(app_file(header))
    except Refused as refusal:
        raise ConfigInvalid(f"`app_file`: {refusal}") from refusal
    preload = header.get("preload_from_hub") or []
    if not isinstance(preload, list):
        raise ConfigInvalid("`preload_from_hub` must be a list")
    python = _version(header, "python_version", r"3\.\d+(\.\d+)?")
    wanted = ".".join(python.split(".")[:2])
    return Recipe(version, wanted, app, float(startup[1]) * UNITS[startup[2]], [_preload(line) for line in preload])


def _version(header: Mapping[str, Any], key: str, form: str) -> str:
    value = header.get(key)
    said = "" if value is None else str(value)
    if said and not re.fullmatch(form, said):
        raise ConfigInvalid(f"`{key}` is {said[:100]!r}, which is no version")
    return said


def _preload(line: object) -> Preload:
    """`repo [file,file] [sha]`; one word after the repository is a commit if it looks like one."""
    words = line.split() if isinstance(line, str) else []
    if not 1 <= len(words) <= 3 or not re.fullmatch(r"[\w.-]+/[\w.-]+", words[0]):
        raise ConfigInvalid(f"`preload_from_hub` has {str(line)[:100]!r}; write: namespace/name file,file commit")
    revision = words.pop() if len(words) > 1 and re.fullmatch("[0-9a-f]{40}", words[-1]) else None
    if len(words) == 3:
        raise ConfigInvalid(f"`preload_from_hub` names the commit {words[2][:100]!r}; it must have 40 digits")
    return Preload(words[0], words[1].split(",") if len(words) == 2 else [], revision)


def checkout(source: Source, blobs: Shelf, folder: Path, steps: Steps) -> None:
    """Write the files of a commit into a folder that does not exist yet; links and submodules are left out."""
    folder.mkdir(parents=True)
    waiting, size = list[tuple[str, Path, int]](), 0
    for mode, oid, bytes_of, path in _tree(source):
        if mode not in REGULAR:
            steps.say(f"{path} is left out: it is a link, not a file")
            continue
        try:
            place = folder / names.path(path)
            place.parent.mkdir(parents=True, exist_ok=True)
        except (Refused, OSError) as error:
            raise BuildFailed(f"The repository has a file that cannot be written: {error}") from error
        waiting.append((oid, place, REGULAR[mode]))
        size += bytes_of
        if size > PIECE:
            _write(source, blobs, waiting)
            waiting, size = [], 0
    _write(source, blobs, waiting)


def _tree(source: Source) -> Iterator[tuple[str, str, int, str]]:
    """Mode, object, size and path of every entry that is no folder."""
    for line in git.run(source.git_dir, "ls-tree", "-r", "-z", "-l", source.commit).split(b"\0")[:-1]:
        about, _, path = line.partition(b"\t")
        mode, _, oid, size = about.decode().split()
        yield mode, oid, 0 if size == "-" else int(size), path.decode("utf-8", "surrogateescape")


def _write(source: Source, blobs: Shelf, files: list[tuple[str, Path, int]]) -> None:
    for oid, content in git.contents(source.git_dir, [oid for oid, _, _ in files]).items():
        for place, mode in ((place, mode) for found, place, mode in files if found == oid):
            try:
                # "x": the folder is new, so whatever is there already came from the same tree.
                with place.open("xb") as file:
                    if pointer := pointers.parse(content):
                        with blobs.path(pointer.sha256).open("rb") as large:
                            shutil.copyfileobj(large, file)
                    else:
                        file.write(content)
                place.chmod(mode)
            except OSError as error:
                raise BuildFailed(f"{place.name} cannot be written: {error}") from error


def find_python(wanted: str) -> tuple[str, str]:
    """A Python that can make environments, and its version: the wanted one from PATH, or this one."""
    if wanted and wanted != f"{sys.version_info.major}.{sys.version_info.minor}":
        question = "import ensurepip, venv, platform; print(platform.python_version())"
        if found := shutil.which(f"python{wanted}"):
            asked = subprocess.run([found, "-Ic", question], capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if not asked.returncode and asked.stdout.startswith(f"{wanted}."):
                return found, asked.stdout.strip()
    return sys.executable, platform.python_version()


def digest(sdk_version: str, python_version: str, requirements: Mapping[str, str]) -> str:
    """The name of the environment that fulfils these wishes."""
    asked = {"sdk_version": sdk_version, "python": python_version, "requirements": dict(requirements)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def environment(plan: Recipe, folder: Path, shelf: Path, steps: Steps, *, factory: bool) -> Path:
    """The environment of a checkout, made if nobody made it yet; `factory` makes another one in any case."""
    python, version = find_python(plan.python)
    if plan.python and not version.startswith(f"{plan.python}."):
        steps.say(f"python_version: there is no Python {plan.python} here, so Python {version} is used")
    if (folder / "packages.txt").exists():
        steps.say("packages.txt: this Hub does not install system packages")
    asked = {
        name: (folder / name).read_text(encoding="utf-8", errors="replace")
        for name in REQUIREMENTS
        if (folder / name).is_file()
    }
    name = digest(plan.sdk_version, version, asked)
    shelf.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _held(shelf / f"{name}.lock", steps):
        made = [path for path in shelf.glob(f"{name}*") if (path / COMPLETE).exists()]
        newest = max(made, key=lambda path: (path / COMPLETE).stat().st_mtime, default=None)
        if newest and not factory:
            steps.say(f"environment {newest.name}: made before")
            return newest
        # An environment that was made may be in use, so a factory restart makes another one beside it.
        place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=shelf)) if newest else shelf / name
        shutil.rmtree(place, ignore_errors=True)
        steps.say(f"environment {place.name}: Python {version}, gradio {plan.sdk_version}")
        _install(python, place, plan, asked, steps)
        (place / COMPLETE).touch()
        return place


@contextmanager
def _held(path: Path, steps: Steps) -> Iterator[None]:
    """Hold a lock that Hubs share; it falls when its holder dies."""
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                steps.pause(0.2)
            else:
                break
        yield


def _install(python: str, place: Path, plan: Recipe, asked: Mapping[str, str], steps: Steps) -> None:
    """Make an environment. As on the Hub, requirements are installed before the other files are there.

    pip sees its own settings, its proxies, and our home for its configuration and its cache; no token of ours.
    """
    kept = ("PATH", "LANG", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    env = {
        key: value
        for key, value in os.environ.items()
        if key in kept or key.startswith("PIP_") or key.lower().endswith("_proxy")
    }
    env |= {"PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_PROGRESS_BAR": "off"}
    with tempfile.TemporaryDirectory(prefix="hala-space-") as folder:
        cwd = Path(folder)
        for name, text in asked.items():
            (cwd / name).write_text(text, encoding="utf-8")
        if steps.run(python, MODULE, "venv", str(place), cwd=cwd, env=env):
            raise BuildFailed("the environment could not be made")
        wanted = [["-r", name] for name in REQUIREMENTS if name in asked] or [[]]
        wanted[-1].append(f"gradio=={plan.sdk_version}")
        for words in wanted:
            steps.say(f"pip install {' '.join(words)}")
            if steps.run(place / "bin" / "python", MODULE, "pip", "install", *words, cwd=cwd, env=env):
                raise BuildFailed("pip could not install what the Space needs; its words stand above")


def preload(plan: Recipe, python: Path, env: Mapping[str, str], home: Path, steps: Steps) -> None:
    """Fetch the models that the card names, from this Hub and without a token, as the Hub itself does."""
    for wanted in plan.preload:
        steps.say(f"preload_from_hub: {wanted.repo} {','.join(wanted.files)} {wanted.revision or ''}".rstrip())
        asked = json.dumps([wanted.repo, wanted.files, wanted.revision])
        if steps.run(python, PRELOAD, asked, cwd=home, env=env):
            raise BuildFailed(
                f"preload_from_hub: {wanted.repo} could not be fetched from this Hub; "
                "it must be here and public, because a build has no token"
            )
