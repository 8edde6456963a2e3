"""The pages for people, and what is served to those who ask for something else."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import HfApi

from hala_release.localhub.app import UNBUILT
from tests.hub.conftest import Ask

CARD = """---
license: mit
pipeline_tag: translation
library_name: transformers
language: [ar]
base_model: %s
base_model_relation: quantized
datasets: [acme/not-here]
tags: ["<b>tag"]
model-index:
- name: M
  results:
  - task: {type: translation}
    dataset: {type: acme/b, name: Bench, config: ar}
    metrics: [{type: chrf, value: 51.5}]
---
# بطاقة
<!-- hala:begin results -->

| a | b |
|---|---|
| 1 | 2 |

![chart](assets/x.png)
<script>alert(1)</script>
"""


@pytest.fixture
def model(api: HfApi, name: str) -> str:
    api.create_repo(name)
    for path, content in (("README.md", (CARD % name).encode()), ("assets/x.png", b"png"), ("<b>'\".txt", b"x")):
        api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=name)
    return name


def test_a_page_shows_the_card_as_people_read_it(api: HfApi, ask: Ask, model: str) -> None:
    sha = api.model_info(model).sha
    page = ask("GET", f"/{model}", token=None)
    shown = page.body.decode()
    assert page.status == 200
    assert '<h1 id="بطاقة">بطاقة</h1>' in shown
    assert "<td>1</td>" in shown
    assert f'src="/{model}/resolve/{sha}/assets/x.png"' in shown
    assert "license: mit" not in shown
    assert "hala:begin" not in shown
    assert "<script" not in shown
    assert "<b>" not in shown
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'" in policy


def test_a_page_says_what_the_metadata_says(ask: Ask, model: str) -> None:
    shown = ask("GET", f"/{model}", token=None).body.decode()
    for badge in ("<small>task</small> translation", "<small>license</small> mit", "<small>language</small> ar"):
        assert badge in shown
    assert f"<small>quantized of</small> <a href='/{model}'>{model}</a>" in shown
    assert "<small>dataset</small> acme/not-here" in shown
    assert "&lt;b&gt;tag" in shown
    row = ("translation", "Bench (ar)", "chrf", "51.5")
    assert f"<tr>{''.join(f'<td dir=auto>{cell}</td>' for cell in row)}</tr>" in shown
    assert "<small>3 bytes</small>" in shown


def test_a_page_shows_the_revision_that_is_asked_for(api: HfApi, ask: Ask, model: str) -> None:
    api.create_tag(model, tag="v1.0.0")
    api.upload_file(path_or_fileobj=b"---\nlicense: mit\n---\n# Second", path_in_repo="README.md", repo_id=model)
    assert "Second" in ask("GET", f"/{model}").body.decode()
    assert "<a href='?rev=v1.0.0'>v1.0.0</a>" in ask("GET", f"/{model}").body.decode()
    assert "بطاقة" in ask("GET", f"/{model}?rev=v1.0.0").body.decode()
    assert ask("GET", f"/{model}?rev=nowhere").status == 404


def test_odd_metadata_does_not_break_the_page(api: HfApi, ask: Ask, name: str) -> None:
    api.create_repo(name)
    odd = "tags: [1, {a: b}]\nmodel-index: [1, {results: [2, {metrics: 5}]}]\nbase_model: [x, ../y, a/b/c]"
    for card, title in ((f"---\n{odd}\n---\n# Odd", "Odd"), ("---\na: [\n---\n# Broken", "Broken")):
        file = {"key": "file", "value": {"path": "README.md", "content": card, "encoding": "utf-8"}}
        body = "\n".join(json.dumps(line) for line in ({"key": "header", "value": {"summary": "odd"}}, file))
        assert ask("POST", f"/api/models/{name}/commit/main", body.encode()).status == 200
        assert f">{title}</h1>" in ask("GET", f"/{name}").body.decode()


def test_a_private_base_is_not_given_away(api: HfApi, ask: Ask, dataset: str, name: str) -> None:
    card = f"---\ndatasets: [{dataset}]\n---\n# Model"
    api.create_repo(name)
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=name)
    link = f"<a href='/datasets/{dataset}'>"
    assert link in ask("GET", f"/{name}", token=None).body.decode()
    api.update_repo_settings(dataset, private=True, repo_type="dataset")
    assert link not in ask("GET", f"/{name}", token=None).body.decode()
    assert link in ask("GET", f"/{name}").body.decode()


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
