"""What provenance knows, the release does not contradict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hala_release import lineage
from hala_release.adopt import adopt
from hala_release.bundle import Bundle, ancestors, seal
from hala_release.checks import findings
from hala_release.errors import ConfigError
from hala_release.manifest import Input, Provenance
from hala_release.release import load
from hala_release.wanted import wanted
from tests import factories

COMMIT = "1" * 40


def made(place: Path, stage: str, like: Bundle, config: dict[str, Any], **inputs: Bundle) -> Bundle:
    """Seal the files of a bundle as what a stage made from others."""
    factories.write_model(place / "files")
    given = tuple(Input(name=role, manifest_sha256=one.manifest_sha256) for role, one in inputs.items())
    provenance = Provenance(stage=stage, config=config, inputs=given, ancestors=ancestors(inputs.values()))
    return seal(place, name=place.name, facts=like.manifest.facts, provenance=provenance, digests={})


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A model that was trained from LiquidAI/LFM2-350M on the corpus of the release."""
    factories.family(tmp_path)
    plain = Bundle.open(tmp_path / "model")
    base = made(tmp_path / "base", "fetch", plain, {"repo": "LiquidAI/LFM2-350M", "revision": COMMIT})
    corpus = Bundle.open(tmp_path / "corpus")
    made(tmp_path / "trained", "train", plain, {"epochs": 2.0}, base=base, data=corpus)
    return written(tmp_path)


def written(folder: Path, **keys: Any) -> Path:  # noqa: ANN401
    model = {"kind": "model", "repo": "model", "bundle": "trained", "summary": "A model.", "datasets": ["corpus"]}
    corpus = {"kind": "dataset", "repo": "corpus", "bundle": "corpus", "summary": "Rows."}
    base = {"base": "LiquidAI/LFM2-350M", "relation": "finetune"}
    return factories.write_release(folder / "release.yaml", artifacts=[corpus, {**model, **base, **keys}])


def told(release: Path) -> list[str]:
    loaded = load(release)
    return [one.message for one in findings(loaded, wanted(loaded, release.parent), release.parent)]


def test_a_release_that_says_what_provenance_knows_is_silent(release: Path) -> None:
    assert told(release) == []


def test_another_base_or_another_corpus_than_provenance_knows_is_found(release: Path) -> None:
    other = written(release.parent, base="Qwen/Qwen2.5-0.5B")
    assert told(other) == [
        "it says that it was made from Qwen/Qwen2.5-0.5B, and its provenance knows nothing of that model"
    ]
    factories.write_rows(release.parent / "raw" / "more" / "train.jsonl", factories.conversations(9))
    adopt(release.parent / "raw" / "more", kind="dataset", out=release.parent / "more")
    text = written(release.parent).read_text(encoding="utf-8").replace("bundle: corpus", "bundle: more")
    release.write_text(text, encoding="utf-8")
    (message,) = told(release)
    assert (
        message.endswith("/corpus, and its provenance knows nothing of that dataset") or "made from corpus" in message
    )


def test_the_card_prints_the_recipe_and_the_commit_that_was_fetched(release: Path) -> None:
    text = wanted(load(release), release.parent)[1].card
    assert f"LiquidAI/LFM2-350M@{COMMIT[:12]}" in text
    assert "epochs `2.0`" in text
    assert f"| base | `{COMMIT[:12]}` |" in text, "the commit is known without being typed"


def test_weights_come_from_bases_and_not_from_teachers(release: Path) -> None:
    trained = Bundle.open(release.parent / "trained")
    teacher = made(release.parent / "teacher", "fetch", trained, {"repo": "a/teacher", "revision": COMMIT})
    corpus = made(release.parent / "translated", "translate", trained, {}, model=teacher)
    tuned = made(release.parent / "tuned", "train", trained, {}, base=trained, data=corpus)
    base = Bundle.open(release.parent / "base")
    assert lineage.parents(tuned) == {trained.manifest_sha256, base.manifest_sha256}


def test_a_header_that_cannot_be_is_an_error_that_names_it(release: Path) -> None:
    with pytest.raises(ConfigError, match="the card of model cannot have this header"):
        wanted(load(written(release.parent, tags=["a\u200bb"])), release.parent)
