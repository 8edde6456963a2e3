"""The road of a release: planned, pushed, pushed again, changed, and what readers see meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hala_release.errors import BundleChanged, HubMoved, HubUnavailable
from hala_release.hub import Hub
from hala_release.localhub import daemon
from hala_release.push import Receipt
from tests import factories
from tests.factories import hala_release
from tests.publish import families
from tests.publish.families import REPOS, Kind, commits, files, namespace, owner, planned, pushed, refs, stranger, tree


def fail_commits(hub: daemon.Running, when: str, how: str = "error") -> None:
    """Let the next commit on the Hub fail."""
    families.ask_local(hub, "faults", {"when": when, "how": how, "times": 1})


def seen_by_a_stranger(hub: daemon.Running, release: Path) -> list[str]:
    """Return which of the family's repositories somebody without a token can see."""
    return [repo for kind, repo in REPOS if stranger(hub).repo_exists(f"{namespace(release)}/{repo}", repo_type=kind)]


def test_a_plan_touches_nothing(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    before = families.state(embedded, namespace(family))
    first, _ = planned(family, hub)
    assert [(repo.kind, repo.create, repo.needs_tag, repo.visibility) for repo in first.repos] == [
        ("dataset", True, True, "show"),
        ("model", True, True, "show"),
    ]
    assert families.state(embedded, namespace(family)) == before

    pushed(family, hub)
    before = families.state(embedded, namespace(family))
    second, _ = planned(families.second_version(family), hub)
    assert not second.is_nothing
    assert families.state(embedded, namespace(family)) == before


def test_a_first_push_publishes_every_file_and_the_second_is_nothing(family: Path) -> None:
    ns = namespace(family)
    first = hala_release("push", str(family), "--hub", "local", "--json", cwd=family.parent)
    assert first.returncode == 0, first.stderr
    local = daemon.start(family.parent / ".hala" / "hub")
    api = owner(local)
    try:
        for kind, repo in REPOS:
            held = tree(api, kind, f"{ns}/{repo}", "v1.0.0")
            assert held.keys() == {*files(family.parent / repo), "README.md", ".gitattributes"}
            assert commits(api, kind, f"{ns}/{repo}") == ["initial commit", "Release family 1.0.0"]
            for path, sealed in files(family.parent / repo).items():
                got = api.hf_hub_download(
                    f"{ns}/{repo}", path, repo_type=kind, revision="v1.0.0", cache_dir=family.parent / "cache"
                )
                assert Path(got).read_bytes() == sealed
        before = families.state(local)
        second = hala_release("push", str(family), "--hub", "local", "--json", cwd=family.parent)
        assert second.returncode == 0, second.stderr
        assert json.loads(second.stdout) == {"receipts": [], "sent_bytes": 0}
        assert families.state(local) == before
        said = hala_release("push", str(family), "--hub", "local", cwd=family.parent)
        assert "nothing to do" in said.stdout
    finally:
        daemon.stop(local.root)


def test_a_new_version_is_one_commit_and_the_old_tag_keeps_its_tree(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    ns, api = namespace(family), owner(embedded)
    pushed(family, hub)
    old = {repo: tree(api, kind, f"{ns}/{repo}", "v1.0.0") for kind, repo in REPOS}
    pushed(families.second_version(family), hub)
    for kind, repo in REPOS:
        new = tree(api, kind, f"{ns}/{repo}", "v1.1.0")
        assert commits(api, kind, f"{ns}/{repo}") == [
            "initial commit",
            "Release family 1.0.0",
            "Release family 1.1.0",
        ]
        assert new.keys() == {*files(family.parent / repo), "README.md", ".gitattributes"}
        assert new != old[repo]
        assert tree(api, kind, f"{ns}/{repo}", "v1.0.0") == old[repo]
        found = refs(api, kind, f"{ns}/{repo}")
        assert found["refs/heads/main"] == found["refs/tags/v1.1.0"] != found["refs/tags/v1.0.0"]
    assert "generation_config.json" in old["model"]
    assert "generation_config.json" not in tree(api, "model", f"{ns}/model", "v1.1.0")


def test_other_words_on_the_cards_send_no_data_file(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    pushed(family, hub)
    before = families.ask_local(embedded, "stats")
    families.edited(family, version="1.0.1")
    families.artifact(family, "corpus", summary="Better words.")
    made, _ = planned(family, hub)
    assert [[change.path for change in repo.changes] for repo in made.repos] == [["README.md"], ["README.md"]]
    done = pushed(family, hub)
    after = families.ask_local(embedded, "stats")
    assert (after["blob_bytes"], after["xorb_bytes"]) == (before["blob_bytes"], before["xorb_bytes"])
    assert done.sent_bytes is not None
    assert 0 < done.sent_bytes < 20_000
    assert [receipt.files for receipt in done.receipts] == [1, 1]


def test_what_is_depended_on_comes_first_and_tags_come_after_every_verification(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    ns, api = namespace(family), owner(embedded)
    steps: list[str] = []

    def talk(sentence: str) -> None:
        steps.append(sentence)
        made = [
            f"{repo} {ref}"
            for kind, repo in REPOS
            if api.repo_exists(f"{ns}/{repo}", repo_type=kind)
            for ref in refs(api, kind, f"{ns}/{repo}")
            if ref.startswith("refs/tags/")
        ]
        if not any(step.startswith("tagging") for step in steps):
            assert made == []
        if sentence.startswith("making"):
            assert made == ["corpus refs/tags/v1.0.0", "model refs/tags/v1.0.0"]
        if sentence.startswith("committing") and sentence.endswith("/model"):
            assert commits(api, "dataset", f"{ns}/corpus")[-1] == "Release family 1.0.0"
            assert commits(api, "model", f"{ns}/model") == ["initial commit"]

    pushed(family, hub, talk)
    order = [step.split()[0] for step in steps]
    phases = list(dict.fromkeys(order))
    assert phases == ["publishing", "reading", "creating", "sending", "committing", "verifying", "tagging", "making"]
    assert order == sorted(order, key=phases.index)
    for phase in phases[1:]:
        subjects = [step for step in steps if step.startswith(phase)]
        assert ["corpus" in subject for subject in subjects] == [True, False]


def test_nobody_sees_a_new_repository_before_all_are_tagged(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    looks: list[tuple[str, list[str]]] = []
    pushed(family, hub, lambda step: looks.append((step, seen_by_a_stranger(embedded, family))))
    assert len(looks) > 10
    assert {tuple(seen) for step, seen in looks if not step.startswith("making")} == {()}
    assert seen_by_a_stranger(embedded, family) == ["corpus", "model"]


def test_a_failure_in_the_models_commit_leaves_the_new_dataset_private_and_untagged(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    ns, api = namespace(family), owner(embedded)

    def talk(step: str) -> None:
        if step == f"committing to {ns}/model":
            fail_commits(embedded, "before-commit")

    with pytest.raises(HubUnavailable, match=f"{ns}/model"):
        pushed(family, hub, talk)
    assert commits(api, "dataset", f"{ns}/corpus") == ["initial commit", "Release family 1.0.0"]
    assert refs(api, "dataset", f"{ns}/corpus").keys() == {"refs/heads/main"}
    assert seen_by_a_stranger(embedded, family) == []
    assert not (family.parent / "receipts.jsonl").exists()

    pushed(family, hub)
    assert seen_by_a_stranger(embedded, family) == ["corpus", "model"]
    for kind, repo in REPOS:
        assert commits(api, kind, f"{ns}/{repo}") == ["initial commit", "Release family 1.0.0"]
        assert "refs/tags/v1.0.0" in refs(api, kind, f"{ns}/{repo}")
    assert planned(family, hub)[0].is_nothing


def test_a_file_that_changes_while_it_is_sent_is_never_tagged(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    ns, api = namespace(family), owner(embedded)
    config = families.writable(family.parent / "model") / "files" / "config.json"
    sealed = config.read_bytes()

    def talk(step: str) -> None:
        if step == f"committing to {ns}/model":
            config.write_bytes(sealed.replace(b"128", b"129"))

    with pytest.raises(BundleChanged, match=r"config\.json"):
        pushed(family, hub, talk)
    assert all("refs/tags/v1.0.0" not in refs(api, kind, f"{ns}/{repo}") for kind, repo in REPOS)
    assert seen_by_a_stranger(embedded, family) == []

    config.write_bytes(sealed)
    pushed(family, hub)
    assert planned(family, hub)[0].is_nothing
    got = api.hf_hub_download(f"{ns}/model", "config.json", revision="v1.0.0", cache_dir=family.parent / "cache")
    assert Path(got).read_bytes() == sealed


def test_a_repository_with_other_files_becomes_exactly_the_release(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    ns, api = namespace(family), owner(embedded)
    api.create_repo(f"{ns}/model")
    for path in ("junk.bin", "deep/er/notes.md", "config.json"):
        api.upload_file(path_or_fileobj=b"\0junk", path_in_repo=path, repo_id=f"{ns}/model")
    made, _ = planned(family, hub)
    plan = next(repo for repo in made.repos if repo.kind == "model")
    assert not plan.create
    assert [change.path for change in plan.changes if change.after is None] == ["deep/er/notes.md", "junk.bin"]
    assert [change.path for change in plan.changes if change.before and change.after] == ["config.json"]
    said = hala_release(
        "plan", str(family), "--hub", embedded.url, cwd=family.parent, HF_TOKEN=embedded.token
    ).stdout.splitlines()
    assert "  - junk.bin  5 bytes" in said

    pushed(family, hub)
    held = tree(api, "model", f"{ns}/model", "v1.0.0")
    assert held.keys() == {*files(family.parent / "model"), "README.md", ".gitattributes"}
    assert len(commits(api, "model", f"{ns}/model")) == 5


def test_rules_of_a_repository_for_git_do_not_hold_files_back(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    ns, api = namespace(family), owner(embedded)
    api.create_repo(f"{ns}/corpus", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=b"data/\n*.md\n", path_in_repo=".gitignore", repo_id=f"{ns}/corpus", repo_type="dataset"
    )
    pushed(family, hub)
    assert tree(api, "dataset", f"{ns}/corpus", "v1.0.0").keys() == {
        *files(family.parent / "corpus"),
        "README.md",
        ".gitattributes",
    }
    assert commits(api, "dataset", f"{ns}/corpus")[2:] == ["Release family 1.0.0"]


def test_a_file_may_become_a_folder_and_a_folder_a_file(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    raw = family.parent / "raw" / "model"
    (raw / "notes").write_text("a file\n")
    (raw / "extra").mkdir()
    (raw / "extra" / "a.txt").write_text("in a folder\n")

    def turn(raw: Path) -> None:
        (raw / "notes").unlink()
        (raw / "notes").mkdir()
        (raw / "notes" / "a.md").write_text("in a folder\n")
        (raw / "extra" / "a.txt").unlink()
        (raw / "extra").rmdir()
        (raw / "extra").write_text("a file\n")

    families.rebundled(family, "model", "model", lambda _: None)
    pushed(family, hub)
    pushed(families.rebundled(family, "model", "model", turn, version="2.0.0"), hub)
    held = tree(owner(embedded), "model", f"{namespace(family)}/model", "v2.0.0")
    assert {"notes/a.md", "extra"} <= held.keys()
    assert not {"notes", "extra/a.txt"} & held.keys()


def test_three_hundred_new_files_are_one_commit(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    def many(raw: Path) -> None:
        (raw / "notes").mkdir()
        for number in range(300):
            (raw / "notes" / f"{number}.md").write_text(f"note {number}\n")
        (raw / "notes" / "empty.txt").touch()

    pushed(families.rebundled(family, "model", "model", many), hub)
    api = owner(embedded)
    assert commits(api, "model", f"{namespace(family)}/model") == ["initial commit", "Release family 1.0.0"]
    assert len(tree(api, "model", f"{namespace(family)}/model", "v1.0.0")) == 301 + 5 + 2


def test_a_commit_by_somebody_else_since_the_plan_stops_the_push_before_anything_is_sent(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    from hala_release import push

    ns, api = namespace(family), owner(embedded)
    pushed(family, hub)
    made, wants = planned(families.second_version(family), hub)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="mine.txt", repo_id=f"{ns}/model")
    before = families.state(embedded, namespace(family))
    with pytest.raises(HubMoved, match=f"{ns}/model changed since the plan"):
        push.perform(made, wants, hub, receipts=family.parent / "receipts.jsonl")
    assert families.state(embedded, namespace(family)) == before


def test_a_model_that_moved_keeps_a_new_dataset_from_being_made(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    from hala_release import push

    ns, api = namespace(family), owner(embedded)
    api.create_repo(f"{ns}/model")
    made, wants = planned(family, hub)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="mine.txt", repo_id=f"{ns}/model")
    with pytest.raises(HubMoved, match=f"{ns}/model changed since the plan"):
        push.perform(made, wants, hub, receipts=family.parent / "receipts.jsonl")
    assert not api.repo_exists(f"{ns}/corpus", repo_type="dataset")


def test_a_card_that_would_read_otherwise_is_told_and_the_release_stays_published(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    before = families.state(embedded, namespace(family))
    families.artifact(family, "model", summary="Other words.")
    made, _ = planned(family, hub)
    assert made.is_nothing
    assert [repo.repo for repo in made.repos if repo.card_differs] == [f"{namespace(family)}/model"]
    there = (str(family), "--hub", embedded.url)
    again = hala_release("push", *there, "--yes", cwd=family.parent, HF_TOKEN=embedded.token)
    assert (again.returncode, "raise `version` to publish it" in again.stdout) == (0, True), again.stderr
    verified = hala_release("verify", *there, cwd=family.parent, HF_TOKEN=embedded.token)
    assert (verified.returncode, "reads otherwise than it would be rendered now" in verified.stderr) == (0, True)
    assert families.state(embedded, namespace(family)) == before
    assert not planned(families.edited(family, version="1.0.1"), hub)[0].is_nothing


def test_a_commit_by_somebody_else_during_the_push_stops_it_and_nothing_is_tagged(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    ns, api = namespace(family), owner(embedded)
    pushed(family, hub)

    def talk(step: str) -> None:
        if step == f"committing to {ns}/model":
            api.upload_file(path_or_fileobj=b"mine", path_in_repo="mine.txt", repo_id=f"{ns}/model")

    with pytest.raises(HubMoved, match=f"{ns}/model"):
        pushed(families.second_version(family), hub, talk)
    assert "mine.txt" in tree(api, "model", f"{ns}/model", "main")
    assert all("refs/tags/v1.1.0" not in refs(api, kind, f"{ns}/{repo}") for kind, repo in REPOS)
    lost = [change.path for repo in planned(family, hub)[0].repos for change in repo.changes if change.after is None]
    assert "mine.txt" in lost


def test_receipts_are_json_lines_of_what_was_done(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    ns, api = namespace(family), owner(embedded)
    first = pushed(family, hub)
    second = pushed(families.second_version(family), hub)
    lines = (family.parent / "receipts.jsonl").read_text().splitlines()
    receipts = [Receipt.model_validate_json(line) for line in lines]
    assert receipts == [*first.receipts, *second.receipts]
    assert [(r.kind, r.repo, r.tag) for r in receipts] == [
        (kind, f"{ns}/{repo}", tag) for tag in ("v1.0.0", "v1.1.0") for kind, repo in REPOS
    ]
    for receipt in receipts:
        assert refs(api, receipt.kind, receipt.repo)[f"refs/tags/{receipt.tag}"] == receipt.commit
        assert receipt.endpoint == embedded.url
        assert receipt.time.tzinfo is not None


def test_json_documents_have_the_keys_that_scripts_read(family: Path, embedded: daemon.Running) -> None:
    def document(*arguments: str, rc: int = 0) -> dict[str, object]:
        done = hala_release(*arguments, "--json", cwd=family.parent, HF_TOKEN=embedded.token)
        assert done.returncode == rc, done.stderr
        parsed: dict[str, object] = json.loads(done.stdout)
        return parsed

    there = (str(family), "--hub", embedded.url)
    plan = document("plan", *there)
    assert plan.keys() == {"schema", "release", "version", "endpoint", "repos", "collection"}
    assert isinstance(plan["repos"], list)
    assert {frozenset(repo) for repo in plan["repos"]} == {
        frozenset(
            {
                *("kind", "repo", "url", "create", "parent", "changes", "tag", "needs_tag", "visibility"),
                *("card_differs", "card", "conflicts", "settled", "proposal", "unregistered", "commit"),
            }
        )
    }
    missing = document("verify", *there, rc=4)
    assert isinstance(missing["error"], dict)
    assert missing["error"].keys() == {"type", "message", "fix", "findings"}
    done = document("push", *there, "--yes")
    assert done.keys() == {"receipts", "sent_bytes"}
    assert isinstance(done["receipts"], list)
    assert {frozenset(receipt) for receipt in done["receipts"]} == {frozenset(Receipt.model_fields)}
    assert document("verify", *there) == {
        "repositories": [f"{namespace(family)}/{repo}" for _, repo in REPOS],
        "files": 8,
        "tag": "v1.0.0",
    }
    assert document("check", str(family)) == {"findings": []}
    assert document("card", "render", str(family)).keys() == {
        f"datasets/{namespace(family)}/corpus",
        f"{namespace(family)}/model",
    }


def test_a_name_in_other_letters_is_the_same_repository(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    owner(embedded).create_repo(f"{namespace(family)}/Corpus", repo_type="dataset")
    families.edited(family, collection={"title": "Family"})
    pushed(family, hub)
    assert planned(family, hub)[0].is_nothing


def test_a_repository_that_was_renamed_on_the_hub_is_still_the_same(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    ns = namespace(family)
    families.edited(family, collection={"title": "Family"})
    pushed(family, hub)
    owner(embedded).move_repo(f"{ns}/model", f"{ns}/model-renamed")
    pushed(families.edited(family, version="1.0.1"), hub)
    assert planned(family, hub)[0].is_nothing


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_a_tag_that_names_the_release_stays_good_when_main_moves_on(
    family: Path, hub: Hub, embedded: daemon.Running, kind: Kind
) -> None:
    ns, api = namespace(family), owner(embedded)
    repo = f"{ns}/{dict(REPOS)[kind]}"
    families.edited(family, visibility="private")
    pushed(family, hub)
    tagged = refs(api, kind, repo)["refs/tags/v1.0.0"]
    api.upload_file(path_or_fileobj=b"later", path_in_repo="later.txt", repo_id=repo, repo_type=kind)
    assert planned(family, hub)[0].is_nothing
    done = pushed(families.edited(family, visibility="public"), hub)
    assert {receipt.repo: receipt.commit for receipt in done.receipts}[repo] == tagged
    assert seen_by_a_stranger(embedded, family) == ["corpus", "model"]
    assert planned(family, hub)[0].is_nothing


def test_paths_start_from_the_release_file_wherever_it_lies(tmp_path: Path, hub: Hub, embedded: daemon.Running) -> None:
    nested = tmp_path / "work" / "releases" / "2026"
    nested.mkdir(parents=True)
    family = factories.family(tmp_path / "work")
    moved = nested / "family.yaml"
    moved.write_bytes(family.read_bytes())
    families.artifact(moved, "corpus", bundle="../../corpus")
    families.artifact(moved, "model", bundle="../../model")
    done = hala_release(
        "push", "work/releases/2026/family.yaml", "--hub", embedded.url, "--yes", cwd=tmp_path, HF_TOKEN=embedded.token
    )
    assert done.returncode == 0, done.stderr
    assert planned(moved, hub)[0].is_nothing
    assert (tmp_path / ".hala" / "receipts.jsonl").exists()
