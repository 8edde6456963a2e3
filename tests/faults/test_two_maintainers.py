"""Two people push at once: one wins, the other is told or has nothing left to do, and no tree is mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hala_release.errors import HubError, HubMoved, TagTaken
from hala_release.hub import Hub
from hala_release.localhub import daemon
from tests import factories
from tests.faults.test_killed_push import start_push
from tests.publish import families
from tests.publish.families import REPOS, commits, namespace, owner, planned, pushed, tree

STEPS = [
    f"{verb} {repo}"
    for verb in ("creating", "sending", "committing", "verifying", "tagging", "making")
    for _, repo in REPOS
]


@pytest.fixture
def other(family: Path) -> Path:
    """The same family in the checkout of a second maintainer."""
    folder = family.parent / "other"
    shutil.copytree(family.parent, folder)
    return folder / family.name


class Interruption:
    """Somebody who does something at one step of a push, once."""

    def __init__(self, step: str, release: Path, hub: Hub) -> None:
        self.verb, self.repo = step.split()
        self.release, self.hub = release, hub
        self.came = False

    def __call__(self, sentence: str) -> None:
        """Hear what is being done, and push at the moment that was chosen."""
        if not self.came and sentence.startswith(self.verb) and f"{namespace(self.release)}/{self.repo}" in sentence:
            self.came = True
            pushed(self.release, self.hub)


@pytest.mark.parametrize("step", STEPS)
def test_the_same_release_is_published_once(
    family: Path, other: Path, hub: Hub, embedded: daemon.Running, step: str
) -> None:
    families.edited(family, collection={"title": "Family"})
    families.edited(other, collection={"title": "Family"})
    second = Interruption(step, other, hub)
    try:
        pushed(family, hub, second)
    except HubMoved as moved:
        assert "hala-release plan" in moved.fix
        assert step.startswith("creating")
    assert second.came
    assert planned(family, hub)[0].is_nothing
    for kind, repo in REPOS:
        assert commits(owner(embedded), kind, f"{namespace(family)}/{repo}") == [
            "initial commit",
            "Release family 1.0.0",
        ]
    assert len(list(owner(embedded).list_collections(owner=namespace(family)))) == 1


@pytest.mark.parametrize("step", [step for step in STEPS if not step.startswith(("creating", "making"))])
def test_of_two_versions_each_tag_names_a_whole_one(
    family: Path, other: Path, hub: Hub, embedded: daemon.Running, step: str
) -> None:
    pushed(family, hub)
    families.second_version(family)
    families.edited(other, version="1.0.1")
    second = Interruption(step, other, hub)
    try:
        pushed(family, hub, second)
    except HubMoved as moved:
        assert "hala-release plan" in moved.fix
        assert step.startswith(("sending", "committing"))
    assert second.came
    ns, api = namespace(family), owner(embedded)
    assert planned(other, hub)[0].is_nothing

    if not planned(family, hub)[0].is_nothing:
        pushed(family, hub)
    assert planned(family, hub)[0].is_nothing
    assert planned(other, hub)[0].is_nothing
    for kind, repo in REPOS:
        trees = [tree(api, kind, f"{ns}/{repo}", tag) for tag in ("v1.0.0", "v1.0.1", "v1.1.0")]
        assert len({frozenset(one.items()) for one in trees}) == 3


def test_the_same_version_with_other_content_has_one_winner(
    family: Path, other: Path, hub: Hub, embedded: daemon.Running
) -> None:
    def more(raw: Path) -> None:
        (raw / "NOTICE.md").write_text("of the second maintainer\n")

    families.rebundled(other, "model", "model", more)
    with pytest.raises((HubMoved, TagTaken)):
        pushed(family, hub, Interruption("committing model", other, hub))
    assert planned(other, hub)[0].is_nothing
    with pytest.raises(TagTaken, match="with other content"):
        planned(family, hub)
    assert "NOTICE.md" in tree(owner(embedded), "model", f"{namespace(family)}/model", "v1.0.0")


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("versions", [("1.0.0", "1.0.0"), ("1.0.0", "1.1.0")])
def test_two_processes_at_once(
    tmp_path: Path, hub: Hub, embedded: daemon.Running, versions: tuple[str, str], attempt: int
) -> None:
    first = factories.family(tmp_path / "one", rows=50 + attempt)
    shutil.copytree(first.parent, tmp_path / "two")
    second = families.edited(tmp_path / "two" / first.name, version=versions[1])
    processes = [start_push(release, embedded) for release in (first, second)]
    said = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert 0 in codes, said
    for code, words in zip(codes, said, strict=True):
        assert code in (0, 5)
        assert (code == 5) == ("hala-release plan" in words), words
    ns, api = namespace(first), owner(embedded)
    for release, code in zip((first, second), codes, strict=True):
        if code == 0:
            assert planned(release, hub)[0].is_nothing
        else:
            try:
                pushed(release, hub)
            except HubError as error:
                raise AssertionError(f"the second attempt of the other fails too: {error}") from error
    for kind, repo in REPOS:
        made = [title for title in commits(api, kind, f"{ns}/{repo}") if title != "initial commit"]
        assert len(made) == len(set(made)) == len(set(versions))
