"""What can be published: odd names, several configurations, sharded weights, a Space."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hala_release import frontmatter, regions
from hala_release.adopt import adopt
from hala_release.errors import ConfigError, ContractError, HubError
from hala_release.hub import Hub
from hala_release.localhub import daemon
from hala_release.release import load
from hala_release.verify import verify
from tests import factories
from tests.factories import hala_release
from tests.publish import families
from tests.publish.families import files, namespace, owner, planned, pushed, tree

CARD = """---
title: {title}
emoji: 🌙
colorFrom: blue
colorTo: green
sdk: static
---

صفحة صغيرة.
"""
INDEX = "model.safetensors.index.json"


def write_space(raw: Path, title: str = "A small page") -> Path:
    """Write a Space of the static sdk."""
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "README.md").write_text(CARD.format(title=title), encoding="utf-8")
    (raw / "index.html").write_text("<!doctype html><title>هلا</title>", encoding="utf-8")
    return raw


def space_release(folder: Path, title: str = "A small page") -> Path:
    """Seal a Space and name it in a release."""
    adopt(write_space(folder / "raw" / "page", title), kind="space", out=folder / "page")
    return factories.write_release(
        folder / "release.yaml", artifacts=[{"kind": "space", "repo": "page", "bundle": "page"}]
    )


def holds_exactly(release: Path, hub: Hub, embedded: daemon.Running, repo: str, kind: families.Kind) -> None:
    """Assert that the Hub holds the bundle and nothing else, byte for byte; the card is rendered."""
    ns = namespace(release)
    sealed = files(release.parent / repo)
    assert tree(owner(embedded), kind, f"{ns}/{repo}", "v1.0.0").keys() == {*sealed, "README.md", ".gitattributes"}
    for path in sealed.keys() - {"README.md"}:
        assert published(release, embedded, repo, kind, path) == sealed[path]
    made, wants = planned(release, hub)
    assert made.is_nothing
    assert verify(load(release), wants, hub) == []


def published(release: Path, embedded: daemon.Running, repo: str, kind: families.Kind, path: str) -> bytes:
    """Return a file at the tag."""
    got = owner(embedded).hf_hub_download(
        f"{namespace(release)}/{repo}", path, repo_type=kind, revision="v1.0.0", cache_dir=release.parent / "cache"
    )
    return Path(got).read_bytes()


def test_file_names_with_spaces_arabic_and_signs(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    names = (
        "ملاحظات/اقرأني أولًا.md",
        "with space/a b.txt",
        "100%.txt",
        "a#b&c=d@e.txt",
        "quote's.txt",
        "plus+comma,semi;.txt",
        "[brackets]{braces}.txt",
        "日本語.txt",
        "%2e%2e%2f.txt",
        "-dash.txt",
        "~tilde.txt",
        "empty.txt",
        "binary data.bin2",
    )

    def change(raw: Path) -> None:
        for name in names:
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            data = {"empty.txt": b"", "binary data.bin2": bytes(range(256)) * 64}.get(name, name.encode())
            (raw / name).write_bytes(data)

    pushed(families.rebundled(family, "model", "model", change), hub)
    assert set(names) <= files(family.parent / "model").keys()
    holds_exactly(family, hub, embedded, "model", "model")


def test_a_dataset_of_two_configurations(tmp_path: Path, hub: Hub, embedded: daemon.Running) -> None:
    for config in ("ar", "en"):
        for split, count in (("train", 30), ("test", 3)):
            factories.write_rows(
                tmp_path / "raw" / config / f"{split}.jsonl",
                [{"id": f"{config}-{n}", "text": f"نص {n}", **({"length": n} if config == "ar" else {})}
                 for n in range(count)],
            )  # fmt: skip
    adopt(tmp_path / "raw", kind="dataset", out=tmp_path / "corpus")
    release = factories.write_release(
        tmp_path / "release.yaml",
        artifacts=[{"kind": "dataset", "repo": "corpus", "bundle": "corpus", "summary": "Two."}],
    )
    pushed(release, hub)
    holds_exactly(release, hub, embedded, "corpus", "dataset")

    script = """
import sys
from datasets import get_dataset_config_names, load_dataset
repo = sys.argv[1]
assert get_dataset_config_names(repo, revision="v1.0.0") == ["ar", "en"]
for config in ("ar", "en"):
    loaded = load_dataset(repo, config, revision="v1.0.0")
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 30, "test": 3}, loaded
    assert loaded["train"].column_names == ["id", "text", "length"][: 3 if config == "ar" else 2], loaded
    assert loaded["train"][7]["text"] == "نص 7"
