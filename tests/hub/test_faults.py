"""A Hub that fails on purpose: before the effect nothing happened, after it everything did."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub.conftest import Ask


def upload(api: HfApi, dataset: str) -> None:
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id=dataset, repo_type="dataset")


@pytest.mark.parametrize(("when", "happened"), [("before-commit", False), ("after-commit", True)])
@pytest.mark.parametrize("how", ["error", "drop"])
def test_a_fault_strikes_once(api: HfApi, ask: Ask, dataset: str, when: str, how: str, happened: bool) -> None:
    assert ask("POST", "/_local/faults", {"when": when, "how": how}).status == 200
    with pytest.raises(Exception) as caught:
        upload(api, dataset)
    assert isinstance(caught.value, HfHubHTTPError) == (how == "error")
    assert ("a.txt" in api.list_repo_files(dataset, repo_type="dataset")) == happened
    upload(api, dataset)
    assert "a.txt" in api.list_repo_files(dataset, repo_type="dataset")


def test_only_the_owner_may_ask_for_faults(ask: Ask) -> None:
    assert ask("POST", "/_local/faults", {"when": "before-commit"}, token=None).status == 401
    assert ask("POST", "/_local/faults", {"when": "at noon"}).status == 400
