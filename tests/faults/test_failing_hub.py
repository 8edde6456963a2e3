"""A push against a Hub that fails in the middle of a commit, or is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hala_release.errors import HubUnavailable
from hala_release.hub import Hub
from hala_release.localhub import daemon
from tests import factories
from tests.publish import families
from tests.publish.families import REPOS, commits, namespace, owner, planned, pushed, refs


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a Hub that the tests of this module may kill."""
    root = tmp_path_factory.mktemp("mortal") / "hub"
    daemon.start(root)
    yield root
    daemon.stop(root)


@pytest.fixture
def running(mortal: Path) -> daemon.Running:
    """That Hub, running."""
    return daemon.start(mortal)


def is_published_in_one_commit_each(release: Path, running: daemon.Running, tag: str = "v1.0.0") -> None:
    """Assert that the release is on the Hub, exactly, by one commit per repository."""
    api, ns = owner(running), namespace(release)
    assert planned(release, Hub(running.url, running.token))[0].is_nothing
    for kind, repo in REPOS:
        assert commits(api, kind, f"{ns}/{repo}").count(f"Release family {tag.removeprefix('v')}") == 1
        found = refs(api, kind, f"{ns}/{repo}")
        assert found["refs/heads/main"] == found[f"refs/tags/{tag}"]


@pytest.mark.parametrize("how", ["error", "drop"])
def test_a_commit_that_happened_before_the_hub_failed_counts(family: Path, running: daemon.Running, how: str) -> None:
    families.ask_local(running, "faults", {"when": "after-commit", "how": how, "times": 2})
    done = pushed(family, Hub(running.url, running.token))
    assert len(done.receipts) == 2
    is_published_in_one_commit_each(family, running)


@pytest.mark.parametrize("how", ["error", "drop"])
def test_a_commit_that_did_not_happen_is_an_error_and_the_next_push_converges(
    family: Path, running: daemon.Running, how: str
) -> None:
    families.ask_local(running, "faults", {"when": "before-commit", "how": how, "times": 1})
    with pytest.raises(HubUnavailable, match="corpus") as failed:
        pushed(family, Hub(running.url, running.token))
    assert "run the same command again" in failed.value.fix
    assert "refs/tags/v1.0.0" not in refs(owner(running), "dataset", f"{namespace(family)}/corpus")
    pushed(family, Hub(running.url, running.token))
    is_published_in_one_commit_each(family, running)


STEPS = ("creating", "sending", "committing", "verifying", "tagging", "making")


@pytest.mark.parametrize("step", STEPS)
def test_a_hub_that_is_killed_and_started_again_holds_the_whole_release_after_the_next_push(
    tmp_path: Path, mortal: Path, step: str
) -> None:
    release = factories.family(tmp_path, rows=3_000)
    first = daemon.start(mortal)
    revival = threading.Thread(target=daemon.start, args=(mortal,))

    def die() -> None:
        os.kill(first.pid, signal.SIGKILL)
        revival.start()

    death = threading.Timer(0.004, die)

    def talk(sentence: str) -> None:
        if sentence.startswith(step) and f"{namespace(release)}/model" in sentence:
            death.start()

    try:
        done = pushed(release, Hub(first.url, first.token), talk)
    except HubUnavailable as error:
        assert "again" in error.fix
        assert first.token not in str(error)
    else:  # the client asked again until the Hub was back
        assert done.sent_bytes is None or done.sent_bytes >= 0
    death.join()
    revival.join()
    again = daemon.start(mortal)
    assert again.pid != first.pid
    if not planned(release, Hub(again.url, again.token))[0].is_nothing:
        pushed(release, Hub(again.url, again.token))
    is_published_in_one_commit_each(release, again)
