"""The programs of Spaces: built when somebody asks, started, watched, stopped.

What differs from the Hub: nothing starts by itself, neither by a commit to a Space that rests nor when the Hub comes
back; a Space that nobody asked for is PAUSED. Nothing falls asleep. What an app writes into its home, downloaded models
for example, outlives a restart.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hala_release.errors import HalaError
from hala_release.localhub.blobs import Shelf
from hala_release.localhub.building import ConfigInvalid, Source
from hala_release.localhub.child import Child
from hala_release.localhub.journal import Journal
from hala_release.localhub.starting import POLL, App, Crashed, Ground, NothingToRun, Settings, ending

LAST_LINES = 20
RUNNING = "RUNNING"

Read = Callable[[], Source]
"""The head of a Space, read again at every call."""


class Runtime(NamedTuple):
    """What is known of a Space that somebody asked to run."""

    stage: str
    sha: str
    """The commit that runs; while none does, the one that is built or that failed."""
    port: int | None
    error: str


class Superseded(HalaError):
    """Nobody wants this build any more."""


class Job:
    """One build of one Space, in a thread of its own."""

    def __init__(self, commit: str, journal: Journal, *, factory: bool) -> None:
        self.commit = commit
        self.factory = factory
        self.cancelled = threading.Event()
        self._journal = journal

    def say(self, words: str) -> None:
        """Write into the build log."""
        self._journal.add(words)

    def pause(self, seconds: float) -> None:
        """Wait a little, and go no further if nobody wants the build any more."""
        if self.cancelled.wait(seconds):
            raise Superseded("another build took its place")

    def run(self, python: str | Path, program: str, *arguments: str, cwd: Path, env: Mapping[str, str]) -> int:
        """Run a step to its end; returns its exit status."""
        child = Child(python, program, *arguments, cwd=cwd, env=env, journal=self._journal)
        try:
            while not child.wait(POLL):
                self.pause(0)
        finally:
            child.stop()
        return child.status or 0


@dataclass
class Space:
    """A Space that somebody asked to run; changed only under the lock of `Apps`."""

    key: str
    read: Read
    stage: str = "BUILDING"
    sha: str = ""
    error: str = ""
    app: App | None = None
    job: Job | None = None

    def at(self, step: str) -> None:
        """Note the step of a build; while an app still answers, the stage says so."""
        self.stage = f"{RUNNING}_{step}" if self.app else step
        self.error = ""
        if self.job and not self.app:
            self.sha = self.job.commit

    def ended(self, stage: str, sha: str, error: str, app: App | None) -> App | None:
        """Note how a build or an app ended; returns the app that has to go."""
        old, self.app, self.job = self.app, app, None
        self.stage, self.sha, self.error = stage, sha, error
        return old


class Apps:
    """All Spaces that run or are to run. No lock is held while something is built, started or stopped."""

    def __init__(self, root: Path, blobs: Shelf, settings: Settings) -> None:
        self.leaving = False
        """Whether the Hub is about to end, so that nobody waits for more."""
        self._ground = Ground(root, blobs, settings)
        self._lock = threading.RLock()
        self._spaces: dict[str, Space] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._journals: dict[tuple[str, str], Journal] = {}

    def sweep(self, known: set[str]) -> None:
        """Remove what an earlier Hub left of its Spaces; `known` are the keys of those that still exist."""
        self._ground.sweep(known)

    def runtime(self, key: str) -> Runtime | None:
        """What is known of a Space; None if nobody asked to run it."""
        with self._lock:
            space = self._spaces.get(key)
            if space is None:
                return None
            return Runtime(space.stage, space.sha, space.app.port if space.app else None, space.error)

    def building(self, key: str) -> bool:
        """Whether a build or a start is under way."""
        with self._lock:
            space = self._spaces.get(key)
            return bool(space and space.job)

    def log(self, key: str, which: str) -> Journal:
        """The log of a Space, `build` or `run`."""
        with self._lock:
            if (key, which) not in self._journals:
                self._journals[key, which] = Journal(self._ground.place(key) / f"{which}.log")
            return self._journals[key, which]

    def restart(self, read: Read, *, factory: bool = False, anew: bool = False) -> None:
        """Build the head and run it; a build of the same commit is joined, one of another commit makes room.

        `factory` makes the environment again; `anew` is for changes that a build under way may have missed.
        """
        source = read()
        with self._lock:
            space = self._spaces.setdefault(source.key, Space(source.key, read))
            space.read = read
            if space.job:
                if space.job.commit == source.commit and not factory and not anew:
                    return
                space.job.cancelled.set()
            job = space.job = Job(source.commit, self.log(source.key, "build"), factory=factory)
            space.at("BUILDING")
            work = threading.Thread(target=self._work, args=(space, job, self._threads.get(source.key)), daemon=True)
            self._threads[source.key] = work
            work.start()

    def follow(self, key: str, read: Read) -> None:
        """A commit came: build it, if somebody asked to run the Space."""
        if self.runtime(key):
            self.restart(read)

    def refresh(self, key: str) -> None:
        """Variables or secrets changed: start again with them, if somebody asked to run the Space."""
        with self._lock:
            space = self._spaces.get(key)
        if space:
            self.restart(space.read, anew=True)

    def pause(self, key: str) -> None:
        """Stop the app and the build, and forget that anybody asked."""
        with self._lock:
            space = self._spaces.pop(key, None)
            if space and space.job:
                space.job.cancelled.set()
        if space and space.app:
            space.app.child.stop()

    def forget(self, key: str) -> None:
        """Stop everything of a Space that is gone, and remove what it left."""
        self.pause(key)
        with self._lock:
            work = self._threads.pop(key, None)
        if work:
            work.join()
        with self._lock:
            for which in ("build", "run"):
                self._journals.pop((key, which), None)
        shutil.rmtree(self._ground.place(key), ignore_errors=True)

    def close(self) -> None:
        """Stop every app and every build."""
        with self._lock:
            spaces, threads = dict(self._spaces), list(self._threads.values())
        for space in spaces.values():
            if space.app:
                space.app.child.end()
        for key in spaces:
            self.pause(key)
        for thread in threads:
            thread.join()

    def _work(self, space: Space, job: Job, previous: threading.Thread | None) -> None:
        """Build and start; note how it ended, unless another build took its place."""
        if previous:
            previous.join()
        built, ran = self.log(space.key, "build"), self.log(space.key, "run")
        app, stage, error = None, RUNNING, ""
        try:
            app = self._start(space, job)
        except Superseded:
            return
        except ConfigInvalid as fault:
            stage, error = "CONFIG_ERROR", str(fault)
            built.add(error)
        except NothingToRun as fault:
            stage, error = "NO_APP_FILE", str(fault)
            built.add(error)
        except Crashed as fault:
            stage, error = "RUNTIME_ERROR", f"{fault}\n{ran.tail(LAST_LINES)}".strip()
        except (HalaError, OSError, ValueError) as fault:
            built.add(str(fault))
            stage, error = "BUILD_ERROR", built.tail(LAST_LINES)
        with self._lock:
            wanted = not job.cancelled.is_set()
            goes = space.ended(stage, job.commit, error, app) if wanted else app
        if goes:
            goes.child.stop()
        if wanted and app:
            running = app
            app.child.when_ended(lambda: self._died(space, running))
        if wanted:
            self._ground.clean(space.key, app)

    def _start(self, space: Space, job: Job) -> App:
        job.pause(0)
        source = space.read()
        self.log(space.key, "build").clear()
        job.say(f"building {source.repo} at {source.commit}")

        def reached(step: str) -> None:
            with self._lock:
                job.pause(0)
                job.commit = source.commit
                space.at(step)

        reached("BUILDING")
        log = self.log(space.key, "run")
        return self._ground.start(source, job, log, lambda: reached("APP_STARTING"), factory=job.factory)

    def _died(self, space: Space, app: App) -> None:
        """Note that an app ended by itself."""
        words = f"{ending(app.child.status or 0)}\n{self.log(space.key, 'run').tail(LAST_LINES)}".strip()
        with self._lock:
            if space.app is not app:
                return
            if space.job:
                space.app = None
                space.at(space.stage.removeprefix(f"{RUNNING}_"))
            else:
                space.ended("RUNTIME_ERROR", app.commit, words, None)