"""
    families.python(script, f"{namespace(release)}/corpus", hub=embedded, home=tmp_path / "home")


def test_a_model_in_two_shards(family: Path, hub: Hub, embedded: daemon.Running) -> None:
    def shard(raw: Path) -> None:
        (raw / "model.safetensors").unlink()
        names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        factories.write_tensors(raw / names[0], {"embed": ("BF16", (16, 8))})
        factories.write_tensors(raw / names[1], {"norm": ("F32", (8,))})
        index = {"metadata": {"total_size": 288}, "weight_map": {"embed": names[0], "norm": names[1]}}
        (raw / INDEX).write_text(json.dumps(index))

    pushed(families.rebundled(family, "model", "model", shard), hub)
    assert INDEX in files(family.parent / "model")
    holds_exactly(family, hub, embedded, "model", "model")


def test_a_space_keeps_the_card_that_it_brings(tmp_path: Path, hub: Hub, embedded: daemon.Running) -> None:
    release = space_release(tmp_path)
    pushed(release, hub)
    holds_exactly(release, hub, embedded, "page", "space")
    text = published(release, embedded, "page", "space", "README.md").decode()
    assert text.startswith(CARD.format(title="A small page").partition("---\n\n")[0])
    assert regions.people(text).startswith("\nصفحة صغيرة.\n")
    assert frontmatter.split(text, where="card").metadata["license"] == "cc-by-nc-4.0"
    info = owner(embedded).space_info(f"{namespace(release)}/page")
    assert (info.sdk, info.private) == ("static", False)


def test_the_card_of_a_space_that_would_read_otherwise_waits_for_the_next_version(
    tmp_path: Path, hub: Hub, embedded: daemon.Running
) -> None:
    release = space_release(tmp_path)
    pushed(release, hub)
    families.artifact(release, "page", summary="Words that came later.")
    made, wants = planned(release, hub)
    assert (made.is_nothing, [repo.card_differs for repo in made.repos]) == (True, [True])
    assert [finding.level for finding in verify(load(release), wants, hub)] == ["warning"]
    pushed(families.edited(release, version="1.0.1"), hub)
    text = families.card(embedded, "space", f"{namespace(release)}/page", "v1.0.1")
    assert text.startswith(CARD.format(title="A small page").partition("---\n\n")[0])
    assert "Words that came later." in text


def test_a_card_that_the_hub_refuses_is_an_error_with_its_reason(
    tmp_path: Path, hub: Hub, embedded: daemon.Running
) -> None:
    release = space_release(tmp_path, title="2026")  # a number, as YAML reads it
    with pytest.raises(HubError, match='"title" must be a string') as refused:
        pushed(release, hub)
    assert refused.value.fix
    assert not owner(embedded).repo_exists(f"{namespace(release)}/page", repo_type="space")
    done = hala_release("push", str(release), "--hub", embedded.url, "--yes", cwd=tmp_path, HF_TOKEN=embedded.token)
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr
    assert "error: page, README.md, title: YAML reads 2026, which is not text" in done.stderr


def test_a_refused_card_stops_the_release_before_any_repository_is_made(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    adopt(write_space(family.parent / "raw" / "page", title="2026"), kind="space", out=family.parent / "page")
    corpus = {"kind": "dataset", "repo": "corpus", "bundle": "corpus"}
    release = factories.write_release(family, artifacts=[corpus, {"kind": "space", "repo": "page", "bundle": "page"}])
    with pytest.raises(HubError, match="the Hub refuses its metadata"):
        pushed(release, hub)
    assert not owner(embedded).repo_exists(f"{namespace(release)}/corpus", repo_type="dataset")


def test_a_path_that_no_client_uploads_cannot_be_sealed(tmp_path: Path) -> None:
    from hala_release.bundle import seal
    from hala_release.manifest import Provenance, SpaceFacts

    cached = write_space(tmp_path / "page" / "files") / "sub" / ".cache"
    cached.mkdir(parents=True)
    (cached / "x.lock").touch()
    facts = SpaceFacts(sdk="static", sdk_version=None, app_file=None)
    with pytest.raises(ContractError, match=r"sub/\.cache/x\.lock"):
        seal(tmp_path / "page", name="page", facts=facts, provenance=Provenance(stage="test"), digests={})


def test_a_bundle_of_another_kind_is_refused_before_the_hub_is_asked(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    families.artifact(family, "model", bundle="corpus")
    with pytest.raises(ConfigError, match=r"model is a model in the release, its bundle .* holds a dataset"):
        planned(family, hub)
    assert families.state(embedded, namespace(family)) == {}


def test_a_space_whose_card_went_missing_is_a_broken_bundle(tmp_path: Path, embedded: daemon.Running) -> None:
    release = space_release(tmp_path)
    (families.writable(tmp_path / "page") / "files" / "README.md").unlink()
    there = (str(release), "--hub", embedded.url)
    for arguments in (("check", str(release)), ("plan", *there), ("push", *there, "--yes")):
        done = hala_release(*arguments, cwd=tmp_path, HF_TOKEN=embedded.token)
        assert done.returncode in (3, 4), (arguments, done.stderr)
        assert "README.md is missing" in done.stderr
    assert families.state(embedded, namespace(release)) == {}


def test_a_published_release_whose_files_are_gone_here_still_plans_and_verifies_as_a_broken_bundle(
    family: Path, hub: Hub, embedded: daemon.Running
) -> None:
    pushed(family, hub)
    (families.writable(family.parent / "model") / "files" / "config.json").unlink()
    there = (str(family), "--hub", embedded.url)
    for command in ("plan", "verify"):
        done = hala_release(command, *there, cwd=family.parent, HF_TOKEN=embedded.token)
        assert done.returncode == 3, (command, done.stderr)
        assert "config.json is missing" in done.stderr
        assert "fix:" in done.stderr
