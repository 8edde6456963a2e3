"""Scores as the Hub reads them: entries of its leaderboards, where it keeps one, and `model-index` everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hala_release.bundle import Bundle
from hala_release.cli.plan import plan_lines
from hala_release.errors import HubError
from hala_release.hub import Hub
from hala_release.localhub import daemon
from hala_release.release import load
from hala_release.verify import verify
from tests import factories
from tests.factories import hala_release
from tests.publish import families
from tests.publish.families import REPOS, namespace, owner, planned, pushed, refs, tree

ENTRY = ".eval_results/hala-release-exams.yaml"


def benchmark_of(release: Path) -> str:
    """Return the id of the dataset that the model was asked."""
    return f"{namespace(release)}-bench/exams"


@pytest.fixture
def commit(family: Path, embedded: daemon.Running) -> str:
    """The commit of a dataset with questions, which is no registered benchmark yet."""
    api, repo = owner(embedded), benchmark_of(family)
    api.create_repo(repo, repo_type="dataset")
    done = api.upload_file(
        path_or_fileobj=b"name: Exams\ntasks: [{id: arabic}, {id: english}]\n",
        path_in_repo="eval.yaml",
        repo_id=repo,
        repo_type="dataset",
    )
    return str(done.oid)


@pytest.fixture
def measured(family: Path, commit: str) -> Path:
    """The family with results on that dataset and on a file, of which the first are to enter the leaderboard."""
    factories.write_results(
        family.parent / "results",
        Bundle.open(family.parent / "model"),
        factories.score(data=f"{benchmark_of(family)}@{commit}"),
        factories.score(task="mine", title="Mine", metric="chrf++", value=64.2, out_of=100, stderr=None, n=1012),
    )
    return families.artifact(family, "model", results=["results"], eval_results={"exams": "arabic"})


def register(release: Path, hub: daemon.Running, *, tags: str = "['benchmark:official']") -> None:
    """Do what the staff of the Hub does when it accepts a benchmark."""
    families.write_card(hub, "dataset", benchmark_of(release), f"---\ntags: {tags}\n---\n# Exams\n")


def verified(release: Path, hub: Hub) -> list[str]:
    """Return what verification says."""
    loaded = load(release)
    return [finding.message for finding in verify(loaded, families.planned(release, hub)[1], hub)]


def index_of(text: str) -> list[EvalResult]:
    """Return the scores of a card as the Hub's own library reads them."""
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return data.eval_results or []


def test_a_dataset_that_is_no_registered_benchmark_gets_no_entry_and_the_plan_says_so(
    measured: Path, hub: Hub, embedded: daemon.Running
) -> None:
    made, _ = planned(measured, hub)
    assert [repo.unregistered for repo in made.repos] == [(), (ENTRY,)]
    said = f"  without {ENTRY}: its dataset is no registered benchmark of this Hub"
    assert said in list(plan_lines(made))
    pushed(measured, hub)
    held = tree(owner(embedded), "model", f"{namespace(measured)}/model", "v1.0.0").keys()
    assert "evals/results.json" in held
    assert not any(path.startswith(".eval_results/") for path in held)
    assert verified(measured, hub) == []
    assert planned(measured, hub)[0].is_nothing


def test_a_registered_benchmark_gets_an_entry_that_the_hub_reads(
    measured: Path, hub: Hub, embedded: daemon.Running, commit: str
) -> None:
    register(measured, embedded)
    repo, api = f"{namespace(measured)}/model", owner(embedded)
    assert [one.unregistered for one in planned(measured, hub)[0].repos] == [(), ()]
    pushed(measured, hub)
    got = api.hf_hub_download(repo, ENTRY, revision="v1.0.0", cache_dir=measured.parent / "cache")
    assert yaml.safe_load(Path(got).read_text(encoding="utf-8")) == [
        {
            "dataset": {"id": benchmark_of(measured), "task_id": "arabic", "revision": commit},
            "value": 36.92,
            "notes": "acc_norm, 0-shot, prompt in ar, lm-eval 0.4.13",
        }
    ]
    for revision in ("v1.0.0", "main"):
        (entry,) = api.model_info(repo, revision=revision, expand=["evalResults"]).eval_results or []
        assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == (benchmark_of(measured), "arabic", commit)
        assert entry.value == 36.92
    assert verified(measured, hub) == []
    assert pushed(measured, hub).receipts == ()


