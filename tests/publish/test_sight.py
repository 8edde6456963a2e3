"""Who may see a release: visibility, collections, and what `verify` sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hala_release.cli.plan import plan_lines
from hala_release.errors import HubUnavailable
from hala_release.hub import Hub
from hala_release.localhub import daemon
from tests.factories import hala_release
from tests.publish import families
from tests.publish.families import REPOS, namespace, owner, planned, pushed, stranger


def visible(hub: daemon.Running, release: Path) -> list[str]:
    """Return the repositories of a family that a stranger sees."""
    api = stranger(hub)
    return [repo for kind, repo in REPOS if api.repo_exists(f"{namespace(release)}/{repo}", repo_type=kind)]


def test_a_private_release_stays_private_and_can_be_shown_and_hidden_again(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(families.edited(family, visibility="private"), hub)
    assert visible(embedded, family) == []
    assert planned(family, hub)[0].is_nothing

    families.edited(family, visibility="public")
    assert [repo.visibility for repo in planned(family, hub)[0].repos] == ["show", "show"]
    pushed(family, hub)
    assert visible(embedded, family) == ["corpus", "model"]

    pushed(families.edited(family, visibility="private"), hub)
    assert visible(embedded, family) == []
    assert planned(family, hub)[0].is_nothing
    for kind, repo in REPOS:
        titles = families.commits(owner(embedded), kind, f"{namespace(family)}/{repo}")
        assert titles == ["initial commit", "Release family 1.0.0"]


def test_what_becomes_private_is_hidden_before_the_new_version_is_in_it(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    families.edited(families.second_version(family), visibility="private")

    def talk(step: str) -> None:
        if step.startswith(("sending", "committing", "verifying", "tagging")):
            assert visible(embedded, family) == []

    pushed(family, hub, talk)
    assert visible(embedded, family) == []


def test_a_collection_is_made_once_and_completed_by_a_later_version(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    ns, api = namespace(family), owner(embedded)
    families.edited(family, collection={"title": "The family", "description": "What belongs together."})
    both = families.edited(family).read_text()
    document = families.read(family)
    families.edited(family, artifacts=document["artifacts"][:1])
    pushed(family, hub)
    assert planned(family, hub)[0].is_nothing
    (made,) = api.list_collections(owner=ns)
    assert (made.title, made.description) == ("The family", "What belongs together.")

    family.write_text(both)
    assert planned(family, hub)[0].collection is not None
    pushed(family, hub)
    (kept,) = api.list_collections(owner=ns)
    assert kept.slug == made.slug
    items = [(item.item_type, item.item_id) for item in api.get_collection(kept.slug).items]
    assert items == [("dataset", f"{ns}/corpus"), ("model", f"{ns}/model")]
    assert planned(family, hub)[0].is_nothing


def test_a_collection_is_completed_when_the_push_was_cut_off_before_it(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    families.edited(family, collection={"title": "The family"})

    def talk(step: str) -> None:
        if step.startswith("bringing the collection"):
            raise HubUnavailable("the line went dead")

    with pytest.raises(HubUnavailable, match="the line went dead"):
        pushed(family, hub, talk)
    assert list(owner(embedded).list_collections(owner=namespace(family))) == []
    rest, _ = planned(family, hub)
    assert all(repo.is_nothing for repo in rest.repos)
    pushed(family, hub)
    assert planned(family, hub)[0].is_nothing
    assert len(list(owner(embedded).list_collections(owner=namespace(family)))) == 1


def test_a_private_release_does_not_tell_its_name_in_a_public_collection(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(families.edited(family, visibility="private", collection={"title": "Not yet announced"}), hub)
    assert planned(family, hub)[0].is_nothing
    assert len(list(owner(embedded).list_collections(owner=namespace(family)))) == 1
    assert list(stranger(embedded).list_collections(owner=namespace(family))) == []

    lines = list(plan_lines(planned(families.edited(family, visibility="public"), hub)[0]))
    assert lines[lines.index("collection Not yet announced") + 1] == "  make it public"
    pushed(family, hub)
    assert len(list(stranger(embedded).list_collections(owner=namespace(family)))) == 1
    assert planned(family, hub)[0].is_nothing


Break = Callable[[HfApi, str], Any]

WEIGHTS = 470
"""Bytes of the weights that `factories.write_model` writes."""

DIFFERENCES: dict[str, tuple[Break, str, str]] = {
    "a repository is gone": (
        lambda api, ns: api.delete_repo(f"{ns}/model"),
        "{ns}/model",
        "there is no such model on",
    ),
    "a tag is gone": (
        lambda api, ns: api.delete_tag(f"{ns}/model", tag="v1.0.0"),
        "{ns}/model",
        "it has no tag v1.0.0",
    ),
    "a repository is hidden": (
        lambda api, ns: api.update_repo_settings(f"{ns}/corpus", repo_type="dataset", private=True),
        "{ns}/corpus",
        "it is private, the release says public",
    ),
    "a file is another": (
        lambda api, ns: retag(api, ns, lambda: api.upload_file(**upload(ns, "config.json"))),
        "{ns}/model, config.json",
        "other bytes than were sealed at v1.0.0",
    ),
    "weights of the same size are others": (
        lambda api, ns: retag(api, ns, lambda: api.upload_file(**upload(ns, "model.safetensors", b"\1" * WEIGHTS))),
        "{ns}/model, model.safetensors",
        "other bytes than were sealed at v1.0.0",
    ),
    "a file is surplus": (
        lambda api, ns: retag(api, ns, lambda: api.upload_file(**upload(ns, "deep/surplus.txt"))),
        "{ns}/model, deep/surplus.txt",
        "not part of the release, but there at v1.0.0",
    ),
    "a file is missing": (
        lambda api, ns: retag(api, ns, lambda: api.delete_file("tokenizer.json", f"{ns}/model")),
        "{ns}/model, tokenizer.json",
        "missing at v1.0.0",
    ),
}


def upload(ns: str, path: str, data: bytes = b"other") -> dict[str, Any]:
    """Return the arguments of an upload to the model."""
    return {"path_or_fileobj": data, "path_in_repo": path, "repo_id": f"{ns}/model"}


def retag(api: HfApi, ns: str, change: Callable[[], object]) -> None:
    """Move the tag of the model to a change, as nobody should."""
    change()
    api.delete_tag(f"{ns}/model", tag="v1.0.0")
    api.create_tag(f"{ns}/model", tag="v1.0.0")


@pytest.mark.parametrize("what", DIFFERENCES)
def test_verify_finds_that(family: Path, hub: Hub, embedded: daemon.Running, what: str) -> None:
    ns = namespace(family)
    change, where, message = DIFFERENCES[what]
    pushed(family, hub)
    there = ("verify", str(family), "--hub", embedded.url)
    assert hala_release(*there, cwd=family.parent, HF_TOKEN=embedded.token).returncode == 0
    assert (family.parent / "model" / "files" / "model.safetensors").stat().st_size == WEIGHTS
    change(owner(embedded), ns)
    before = families.state(embedded, ns)
    done = hala_release(*there, "--json", cwd=family.parent, HF_TOKEN=embedded.token)
    assert done.returncode == 4
    (finding,) = json.loads(done.stdout)["error"]["findings"]
    assert finding["where"] == where.format(ns=ns)
    assert message in finding["message"]
    assert finding["fix"]
    assert families.state(embedded, ns) == before


def test_verify_without_a_token_sees_what_strangers_see(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    pushed(family, hub)
    there = ("verify", str(family), "--hub", embedded.url)
    assert hala_release(*there, cwd=family.parent).returncode == 0
    pushed(families.edited(family, visibility="private"), hub)
    done = hala_release(*there, cwd=family.parent)
    assert done.returncode == 4
    assert "or this token may not see it" in done.stderr
