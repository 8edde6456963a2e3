"""From a recipe to a program that answers: where a Space lives, what its app sees, and when it is there.

The app runs with the rights of whoever runs this Hub; it sees nothing of our environment, but it is not locked in.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hala_release.errors import HalaError
from hala_release.localhub import building, daemon
from hala_release.localhub.blobs import Shelf
from hala_release.localhub.building import ConfigInvalid, Recipe, Source, Steps
from hala_release.localhub.child import SCRIPT, Child
from hala_release.localhub.journal import Journal

SHARED = "HALA_SPACE_ENVIRONMENTS"
"""The variable that names a folder of environments for several Hubs."""
POLL = 0.2
COMMIT = "[0-9a-f]" * 40
FIXED = frozenset({"GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "SYSTEM"})
"""What a Space cannot set, for it would listen elsewhere: with SYSTEM=spaces, gradio listens on every address."""

Settings = Callable[[str], tuple[dict[str, str], dict[str, str]]]
"""Variables and secrets of the Space with a key."""


class App(NamedTuple):
    """A program that answers, or is expected to."""

    child: Child
    port: int
    commit: str
    folder: Path


class Crashed(HalaError):
    """The program ended, or did not answer in time."""


class NothingToRun(HalaError):
    """The commit has no app file."""


class Ground:
    """The folders of all Spaces under a Hub's root, and the way from a commit to an app that answers."""

    def __init__(self, root: Path, blobs: Shelf, settings: Settings) -> None:
        self._root = root
        self._blobs = blobs
        self._settings = settings
        self._shelf = Path(os.environ.get(SHARED) or root / "environments").absolute()
        self._ports: set[int] = set()
        self._lock = threading.Lock()

    def place(self, key: str) -> Path:
        """The folder of a Space: its checkouts, its logs, its home."""
        return (self._root / "spaces" / key).absolute()

    def sweep(self, known: set[str]) -> None:
        """Remove what an earlier Hub left: checkouts, and all of Spaces that are gone."""
        for place in (self._root / "spaces").glob("*"):
            if place.name in known:
                self.clean(place.name, None)
            else:
                shutil.rmtree(place, ignore_errors=True)

    def clean(self, key: str, app: App | None) -> None:
        """Remove all checkouts of a Space but the one that runs."""
        for folder in self.place(key).glob(f"{COMMIT}*"):
            if app is None or folder != app.folder:
                shutil.rmtree(folder, ignore_errors=True)

    def start(self, source: Source, steps: Steps, log: Journal, starting: Callable[[], None], *, factory: bool) -> App:
        """Build a commit and start it; `starting` is called between the two.

        Raises:
            ConfigInvalid, NothingToRun, BuildFailed, Crashed: it does not run, and why.
        """
        plan = building.recipe(source)
        folder = self._folder(source)
        building.checkout(source, self._blobs, folder, steps)
        if not (folder / plan.app_file).is_file():
            raise NothingToRun(f"{plan.app_file} is not there")
        environment = building.environment(plan, folder, self._shelf, steps, factory=factory)
        home = self.place(source.key) / "home"
        home.mkdir(exist_ok=True)
        env = self._environment(source, environment, home)
        building.preload(plan, environment / "bin" / "python", env, home, steps)
        variables, secrets = self._settings(source.key)
        if both := variables.keys() & secrets.keys():
            raise ConfigInvalid(f"Collision on variables and secrets names: {', '.join(sorted(both))}")
        port = self._free_port()
        env |= {"SPACE_HOST": f"{daemon.HOST}:{port}", **variables, **secrets}
        env = {key: value for key, value in env.items() if key not in FIXED}
        env |= {"GRADIO_SERVER_NAME": daemon.HOST, "GRADIO_SERVER_PORT": str(port)}
        steps.say("starting the app")
        starting()
        log.clear()
        child = Child(environment / "bin" / "python", SCRIPT, plan.app_file, cwd=folder, env=env, journal=log)
        _wait(child, port, plan, steps)
        return App(child, port, source.commit, folder)

    def _environment(self, source: Source, environment: Path, home: Path) -> dict[str, str]:
        """What an app and a preload see: nothing of ours but the path and the language."""
        author, _, name = source.repo.partition("/")
        title = source.header.get("title")
        return {
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": str(home),
            "HF_HOME": str(home / ".cache" / "huggingface"),
            "HF_ENDPOINT": f"http://{daemon.HOST}:{daemon.last_port(self._root)}",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "DO_NOT_TRACK": "1",
            "NO_PROXY": f"{daemon.HOST},localhost",
            "PYTHONUNBUFFERED": "1",
            "SPACE_ID": source.repo,
            "SPACE_AUTHOR_NAME": author,
            "SPACE_REPO_NAME": name,
            "SPACE_TITLE": title if isinstance(title, str) and "\0" not in title else name,
        }

    def _folder(self, source: Source) -> Path:
        """A folder for a checkout that nobody uses, not even an app of the same commit."""
        place, number = self.place(source.key) / source.commit, 1
        while place.exists():
            place, number = place.with_name(f"{source.commit}.{number}"), number + 1
        return place

    def _free_port(self) -> int:
        """A port that nobody listens on and that no other app was given."""
        while True:
            with contextlib.closing(socket.socket()) as probe:
                probe.bind((daemon.HOST, 0))
                port = int(probe.getsockname()[1])
            with self._lock:
                if port not in self._ports:
                    self._ports.add(port)
                    return port


def _wait(child: Child, port: int, plan: Recipe, steps: Steps) -> None:
    """Wait until an app answers; one that does not is stopped."""
    deadline = time.monotonic() + plan.startup
    try:
        while not (_answers(port) and child.status is None):
            if child.status is not None:
                raise Crashed(ending(child.status))
            if time.monotonic() > deadline:
                within = f"within {plan.startup:g} seconds"
                raise Crashed(f"The app did not answer {within} on port {port}, which GRADIO_SERVER_PORT names")
            steps.pause(POLL)
    except HalaError:
        child.stop()
        raise


def ending(status: int) -> str:
    """How a program ended, in words."""
    return f"Exit code: {status}" if status >= 0 else f"Ended by signal {-status}"


def _answers(port: int) -> bool:
    """Whether the first page is there."""
    connection = http.client.HTTPConnection(daemon.HOST, port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
