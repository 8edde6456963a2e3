"""Collections, as the client makes and reads them."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError


def test_a_collection_lives_through_the_client(api: HfApi, dataset: str, name: str) -> None:
    model = name + "-model"
    api.create_repo(model)
    made = api.create_collection(f"Family of {name}", namespace="acme", description="All of it")
    api.add_collection_item(made.slug, dataset, "dataset", note="the corpus")
    full = api.add_collection_item(made.slug, model.upper(), "model")
    assert [(i.item_id, i.item_type, i.note) for i in full.items] == [
        (dataset, "dataset", "the corpus"),
        (model, "model", None),
    ]
    api.update_collection_item(made.slug, full.items[1].item_object_id, position=0, note="first")
    assert [i.item_id for i in api.get_collection(made.slug).items] == [model, dataset]
    assert made.slug in [c.slug for c in api.list_collections(owner="acme")]
    assert made.slug in [c.slug for c in api.list_collections(item=f"datasets/{dataset}")]
    changed = api.update_collection_metadata(made.slug, title="Another name", theme="pink", private=True)
    assert (changed.title, changed.theme, changed.private) == ("Another name", "pink", True)
    assert api.get_collection(made.slug).slug == changed.slug
    api.delete_collection_item(made.slug, full.items[0].item_object_id)
    api.delete_collection_item(made.slug, full.items[0].item_object_id, missing_ok=True)
    assert [i.item_id for i in api.get_collection(made.slug).items] == [model]
    api.delete_collection(made.slug)
    with pytest.raises(HfHubHTTPError):
        api.get_collection(made.slug)


def test_the_same_collection_and_item_are_made_once(api: HfApi, dataset: str, name: str) -> None:
    made = api.create_collection(name, namespace="acme")
    assert api.create_collection(name, namespace="acme", exists_ok=True).slug == made.slug
    api.add_collection_item(made.slug, dataset, "dataset")
    assert len(api.add_collection_item(made.slug, dataset, "dataset", exists_ok=True).items) == 1
    with pytest.raises(HfHubHTTPError):
        api.add_collection_item(made.slug, dataset, "dataset")


def test_what_does_not_exist_cannot_be_collected(api: HfApi, name: str) -> None:
    made = api.create_collection(name, namespace="acme")
    with pytest.raises(HfHubHTTPError) as caught:
        api.add_collection_item(made.slug, "acme/nowhere", "model")
    assert caught.value.response.status_code == 404


def test_items_follow_their_repository(api: HfApi, dataset: str, name: str) -> None:
    made = api.create_collection(name, namespace="acme")
    api.add_collection_item(made.slug, dataset, "dataset")
    api.move_repo(dataset, dataset + "-moved", repo_type="dataset")
    assert [i.item_id for i in api.get_collection(made.slug).items] == [dataset + "-moved"]
    api.delete_repo(dataset + "-moved", repo_type="dataset")
    assert api.get_collection(made.slug).items == []
