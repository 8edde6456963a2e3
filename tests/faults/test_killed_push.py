"""`hala-release push` is killed at every step; the next push ends it, and no reader ever sees half of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from hala_release.hub import Hub
from hala_release.localhub import daemon
from hala_release.release import load
from hala_release.wanted import Wanted, wanted
from tests import factories
from tests.publish import families
from tests.publish.families import REPOS, commits, namespace, owner, planned, pushed, refs

SENTENCES = 15
"""What a push of two new repositories says on stderr: who publishes, then two sentences for each of its seven steps."""

DELAYS = (0.0, 0.002, 0.008)
"""Seconds between a sentence and the kill: in the request that follows, or just after it."""


class Moment(NamedTuple):
    """When a push is killed."""

    sentence: int
    delay: float


MOMENTS = [Moment(number, DELAYS[number % len(DELAYS)]) for number in range(1, SENTENCES + 1)]


def start_push(release: Path, hub: daemon.Running) -> subprocess.Popen[str]:
    """Start a push in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hala_release", "push", str(release), "--hub", hub.url, "--yes"],
        cwd=release.parent,
        env={**os.environ, "HF_TOKEN": hub.token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_at(moment: Moment, release: Path, hub: daemon.Running) -> list[str]:
    """Kill a push after a number of sentences, and return them."""
    process = start_push(release, hub)
    assert process.stderr is not None
    said = []
    with process:
        for line in process.stderr:
            if line.startswith(("warning:", "  fix:")):
                continue
            said.append(line.strip())
            if len(said) == moment.sentence:
                time.sleep(moment.delay)
                process.kill()
                break
    return said


class Watch:
    """A reader without a token, who looks again and again."""

    def __init__(self, hub: daemon.Running, tag: str, wants: Sequence[Wanted], *, before: bool) -> None:
        self.looks = 0
        self.wrong: list[str] = []
        self._hub, self._tag, self._wants, self._before = Hub(hub.url), tag, wants, before

    def look(self) -> None:
        """Look once at every repository."""
        self.looks += 1
        for want in self._wants:
            if self._hub.head(want.kind, want.repo) is None:
                if self._before:
                    self.wrong.append(f"{want.repo} is gone")
            elif self._hub.commit_of(want.kind, want.repo, self._tag):
                if change := want.changes(self._hub.tree(want.kind, want.repo, self._tag)):
                    self.wrong.append(f"{want.repo} has the tag on half a release: {change[0].path}")
            elif not self._before:
                self.wrong.append(f"{want.repo} is new, untagged and visible")


@contextmanager
def watching(hub: daemon.Running, release: Path, *, before: bool = False) -> Iterator[Watch]:
    """Let somebody look all the time; `before` says that older versions are public."""
    loaded = load(release)
    watch = Watch(hub, loaded.tag, wanted(loaded, release.parent), before=before)
    done = threading.Event()

    def look_on() -> None:
        while not done.is_set():
            watch.look()

    thread = threading.Thread(target=look_on)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()
    watch.look()
    assert watch.wrong == []


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"sentence-{moment.sentence}")
def test_a_first_release(tmp_path: Path, embedded: daemon.Running, hub: Hub, moment: Moment) -> None:
    release = factories.family(tmp_path, rows=200)
    with watching(embedded, release) as watch:
        assert len(killed_at(moment, release, embedded)) == moment.sentence
        if not planned(release, hub)[0].is_nothing:
            pushed(release, hub)
    assert watch.looks > 5
    assert planned(release, hub)[0].is_nothing
    for kind, repo in REPOS:
        assert commits(owner(embedded), kind, f"{namespace(release)}/{repo}") == [
            "initial commit",
            "Release family 1.0.0",
        ]


@pytest.mark.parametrize("step", ["sending", "committing", "verifying", "tagging"])
def test_a_later_version(tmp_path: Path, embedded: daemon.Running, hub: Hub, step: str) -> None:
    release = factories.family(tmp_path, rows=200)
    pushed(release, hub)
    old = {kind: refs(owner(embedded), kind, f"{namespace(release)}/{repo}") for kind, repo in REPOS}
    families.second_version(release)
    number = 2 + ["reading", "sending", "committing", "verifying", "tagging"].index(step) * 2
    with watching(embedded, release, before=True) as watch:
        said = killed_at(Moment(number, 0.004), release, embedded)
        assert said[-1].startswith(step)
        if not planned(release, hub)[0].is_nothing:
            pushed(release, hub)
    assert watch.looks > 5
    assert planned(release, hub)[0].is_nothing
    for kind, repo in REPOS:
        assert commits(owner(embedded), kind, f"{namespace(release)}/{repo}")[2:] == ["Release family 1.1.0"]
        now = refs(owner(embedded), kind, f"{namespace(release)}/{repo}")
        assert now["refs/tags/v1.0.0"] == old[kind]["refs/tags/v1.0.0"]


def test_an_uninterrupted_push_says_as_many_sentences_as_were_swept(tmp_path: Path, embedded: daemon.Running) -> None:
    release = factories.family(tmp_path)
    assert len(killed_at(Moment(10_000, 0), release, embedded)) == SENTENCES == len(MOMENTS)
