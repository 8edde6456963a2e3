"""Cards that people edit on the Hub: their words stay, what both sides changed is asked, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hala_release import push
from hala_release.bundle import Bundle
from hala_release.errors import CheckFailed, HubError, HubMoved, HubUnavailable, PayloadInvalid
from hala_release.hub import Hub
from hala_release.localhub import daemon
from hala_release.plan import Settle
from hala_release.release import load
from hala_release.verify import verify
from hala_release.wanted import wanted
from tests.factories import hala_release, score, write_results
from tests.publish import families
from tests.publish.families import REPOS, Kind, card, namespace, owner, planned, pushed, write_card

OPENING = "> **Read this first**, people say.\n> \n\n"
BETWEEN = "\n## What we tried\n\n| a | b |\n|---|---|\n| `|` | نصّ من الناس |\n\nTwo spaces end this line:  \nso.\n\n"
CLOSING = "\n\n---\nA last word without an end of line"
KEYS = "# why: asked in discussion 3\ninference: false  # theirs\nco2_eq_emissions:\n  emissions: 12\n"


def people_only(text: str) -> str:
    """Return a card without what is managed, cut with nothing of the code under test."""
    body = text.partition("\n---\n")[2]
    cut = re.sub(r"<!-- hala:begin (\S+) -->\n.*?<!-- hala:end \1 -->\n", "", body, flags=re.DOTALL)
    return re.sub(r"<!-- hala:written .* -->\n", "", cut)


def annotated(text: str) -> str:
    """Return a card with words and keys of people at every place that they may choose."""
    text = text.replace("---\n", f"---\n{KEYS}", 1)
    text = text.replace("<!-- hala:begin summary -->", f"{OPENING}<!-- hala:begin summary -->")
    text = text.replace("<!-- hala:begin quick-start -->", f"{BETWEEN}<!-- hala:begin quick-start -->")
    return text + CLOSING


def model_of(release: Path) -> str:
    """Return the id of the family's model."""
    return f"{namespace(release)}/model"


def disputed(release: Path, hub: Hub, embedded: daemon.Running) -> Path:
    """Publish 1.0.0, let people change the summary and the languages of the model, and change them in 1.1.0 as well."""
    pushed(release, hub)
    text = card(embedded, "model", model_of(release))
    theirs = text.replace("A model to test with.", "Their words.").replace("- ar\n- en\n", "- ar\n- en\n- fr\n")
    assert len(theirs) == len(text) - len("A model to test with.") + len("Their words.") + len("- fr\n")
    write_card(embedded, "model", model_of(release), theirs)
    families.artifact(release, "model", summary="Our words.", language=["ar"])
    return families.edited(release, version="1.1.0")


def is_verified(release: Path, hub: Hub) -> bool:
    """Tell whether nothing is said against what was published."""
    loaded = load(release)
    return verify(loaded, wanted(loaded, release.parent), hub) == []


