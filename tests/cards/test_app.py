"""What a Space is given: models by commit, requirements of its hardware, words and charts of its About page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hala_release import card, frontmatter
from hala_release.adopt import adopt
from hala_release.errors import ConfigError
from hala_release.release import load
from hala_release.wanted import Wanted, opened, wanted
from tests import factories

PINS = {"acme/small": "a" * 40, "acme/base": "b" * 40}
OUTSIDE = {"LiquidAI/LFM2-350M": {"license": "apache-2.0", "revision": "c" * 40}}
README = "---\nemoji: 🌙\nsdk: gradio\napp_file: app.py\n---\n\nWords of people.\n"


def space(folder: Path, *, readme: str = README, release: dict[str, Any] | None = None, **changes: object) -> Wanted:
    """Return what is wanted of a Space beside two models."""
    raw = folder / "raw" / "space"
    raw.mkdir(parents=True)
    for name, text in {
        "README.md": readme,
        "app.py": "",
        "requirements.txt": "gradio==6.31.0\ntorch==2.13.0\n",
        "requirements-zero.txt": "gradio==6.30.0\ntorch==2.11.0\n",
    }.items():
        (raw / name).write_text(text, encoding="utf-8")
    adopt(raw, kind="space", out=folder / "space")
    models: list[dict[str, Any]] = []
    for name in ("small", "base"):
        adopt(factories.write_model(folder / "raw" / name), kind="model", out=folder / name)
        models.append({"kind": "model", "repo": name, "bundle": name})
    models[0] |= {"base": "acme/base", "relation": "finetune", "limits": "It is *small*.", "limits_ar": "إنه صغير."}
    made = {"kind": "space", "repo": "chat", "bundle": "space", "chat": ["small"], "translate": {"ar": "small"}}
    document = {"namespace": "acme", "artifacts": [*models, made | changes], **(release or {})}
    return wanted(load(factories.write_release(folder / "release.yaml", **document)), folder)[-1]


def family_json(want: Wanted) -> dict[str, Any]:
    """Return what the app reads."""
    found: dict[str, Any] = json.loads(want.rendered["family.json"])
    return found


def header(want: Wanted) -> dict[str, Any]:
    """Return what the Hub builds from."""
    return dict(frontmatter.split(want.card, where="README.md").metadata)


def test_every_model_and_its_base_has_its_commit(tmp_path: Path) -> None:
    want = space(tmp_path).pinned(PINS)
    document = family_json(want)
    assert {name: model["revision"] for name, model in document["models"].items()} == PINS
    assert document["bases"] == {"acme/small": "acme/base"}
    assert document["translate"]["ar"]["prompt"].endswith("{text}")
    (preload,) = header(want)["preload_from_hub"]
    assert preload.startswith("acme/small chat_template.jinja,config.json,")
    assert preload.endswith(f" {'a' * 40}")


def test_a_commit_that_is_not_known_yet_takes_as_much_room(tmp_path: Path) -> None:
    before = space(tmp_path)
    after = before.pinned(PINS)
    assert {path: entry.size for path, entry in before.entries.items()} == {
        path: entry.size for path, entry in after.entries.items()
    }
    assert before.entries["family.json"].sha256 != after.entries["family.json"].sha256


def test_a_base_of_others_is_compared_with_where_its_commit_is_known(tmp_path: Path) -> None:
    base = {"base": "LiquidAI/LFM2-350M", "relation": "finetune"}
    models = [{"kind": "model", "repo": "small", "bundle": "small", **base}]
    made = {"kind": "space", "repo": "chat", "bundle": "space", "chat": ["small"]}
    known = space(tmp_path / "a", release={"upstream": OUTSIDE, "artifacts": [*models, made]})
    assert family_json(known)["models"]["LiquidAI/LFM2-350M"]["revision"] == "c" * 40
    unknown = space(tmp_path / "b", release={"artifacts": [*models, made]})
    assert family_json(unknown)["bases"] == {}


def test_sdk_version_follows_the_lock_of_the_hardware(tmp_path: Path) -> None:
    cpu = space(tmp_path / "cpu")
    assert (header(cpu)["sdk_version"], header(cpu)["python_version"]) == ("6.31.0", "3.11")
    assert "requirements.txt" not in cpu.rendered
    zero = space(tmp_path / "zero", hardware="zero-a10g")
    assert (header(zero)["sdk_version"], header(zero)["python_version"]) == ("6.30.0", "3.12.12")
    assert zero.rendered["requirements.txt"] == b"gradio==6.30.0\ntorch==2.11.0\n"
    assert header(zero)["suggested_hardware"] == "zero-a10g"


def test_private_models_are_not_preloaded(tmp_path: Path) -> None:
    assert "preload_from_hub" not in header(space(tmp_path, release={"visibility": "private"}))


def test_keys_that_the_release_writes_are_not_brought(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has `sdk_version`, which the release writes itself"):
        space(tmp_path, readme=README.replace("sdk: gradio", "sdk: gradio\nsdk_version: 6.0.0"))


def test_the_card_keeps_its_words_and_says_how_programs_ask(tmp_path: Path) -> None:
    text = space(tmp_path).card
    assert "Words of people." in text
    assert 'client = Client("acme/chat")' in text
    assert 'api_name="/translate"' in text


def test_about_has_facts_in_both_languages(tmp_path: Path) -> None:
    made = space(tmp_path).pinned(PINS).rendered
    english, arabic = made["about.en.md"].decode(), made["about.ar.md"].decode()
    assert "| [small](https://huggingface.co/acme/small) | 136 |" in english
    assert "It is *small*." in english
    assert "إنه صغير." in arabic
    assert "aaaaaaaaaaaa" in arabic


def test_a_model_that_is_not_of_the_release_is_an_error_of_release_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chat uses other, which is no model of this release"):
        space(tmp_path, chat=["other"])


def test_a_prompt_without_a_place_for_the_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prompts"):
        space(tmp_path, prompts={"ar": "Translate!"})


def test_words_for_one_language_leave_those_of_the_other(tmp_path: Path) -> None:
    want = space(
        tmp_path, prompts={"ar": "ترجم: {text}"}, examples={"en": ["Hello?"]}, translate={"ar": "small", "en": "small"}
    )
    document = family_json(want)
    assert document["translate"]["ar"]["prompt"] == "ترجم: {text}"
    assert document["translate"]["en"]["prompt"].startswith("Translate everything")
    assert document["examples"]["en"] == ["Hello?"]
    assert document["examples"]["ar"]


def test_models_may_be_named_with_their_namespace(tmp_path: Path) -> None:
    assert family_json(space(tmp_path, chat=["acme/small"]))["bases"] == {"acme/small": "acme/base"}


def test_a_model_without_a_bundle_is_a_finding_of_its_space_too(tmp_path: Path) -> None:
    space(tmp_path)
    shutil.rmtree(tmp_path / "small")
    found = opened(load(tmp_path / "release.yaml"), tmp_path).findings
    assert [finding.where for finding in found] == ["small", "chat"]
    assert "chat needs small" in found[1].message


def test_another_space_is_given_nothing(tmp_path: Path) -> None:
    want = space(tmp_path, chat=[], translate={})
    assert want.rendered.keys() == {card.NAME}
    assert "sdk_version" not in header(want)
