"""The pages for people, and what is served to those who ask for something else."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from hala_release.localhub.app import UNBUILT
from tests.hub.conftest import Ask

CARD = "---\nlicense: mit\n---\n# بطاقة\n<script>alert(1)</script>\n"


def test_a_page_shows_card_files_and_tags(api: HfApi, ask: Ask, dataset: str) -> None:
    api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id=dataset, repo_type="dataset")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="<b>'\".txt", repo_id=dataset, repo_type="dataset")
    api.create_tag(dataset, tag="v1.0.0", repo_type="dataset")
    page = ask("GET", f"/datasets/{dataset}", token=None)
    shown = page.body.decode()
    assert page.status == 200
    assert "بطاقة" in shown
    assert "<pre dir=auto>" in shown
    assert "v1.0.0" in shown
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_first_page_lists_what_one_may_see(api: HfApi, ask: Ask, dataset: str) -> None:
    assert dataset in ask("GET", "/", token=None).body.decode()
    api.update_repo_settings(dataset, private=True, repo_type="dataset")
    assert dataset not in ask("GET", "/", token=None).body.decode()
    assert dataset in ask("GET", "/").body.decode()
    assert ask("GET", f"/datasets/{dataset}", token=None).status == 401


@pytest.mark.parametrize("pattern", [pattern for patterns in UNBUILT.values() for pattern in patterns])
def test_what_is_not_built_says_so(ask: Ask, pattern: str) -> None:
    address = pattern.replace("{T}", "models").replace("{P}", "").replace("{ns}", "a").replace("{name}", "b")
    for part in ("{rest*}", "{rev}", "{path*}", "{slug}", "{log}"):
        address = address.replace(part, "c")
    answer = ask("POST", address, {})
    assert answer.status == 501
    assert "not built yet" in answer.headers["x-error-message"]


@pytest.mark.parametrize(
    "address", ["/api/telemetry/x", "/api/agent-harnesses", "/api/nothing/at/all", "/favicon.ico", "/%FF"]
)
def test_what_nobody_knows_is_not_found(ask: Ask, address: str) -> None:
    assert ask("GET", address, token=None).status == 404


@pytest.mark.parametrize("address", ["/api/models/gpt2", "/gpt2/resolve/main/config.json", "/api/models/a/nowhere"])
def test_unknown_repositories_are_named_as_such(ask: Ask, address: str) -> None:
    answer = ask("GET", address)
    assert (answer.status, answer.headers["x-error-code"]) == (404, "RepoNotFound")
    assert ask("GET", address, token=None).status == 401


def test_a_request_keeps_its_id(ask: Ask) -> None:
    assert ask("GET", "/_local/health", X_Amzn_Trace_Id="abc-1").headers["x-request-id"] == "abc-1"
    assert ask("GET", "/_local/health", X_Amzn_Trace_Id="a b<").headers["x-request-id"] != "a b<"
    assert ask("PATCH", "/").status == 405