def command(release: Path, hub: daemon.Running, *arguments: str) -> tuple[int, str, str]:
    """Run a command on a release and return what came of it: exit code, stdout, stderr."""
    first, *rest = arguments
    verbs = [first, rest.pop(0)] if first == "card" else [first]
    done = hala_release(*verbs, str(release), "--hub", hub.url, *rest, cwd=release.parent, HF_TOKEN=hub.token)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_what_people_wrote_around_the_regions_is_there_in_the_next_version_byte_for_byte(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    before = {}
    for kind, name in REPOS:
        repo = f"{namespace(family)}/{name}"
        before[repo] = annotated(card(embedded, kind, repo))
        write_card(embedded, kind, repo, before[repo])
    pushed(families.second_version(family), hub)
    for kind, name in REPOS:
        repo = f"{namespace(family)}/{name}"
        after = card(embedded, kind, repo, "v1.1.0")
        assert people_only(after) == people_only(before[repo])
        assert after.startswith(f"---\n{KEYS}")
        assert after.endswith(CLOSING)
        for told in ("| Version | 1.1.0 (tag `v1.1.0`) |", 'revision="v1.1.0"'):
            assert told in after
        assert "v1.0.0" not in after
    assert "| Rows | 25 |" in card(embedded, "dataset", f"{namespace(family)}/corpus")
    assert "num_examples: 25" in card(embedded, "dataset", f"{namespace(family)}/corpus")
    assert is_verified(family, hub)
    held = families.state(embedded, namespace(family))
    assert pushed(family, hub).receipts == ()
    assert families.state(embedded, namespace(family)) == held


def test_carriage_returns_and_a_byte_order_mark_of_people_stay(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    theirs = "\ufeff" + annotated(card(embedded, "model", model_of(family))).replace("\n", "\r\n")
    write_card(embedded, "model", model_of(family), theirs)
    pushed(families.edited(family, version="1.1.0"), hub)
    after = card(embedded, "model", model_of(family), "v1.1.0")
    assert after.startswith("\ufeff---\r\n")
    assert after.count("\n") == after.count("\r\n")
    assert people_only(after.replace("\r\n", "\n")) == people_only(theirs.replace("\r\n", "\n"))
    assert "| Version | 1.1.0 (tag `v1.1.0`) |" in after
    assert is_verified(family, hub)


def test_an_edit_of_what_the_release_does_not_change_is_kept_without_a_word(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    text = card(embedded, "model", model_of(family))
    theirs = text.replace("A model to test with.", "Their words.").replace("- ar\n- en\n", "- ar\n- en\n- fr\n")
    write_card(embedded, "model", model_of(family), theirs)
    for version in ("1.1.0", "1.2.0"):
        families.edited(family, version=version)
        assert [repo.conflicts for repo in planned(family, hub)[0].repos] == [(), ()]
        pushed(family, hub)
        after = card(embedded, "model", model_of(family), f"v{version}")
        assert "Their words." in after
        assert "A model to test with." not in after
        assert "- ar\n- en\n- fr\n" in after
        assert f"| Version | {version} " in after
        assert is_verified(family, hub)
        assert planned(family, hub)[0].is_nothing


def test_what_both_sides_changed_is_in_the_plan_and_stops_the_push_before_anything_is_touched(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    disputed(family, hub, embedded)
    before = families.state(embedded, namespace(family))
    code, said, _ = command(family, embedded, "plan")
    assert code == 0
    for what in ("region `summary`", "key `language`"):
        assert f"! the {what} of the card was changed on the Hub: push needs --card ours, theirs or pr" in said

    code, said, _ = command(family, embedded, "plan", "--json")
    assert code == 0
    (conflicts,) = [repo["conflicts"] for repo in json.loads(said)["repos"] if repo["kind"] == "model"]
    assert conflicts == [
        {"kind": "key", "name": "language", "live": "language:\n- ar\n- en\n- fr", "new": "language:\n- ar"},
        {
            "kind": "region",
            "name": "summary",
            "live": "# model\n\nTheir words.\n",
            "new": "# model\n\nOur words.\n",
        },
    ]

    code, said, error = command(family, embedded, "push", "--yes")
    assert (code, said) == (4, "")
    for what in ("region `summary`", "key `language`"):
        assert f"error: {model_of(family)}, README.md: the {what} was changed on the Hub" in error
    assert "fix: push with --card ours, theirs or pr" in error
    code, said, _ = command(family, embedded, "push", "--yes", "--json")
    assert command(family, embedded, "push")[0] == 4, "before anybody is asked to say yes"
    document = json.loads(said)["error"]
    assert (code, document["type"], len(document["findings"])) == (4, "CheckFailed", 2)
    assert families.state(embedded, namespace(family)) == before


def test_theirs_keeps_what_people_wrote_and_is_quiet_until_the_release_changes_it_again(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    disputed(family, hub, embedded)
    code, _, error = command(family, embedded, "push", "--yes", "--card", "theirs")
    assert code == 0, error
    after = card(embedded, "model", model_of(family), "v1.1.0")
    assert "Their words." in after
    assert "Our words." not in after
    assert "- ar\n- en\n- fr\n" in after
    assert "| Version | 1.1.0 " in after
    assert is_verified(family, hub)
    assert planned(family, hub)[0].is_nothing

    assert not planned(families.edited(family, version="1.2.0"), hub)[0].unsettled
    families.artifact(family, "model", summary="Other words of ours.")
    (unsettled,) = planned(family, hub)[0].unsettled
    assert [(one.kind, one.name) for one in unsettled.conflicts] == [("region", "summary")]


def test_ours_takes_the_release_and_leaves_what_is_around_it(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    disputed(family, hub, embedded)
    theirs = annotated(card(embedded, "model", model_of(family)))
    write_card(embedded, "model", model_of(family), theirs)
    code, _, error = command(family, embedded, "push", "--yes", "--card", "ours")
    assert code == 0, error
    after = card(embedded, "model", model_of(family), "v1.1.0")
    assert "Our words." in after
    assert "Their words." not in after
    assert "language:\n- ar\nlicense" in after
    assert people_only(after) == people_only(theirs)
    assert after.startswith(f"---\n{KEYS}")
    assert is_verified(family, hub)
    assert not planned(families.edited(family, version="1.2.0"), hub)[0].unsettled


def test_pr_keeps_theirs_on_main_and_proposes_ours_once(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    api, repo = owner(embedded), model_of(family)
    disputed(family, hub, embedded)
    _, said, _ = command(family, embedded, "plan", "--card", "pr")
    assert "it stays, and the release's word is proposed" in said
    code, _, error = command(family, embedded, "push", "--yes", "--card", "pr")
    assert code == 0, error
    for revision in ("main", "v1.1.0"):
        text = card(embedded, "model", repo, revision)
        assert ("Their words." in text, "Our words." in text) == (True, False)
        assert "| Version | 1.1.0 " in text
    (proposed,) = api.get_repo_discussions(repo)
    assert (proposed.num, proposed.is_pull_request, proposed.status) == (1, True, "open")
    assert f"{embedded.url}/{repo}/discussions/1" in error
    ours = card(embedded, "model", repo, "refs/pr/1")
    assert ("Their words." in ours, "Our words." in ours) == (False, True)
    assert "language:\n- ar\nlicense" in ours
    assert is_verified(family, hub)

    for version in ("1.1.0", "1.2.0"):
        families.edited(family, version=version)
        code, _, error = command(family, embedded, "push", "--yes", "--card", "pr")
        assert code == 0, error
        assert [one.num for one in api.get_repo_discussions(repo)] == [1]


@pytest.mark.parametrize("when", ["before-commit", "after-commit"])
def test_a_push_that_breaks_off_proposes_once_when_it_is_run_again(
    family: Path, hub: Hub, embedded: daemon.Running, when: str
) -> None:
    disputed(family, hub, embedded)

    def talk(step: str) -> None:
        if step == f"committing to {model_of(family)}":
            families.ask_local(embedded, "faults", {"when": when, "how": "error", "times": 1})

    with contextlib.suppress(HubUnavailable):
        pushed(family, hub, talk, settle="pr")
    pushed(family, hub, settle="pr")
    assert [one.num for one in owner(embedded).get_repo_discussions(model_of(family))] == [1]
    assert "Our words." in card(embedded, "model", model_of(family), "refs/pr/1")
    assert "Their words." in card(embedded, "model", model_of(family), "v1.1.0")
    assert is_verified(family, hub)


@pytest.mark.parametrize("when", ["before-commit", "after-commit"])
def test_a_hub_that_fails_at_the_proposal_gets_it_once(
    family: Path, hub: Hub, embedded: daemon.Running, when: str
) -> None:
    disputed(family, hub, embedded)

    def talk(step: str) -> None:
        if step == f"tagging {model_of(family)} v1.1.0":
            families.ask_local(embedded, "faults", {"when": when, "how": "error", "times": 1})

    pushed(family, hub, talk, settle="pr")
    assert [one.num for one in owner(embedded).get_repo_discussions(model_of(family))] == [1]
    assert planned(family, hub)[0].is_nothing


def test_a_proposal_that_cannot_be_opened_leaves_a_published_release_and_says_so(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    disputed(family, hub, embedded)

    def talk(step: str) -> None:
        if step == f"tagging {model_of(family)} v1.1.0":
            families.ask_local(embedded, "faults", {"when": "before-commit", "how": "error", "times": 2})

    with pytest.raises(HubError, match=r"model v1\.1\.0 is published, but its card could not be proposed") as error:
        pushed(family, hub, talk, settle="pr")
    assert "by hand" in error.value.fix
    assert list(owner(embedded).get_repo_discussions(model_of(family))) == []
    assert is_verified(family, hub)


def test_a_proposal_that_was_merged_is_what_the_next_version_starts_from(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    disputed(family, hub, embedded)
    pushed(family, hub, settle="pr")
    write_card(embedded, "model", model_of(family), card(embedded, "model", model_of(family), "refs/pr/1"))
    assert planned(family, hub)[0].is_nothing
    families.artifact(family, "model", summary="Newer words of ours.")
    pushed(families.edited(family, version="1.2.0"), hub)
    assert "Newer words of ours." in card(embedded, "model", model_of(family), "v1.2.0")
    assert is_verified(family, hub)


@pytest.mark.parametrize("settle", ["ours", "theirs", "pr"])
def test_an_answer_that_nobody_asked_for_changes_nothing(
    family: Path, hub: Hub, embedded: daemon.Running, settle: Settle
) -> None:
    pushed(family, hub)
    write_card(embedded, "model", model_of(family), annotated(card(embedded, "model", model_of(family))))
    families.edited(family, version="1.1.0")
    plain, answered = (planned(family, hub, answer)[0] for answer in (None, settle))
    assert [repo.card for repo in answered.repos] == [repo.card for repo in plain.repos]
    pushed(family, hub, settle=settle)
    assert list(owner(embedded).get_repo_discussions(model_of(family))) == []
    assert is_verified(family, hub)


def test_a_card_that_somebody_else_wrote_keeps_its_words_and_gets_ours(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    repo, body = model_of(family), "\n# Their title\n\nTheir text, with no end"
    owner(embedded).create_repo(repo)
    write_card(embedded, "model", repo, f"---\nlicense: cc-by-nc-4.0  # agreed\n---\n{body}")
    made, _ = planned(family, hub)
    assert [one.conflicts for one in made.repos] == [(), ()]
    pushed(family, hub)
    after = card(embedded, "model", repo, "v1.0.0")
    assert after.startswith("---\nlicense: cc-by-nc-4.0  # agreed\n")
    assert f"\n---\n{body}\n\n<!-- hala:begin summary -->\n" in after
    assert "library_name: transformers\n" in after
    assert is_verified(family, hub)
    pushed(families.second_version(family), hub)
    assert f"\n---\n{body}\n\n<!-- hala:begin summary -->\n" in card(embedded, "model", repo, "v1.1.0")


def test_another_license_on_a_card_that_somebody_else_wrote_is_asked_about(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    repo = model_of(family)
    owner(embedded).create_repo(repo)
    write_card(embedded, "model", repo, "---\nlicense: mit\n---\n\nText.\n")
    before = families.state(embedded, namespace(family))
    with pytest.raises(CheckFailed) as stopped:
        pushed(family, hub)
    assert [finding.message for finding in stopped.value.findings] == ["the key `license` was changed on the Hub"]
    assert families.state(embedded, namespace(family)) == before
    pushed(family, hub, settle="theirs")
    after = card(embedded, "model", repo, "v1.0.0")
    assert after.startswith("---\nlicense: mit\n")
    loaded = load(family)
    (told,) = verify(loaded, wanted(loaded, family.parent), hub)
    assert (told.level, told.message) == (
        "warning",
        "the key `license` at v1.0.0 is not as the release would write it",
    ), "terms are nobody's word but the release's"


def test_a_score_that_people_changed_is_a_conflict_though_the_release_changes_nothing_there(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    write_results(family.parent / "results", Bundle.open(family.parent / "model"), score())
    families.artifact(family, "model", results=["results"])
    pushed(family, hub)
    repo = model_of(family)
    text = card(embedded, "model", repo)
    assert "| 36.9 ± 4.0 |" in text
    write_card(embedded, "model", repo, text.replace("| 36.9 ± 4.0 |", "| 86.9 ± 4.0 |"))
    families.edited(family, version="1.1.0")
    with pytest.raises(CheckFailed) as stopped:
        pushed(family, hub)
    assert [finding.message for finding in stopped.value.findings] == ["the region `results` was changed on the Hub"]
    pushed(family, hub, settle="ours")
    assert "86.9" not in card(embedded, "model", repo, "v1.1.0")
    assert is_verified(family, hub)


@pytest.mark.parametrize("kind", ["dataset", "model"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\nlicense: ", "\nlicense: [", 1), "cannot be read"),
        (lambda text: text.replace("\nlicense: ", "\n\tlicense: ", 1), "cannot be read"),
        (lambda text: text.partition("\n---\n\n")[2], "does not start with a YAML block any more"),
        (lambda text: text.replace("\n---\n", "\n", 1), "does not start with a YAML block any more"),
        (lambda text: "# New title\n\n" + text, "does not start with a YAML block any more"),
    ],
    ids=["bracket", "tab", "gone", "unclosed", "title-above"],
)
def test_a_card_whose_block_cannot_be_read_is_an_error_with_a_fix_and_nothing_is_touched(
    family: Path, hub: Hub, embedded: daemon.Running, kind: Kind, change: Callable[[str], str], message: str
) -> None:
    pushed(family, hub)
    repo = f"{namespace(family)}/{dict(REPOS)[kind]}"
    text = card(embedded, kind, repo)
    assert change(text) != text
    families.write_card_unchecked(embedded, kind, repo, change(text))
    families.edited(family, version="1.1.0")
    before = families.state(embedded, namespace(family))
    for settle in (None, "ours", "theirs", "pr"):
        with pytest.raises(PayloadInvalid, match=message) as error:
            pushed(family, hub, settle=settle)
        assert error.value.fix
        assert repo in str(error.value)
    assert families.state(embedded, namespace(family)) == before
    families.write_card_unchecked(embedded, kind, repo, text)
    pushed(family, hub)


def test_a_card_that_is_not_utf_8_is_an_error_with_a_fix(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    pushed(family, hub)
    families.write_card_unchecked(embedded, "model", model_of(family), "---\nlicense: mit\n---\ncaf\udce9\n")
    families.edited(family, version="1.1.0")
    before = families.state(embedded, namespace(family))
    with pytest.raises(HubError, match=f"README.md of {model_of(family)} is not UTF-8") as error:
        pushed(family, hub, settle="ours")
    assert error.value.fix
    assert families.state(embedded, namespace(family)) == before


def test_every_command_that_reads_a_broken_card_says_how_to_mend_it(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    text = card(embedded, "model", model_of(family))
    families.write_card_unchecked(embedded, "model", model_of(family), text.replace("license: ", "license: [", 1))
    assert command(family, embedded, "verify")[0] == 0, "at the tag all is well"
    families.edited(family, version="1.1.0")
    for arguments in (("plan",), ("push", "--yes"), ("push", "--yes", "--card", "ours"), ("card", "diff")):
        code, _, said = command(family, embedded, *arguments)
        assert (code, "fix: " in said) == (3, True), said
        assert f"the card of {model_of(family)}" in said


def test_a_card_that_is_edited_between_plan_and_push_stops_the_push(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    made, wants = planned(families.edited(family, version="1.1.0"), hub)
    write_card(embedded, "model", model_of(family), annotated(card(embedded, "model", model_of(family))))
    before = families.state(embedded, namespace(family))
    with pytest.raises(HubMoved, match=f"{model_of(family)} changed since the plan") as moved:
        push.perform(made, wants, hub, receipts=family.parent / "receipts.jsonl")
    assert "hala-release plan" in moved.value.fix
    assert families.state(embedded, namespace(family)) == before
    pushed(family, hub)
    assert BETWEEN in card(embedded, "model", model_of(family), "v1.1.0")


def test_diff_shows_what_push_would_do_to_each_card(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    code, said, _ = command(family, embedded, "card", "diff")
    assert (code, "+# model" in said) == (0, True), "a card that is not there yet is all new"
    disputed(family, hub, embedded)
    before = families.state(embedded, namespace(family))
    code, said, _ = command(family, embedded, "card", "diff")
    assert code == 0
    assert f"{model_of(family)}:\n--- on the Hub\n+++ as it would be\n" in said
    assert "-| Version | 1.0.0 (tag `v1.0.0`) |\n+| Version | 1.1.0 (tag `v1.1.0`) |\n" in said
    assert "! the region `summary` was changed on the Hub. There:\n  < # model\n  < \n  < Their words.\n" in said
    assert "  In the release:\n  > # model\n  > \n  > Our words.\n" in said
    assert "-Their words." not in said

    code, said, _ = command(family, embedded, "card", "diff", "--json")
    documents: list[dict[str, Any]] = json.loads(said)
    assert [document["repo"] for document in documents] == [f"datasets/{namespace(family)}/corpus", model_of(family)]
    assert [[one["name"] for one in document["conflicts"]] for document in documents] == [[], ["language", "summary"]]
    assert "+| Version | 1.1.0 (tag `v1.1.0`) |" in documents[1]["diff"]
    assert families.state(embedded, namespace(family)) == before

    pushed(family, hub, settle="theirs")
    code, said, _ = command(family, embedded, "card", "diff")
    assert said.splitlines() == [
        f"datasets/{namespace(family)}/corpus: as it would be",
        f"{model_of(family)}: as it would be",
    ]


def test_lint_reads_the_cards_of_a_release_or_one_card(family: Path) -> None:
    good = hala_release("card", "lint", str(family), cwd=family.parent)
    assert (good.returncode, "nothing is wrong" in good.stdout) == (0, True), good.stderr
    lone = family.parent / "README.md"
    lone.write_text(
        "---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# A model\n\nText.\n"
    )
    one = hala_release("card", "lint", "README.md", "--json", cwd=family.parent)
    assert (one.returncode, json.loads(one.stdout)) == (0, {"findings": []}), one.stderr

    lone.write_text(
        "---\ntitle: x\nlicense: mit\npipeline_tag: 5\n---\n\n# A model\n\nTODO: say more. ![](http://example.org/x.png)\n"
    )
    bad = hala_release("card", "lint", "README.md", cwd=family.parent)
    assert bad.returncode == 4, bad.stderr
    for said in ("pipeline_tag: YAML reads 5", "it is not finished: TODO", "is not https", "fix: "):
        assert said in bad.stderr
    as_json = hala_release("card", "lint", "README.md", "--json", cwd=family.parent)
    assert (as_json.returncode, json.loads(as_json.stdout)["error"]["type"]) == (4, "CheckFailed")

    families.artifact(family, "model", summary="TODO")
    whole = hala_release("card", "lint", str(family), cwd=family.parent)
    assert (whole.returncode, "error: model, README.md: it is not finished: TODO" in whole.stderr) == (4, True)


@pytest.fixture
def local(family: Path) -> Iterator[None]:
    """The embedded Hub that the command line starts by itself, stopped at the end."""
    yield
    daemon.stop(family.parent / ".hala" / "hub")


@pytest.mark.usefixtures("local")
def test_preview_answers_with_addresses_that_show_the_cards(family: Path) -> None:
    families.artifact(family, "model", summary="Words to look at: صباح الخير.")
    done = hala_release("card", "preview", str(family), "--no-open", "--json", cwd=family.parent)
    assert done.returncode == 0, done.stderr
    pages = json.loads(done.stdout)
    assert list(pages) == [f"datasets/{namespace(family)}/corpus", model_of(family)]
    shown = {}
    for page, address in pages.items():
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  # loopback, as the command says
            shown[page] = answer.read().decode()
    assert "Rows to test with." in shown[f"datasets/{namespace(family)}/corpus"]
    assert "Words to look at: صباح الخير." in shown[model_of(family)]
    said = hala_release("card", "preview", str(family), "--no-open", cwd=family.parent)
    assert [line.partition(": ")[0] for line in said.stdout.splitlines()] == list(pages)
    planned_there = hala_release("plan", str(family), "--hub", "local", "--json", cwd=family.parent)
    assert all(repo["create"] for repo in json.loads(planned_there.stdout)["repos"]), "nothing was published"
