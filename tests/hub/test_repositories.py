"""Repositories as wholes: created, found, hidden, moved, deleted."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from hala_release.localhub.daemon import Running
from tests.hub.conftest import Ask


def refused(status: int) -> pytest.RaisesExc[HfHubHTTPError]:
    return pytest.RaisesExc(HfHubHTTPError, check=lambda error: error.response.status_code == status)


def test_the_token_has_an_owner(api: HfApi) -> None:
    me = api.whoami()
    assert me["name"] == "local"
    assert me["auth"]["accessToken"]["role"] == "write"


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_new_repository_starts_with_the_hubs_attributes(api: HfApi, name: str, kind: str) -> None:
    url = api.create_repo(name, repo_type=kind, space_sdk="gradio" if kind == "space" else None)
    assert (url.repo_id, url.repo_type) == (name, kind)
    assert api.list_repo_files(name, repo_type=kind) == [".gitattributes"]
    assert [c.title for c in api.list_repo_commits(name, repo_type=kind)] == ["initial commit"]


def test_creating_twice_is_a_conflict_that_exist_ok_forgives(api: HfApi, dataset: str) -> None:
    with refused(409):
        api.create_repo(dataset.upper(), repo_type="dataset")
    assert api.create_repo(dataset, repo_type="dataset", exist_ok=True).repo_id == dataset


def test_ids_are_found_whatever_their_case(api: HfApi, dataset: str) -> None:
    assert api.dataset_info(dataset.upper()).id == dataset


def test_a_moved_repository_keeps_its_old_name(api: HfApi, dataset: str) -> None:
    api.move_repo(dataset, dataset + "-moved", repo_type="dataset")
    assert api.dataset_info(dataset).id == dataset + "-moved"
    api.move_repo(dataset + "-moved", dataset + "-again", repo_type="dataset")
    assert api.dataset_info(dataset).id == dataset + "-again"


def test_a_repository_cannot_move_onto_another(api: HfApi, dataset: str) -> None:
    api.create_repo(dataset + "-other", repo_type="dataset")
    with refused(409):
        api.move_repo(dataset, dataset + "-other", repo_type="dataset")


def test_a_deleted_repository_is_gone(api: HfApi, dataset: str) -> None:
    api.delete_repo(dataset, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info(dataset)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(dataset, repo_type="dataset")


def test_a_private_repository_does_not_exist_for_strangers(api: HfApi, anonymous: HfApi, dataset: str) -> None:
    api.update_repo_settings(dataset, private=True, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        anonymous.dataset_info(dataset)
    with pytest.raises(RepositoryNotFoundError):
        anonymous.list_repo_files(dataset, repo_type="dataset")
    assert dataset not in [d.id for d in anonymous.list_datasets(author="acme")]
    assert api.dataset_info(dataset).private
    api.update_repo_settings(dataset, private=False, repo_type="dataset")
    assert not anonymous.dataset_info(dataset).private


def test_a_gated_repository_shows_itself_and_keeps_its_files(api: HfApi, anonymous: HfApi, dataset: str) -> None:
    api.update_repo_settings(dataset, gated="manual", repo_type="dataset")
    assert anonymous.dataset_info(dataset).gated == "manual"
    with pytest.raises(GatedRepoError):
        anonymous.auth_check(dataset, repo_type="dataset")
    with pytest.raises(GatedRepoError):
        anonymous.hf_hub_download(dataset, ".gitattributes", repo_type="dataset")
    api.auth_check(dataset, repo_type="dataset")


def test_a_wrong_token_is_named_as_such(local_hub: Running, dataset: str) -> None:
    stranger = HfApi(endpoint=local_hub.url, token="hf_wrong")
    with refused(401) as caught:
        stranger.dataset_info(dataset)
    assert "Invalid credentials" in str(caught.value)
    assert caught.value.request_id


def test_a_token_that_may_read_cannot_write(local_hub: Running, ask: Ask, dataset: str) -> None:
    token = ask("POST", "/_local/tokens", {"role": "read"}).json["token"]
    reader = HfApi(endpoint=local_hub.url, token=token)
    assert reader.dataset_info(dataset).id == dataset
    with refused(403):
        reader.create_repo(dataset + "-new")
    with refused(403):
        reader.create_tag(dataset, tag="v1", repo_type="dataset")
    with refused(403):
        reader.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=dataset, repo_type="dataset")


def test_nobody_writes_without_a_token(anonymous: HfApi, dataset: str) -> None:
    with refused(401):
        anonymous.create_tag(dataset, tag="v1", repo_type="dataset")
    with refused(401):
        anonymous.create_repo(dataset + "-new")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "type": "kernel"},
        {"name": "../x"},
        {"name": "x", "organization": "api"},
        {"name": "x--y"},
        {"name": "x.git"},
        {"name": 5},
        {},
        {"name": "x", "visibility": "secret"},
        {"name": "x", "type": "space"},
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_nonsense_is_refused_with_a_sentence(ask: Ask, body: object) -> None:
    answer = ask("POST", "/api/repos/create", body)
    assert answer.status == 400
    assert answer.headers["x-error-message"]
    assert answer.json["error"]


def test_lists_are_filtered_by_author_word_and_tag(api: HfApi, name: str) -> None:
    api.create_repo(name)
    card = b"---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [arabic]\n---\n"
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=name)
    for found in (
        api.list_models(author="ACME", search=name.split("/")[1].upper()),
        api.list_models(filter=["arabic", "license:mit"], limit=1),
        api.list_models(pipeline_tag="text-generation", full=True),
    ):
        assert name in [model.id for model in found]
    assert not list(api.list_models(author="nobody"))


def test_long_lists_come_in_pages(api: HfApi, ask: Ask) -> None:
    for number in range(5):
        ask("POST", "/api/repos/create", {"name": f"p{number}", "organization": "pages"})
    assert len(list(api.list_models(author="pages", limit=2))) == 2
    seen, address = [], "/api/models?author=pages&limit=2"
    while address:
        page = ask("GET", address)
        seen += [model["id"] for model in page.json]
        address = page.headers.get("link", "").partition(">")[0].partition("//")[2].partition("/")[2]
        address = address and "/" + address
    assert sorted(seen) == [f"pages/p{number}" for number in range(5)]


def test_a_model_says_what_its_card_says(api: HfApi, name: str) -> None:
    api.create_repo(name)
    card = b"---\nlicense: apache-2.0\nbase_model: LiquidAI/LFM2-1.2B\nlanguage: [ar, en]\n---\n# M\n"
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=name)
    info = api.model_info(name, files_metadata=True)
    assert info.card_data is not None
    assert info.card_data["base_model"] == "LiquidAI/LFM2-1.2B"
    assert {"license:apache-2.0", "base_model:LiquidAI/LFM2-1.2B", "ar"} <= set(info.tags or [])
    assert [(s.rfilename, s.size) for s in info.siblings or []][1] == ("README.md", len(card))
    assert vars(api.model_info(name, expand=["sha"]))["sha"] == info.sha


def test_a_space_has_a_runtime(api: HfApi, name: str) -> None:
    api.create_repo(name, repo_type="space", space_sdk="gradio")
    assert api.get_space_runtime(name).stage == "NO_APP_FILE"
    assert api.space_info(name).sdk == "gradio"