def test_a_task_that_the_benchmark_does_not_have_stops_the_push_before_any_tag_with_the_hubs_sentence(
    measured: Path, hub: Hub, embedded: daemon.Running
) -> None:
    register(measured, embedded)
    families.artifact(measured, "model", eval_results={"exams": "arabisch"})
    told = f"{benchmark_of(measured)} has no task 'arabisch' in its eval.yaml"
    with pytest.raises(HubError, match="the Hub does not accept these entries of leaderboards") as refused:
        pushed(measured, hub)
    assert f"{ENTRY}: [0]: {told}" in str(refused.value)
    assert "eval_results" in refused.value.fix
    done = hala_release(
        "push", str(measured), "--hub", embedded.url, "--yes", cwd=measured.parent, HF_TOKEN=embedded.token
    )
    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (5, True, False), done.stderr
    api, ns = owner(embedded), namespace(measured)
    for kind, name in REPOS:
        assert refs(api, kind, f"{ns}/{name}").keys() == {"refs/heads/main"}
        assert api.repo_info(f"{ns}/{name}", repo_type=kind).private

    pushed(families.artifact(measured, "model", eval_results={"exams": "arabic"}), hub)
    assert verified(measured, hub) == []


def test_a_benchmark_that_is_registered_later_enters_with_the_next_version(
    measured: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(measured, hub)
    register(measured, embedded)
    before = families.state(embedded, namespace(measured))
    made, _ = planned(measured, hub)
    assert (made.is_nothing, [repo.card_differs for repo in made.repos]) == (True, [False, True])
    assert verified(measured, hub) == ["the card at v1.0.0 reads otherwise than it would be rendered now"]
    pushed(measured, hub)
    assert families.state(embedded, namespace(measured)) == before
    pushed(families.edited(measured, version="1.1.0"), hub)
    assert ENTRY in tree(owner(embedded), "model", f"{namespace(measured)}/model", "v1.1.0")
    assert verified(measured, hub) == []

    register(measured, embedded, tags="[exams]")
    assert planned(measured, hub)[0].is_nothing
    pushed(families.edited(measured, version="1.2.0"), hub)
    assert ENTRY not in tree(owner(embedded), "model", f"{namespace(measured)}/model", "v1.2.0")
    assert verified(measured, hub) == []


def test_an_entry_that_somebody_else_put_there_stays(measured: Path, hub: Hub, embedded: daemon.Running) -> None:
    register(measured, embedded)
    pushed(measured, hub)
    repo, api, theirs = f"{namespace(measured)}/model", owner(embedded), ".eval_results/community.yaml"
    entry = f"- dataset: {{id: {benchmark_of(measured)}, task_id: arabic}}\n  value: 36.1\n"
    api.upload_file(path_or_fileobj=entry.encode(), path_in_repo=theirs, repo_id=repo)
    pushed(families.edited(measured, version="1.1.0"), hub)
    assert {ENTRY, theirs} <= tree(api, "model", repo, "v1.1.0").keys()
    assert verified(measured, hub) == []


def test_a_score_that_is_not_meant_for_a_leaderboard_gets_no_entry(
    measured: Path, hub: Hub, embedded: daemon.Running
) -> None:
    register(measured, embedded)
    families.artifact(measured, "model", eval_results={})
    pushed(measured, hub)
    held = tree(owner(embedded), "model", f"{namespace(measured)}/model", "v1.0.0").keys()
    assert not any(path.startswith(".eval_results/") for path in held)


def test_the_index_of_scores_is_read_with_error_and_number_of_items(
    measured: Path, hub: Hub, embedded: daemon.Running, commit: str
) -> None:
    pushed(measured, hub)
    repo = f"{namespace(measured)}/model"
    text = families.card(embedded, "model", repo, "v1.0.0")
    exams, mine = index_of(text)
    assert (exams.dataset_type, exams.dataset_revision) == (benchmark_of(measured), commit)
    assert (exams.dataset_name, exams.metric_type, exams.metric_value) == ("EXAMS", "acc_norm", 0.3692)
    assert exams.metric_args is not None
    assert (exams.metric_args["stderr"], exams.metric_args["n"]) == (0.0204, 562)
    assert mine.metric_args is not None
    assert (mine.metric_value, mine.metric_args["n"], "stderr" in mine.metric_args) == (64.2, 1012, False)

    with_people = text.replace("---\n", "---\nthumbnail: theirs.png\n", 1)
    families.write_card(embedded, "model", repo, with_people)
    pushed(families.edited(measured, version="1.1.0"), hub)
    kept = index_of(families.card(embedded, "model", repo, "v1.1.0"))
    assert [one.metric_args for one in kept] == [exams.metric_args, mine.metric_args]


def test_the_card_prints_the_score_that_the_published_file_has(
    measured: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(measured, hub)
    repo, api = f"{namespace(measured)}/model", owner(embedded)
    got = api.hf_hub_download(repo, "evals/results.json", revision="v1.0.0", cache_dir=measured.parent / "cache")
    (published,) = json.loads(Path(got).read_text(encoding="utf-8"))["results"]
    assert [(one["task"], one["value"], one["stderr"], one["n"]) for one in published["scores"]] == [
        ("exams", 0.3692, 0.0204, 562),
        ("mine", 64.2, None, 1012),
    ]
    assert published["manifest_sha256"] == Bundle.open(measured.parent / "results").manifest_sha256
    assert "36.9 ± 4.0" in families.card(embedded, "model", repo, "v1.0.0")
