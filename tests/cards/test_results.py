"""Scores on a card: bound to their weights, beside their base, with what chance explains."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from hala_release import card, regions, results
from hala_release.adopt import adopt
from hala_release.bundle import Bundle, ancestors, seal
from hala_release.errors import ConfigError, ContractError
from hala_release.family import Member, family
from hala_release.manifest import Input, ModelFacts, Provenance, ResultsFacts, Score
from hala_release.release import load
from hala_release.wanted import wanted
from tests import factories
from tests.cards import made
from tests.cards.made import DECEPTIVE, HOSTILE, MODEL, evaluated, frozen, rendered, results_of, sealed

NAMED = {**MODEL, "results": ["results"]}


def with_results(place: Path, **changes: Any) -> None:  # noqa: ANN401
    frozen(place / "model", "model")
    sealed(place / "results", results_of(place, **changes))


def region(text: str, name: str) -> str:
    found = regions.inner(text, name)
    assert found is not None, f"no region {name}"
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of the last table of a text."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weights_sha256": "0" * 64}, "was measured on other weights"),
        ({"tokenizer_sha256": "0" * 64}, "was measured with another tokenizer"),
        ({"chat_template_sha256": "0" * 64}, "was measured with another chat template"),
        ({"config_sha256": "0" * 64}, r"was measured with another config\.json"),
        ({"generation_config_sha256": "0" * 64}, r"was measured with another generation_config\.json"),
        ({"note": DECEPTIVE}, r"U\+202E"),
        ({"harness": "a\nb"}, r"U\+000A"),
    ],
)
def test_results_that_are_not_of_this_model_or_deceive_are_refused(
    tmp_path: Path, change: dict[str, str], problem: str
) -> None:
    with_results(tmp_path, **change)
    with pytest.raises(ContractError, match=problem):
        rendered(tmp_path, NAMED)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"value": float("inf")}, "not between 0 and 1"),
        ({"value": float("nan")}, "not between 0 and 1"),
        ({"value": 36.9}, "not between 0 and 1"),
        ({"stderr": -0.1}, "the standard error -0.1"),
        ({"stderr": float("nan")}, "the standard error nan"),
        ({"mean_of": ("hala_exams", "hala_gone"), "mean_by": "items"}, "a mean over hala_gone too, which is not there"),
        ({"mean_of": ("translation-mine",), "mean_by": "tasks"}, "which is not the mean of its tasks"),
        ({"title": DECEPTIVE}, r"U\+202E"),
    ],
)
def test_scores_that_no_evaluation_gives_are_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    frozen(tmp_path / "model", "model")
    facts = results_of(tmp_path)
    scores = (facts.scores[0].model_copy(update=change), *facts.scores[1:])
    bundle = Bundle.open(tmp_path / "model")
    (tmp_path / "results").mkdir()
    sound = Bundle(tmp_path / "results", bundle.manifest.model_copy(update={"facts": facts}), "0" * 64)
    odd = facts.model_copy(update={"scores": scores})
    assert not list(results._unfit(facts))
    assert any(re.search(problem, found) for found in results._unfit(odd)), list(results._unfit(odd))
    assert sound.manifest.facts == facts


def test_the_same_score_twice_is_refused(tmp_path: Path) -> None:
    with_results(tmp_path)
    sealed(tmp_path / "again", results_of(tmp_path))
    with pytest.raises(ContractError, match=r"acc_norm of hala_exams is in .*results and in .*again"):
        rendered(tmp_path, {**MODEL, "results": ["results", "again"]})


def test_results_with_hostile_words_stay_in_their_cells(tmp_path: Path) -> None:
    frozen(tmp_path / "model", "model")
    facts = results_of(tmp_path)
    words = [word for word in HOSTILE if word not in {DECEPTIVE, "two\nlines"}]
    scores = tuple(
        facts.scores[0].model_copy(update={"title": word, "metric": word, "data": word, "task": word, "version": word})
        for word in words
    )
    sealed(tmp_path / "results", facts.model_copy(update={"scores": scores, "note": "".join(words)}))
    text = rendered(tmp_path, NAMED)
    assert [len(row) for row in rows(region(text, "results"))] == [4] * len(words)
    assert [len(row) for row in rows(region(text, "protocol"))] == [6] * len(words)
    body = MarkdownIt("commonmark").enable("table").parse("\n".join(region(text, n) for n in ("results", "protocol")))
    inline = [token for line in body for token in line.children or ()]
    assert {token.attrGet("href") for token in inline if token.type == "link_open"} == {"evals/results.json"}
    assert not [token.content for token in inline if token.type in {"html_inline", "image"}]


def test_results_without_the_chat_template_say_so(tmp_path: Path) -> None:
    with_results(tmp_path, chat_template_sha256=None)
    assert "in bfloat16, without the chat template, on weights" in rendered(tmp_path, NAMED)


def pair(place: Path, own: dict[int, float], base: dict[int, float], **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Seal a model with results and results of its base, and return the artifact that names them."""
    frozen(place / "model", "model")
    model = Bundle.open(place / "model")
    evaluated(place / "results", model, own)
    evaluated(place / "base", model, base, **{"weights_sha256": "0" * 64, "model": "LiquidAI/LFM2-350M", **changes})
    return {**NAMED, "base_results": ["base"]}


def test_models_are_compared_item_by_item_where_both_say_what_each_gave(tmp_path: Path) -> None:
    """Twelve items better and none worse is no chance, though the intervals of the two values overlap widely."""
    own = {item: float(item < 60) for item in range(100)}
    base = {item: float(item < 48) for item in range(100)}
    text = region(rendered(tmp_path, pair(tmp_path, own, base)), "results")
    (row,) = rows(text)
    assert row == ["EXAMS", r"acc\_norm", "100", "60.0 ± 9.7", "48.0 ± 9.8", "**+12.0 ± 6.4**"]
    assert "It was tested in pairs" in text


def test_models_are_compared_by_their_errors_where_items_differ(tmp_path: Path) -> None:
    own = {item: float(item < 60) for item in range(100)}
    base = {item + 1: float(item < 48) for item in range(100)}
    text = region(rendered(tmp_path, pair(tmp_path, own, base)), "results")
    (row,) = rows(text)
    assert row[-1] == "+12.0 ± 13.8"
    assert "not item by item" in text


def test_a_model_below_its_base_says_so_in_words(tmp_path: Path) -> None:
    own = {item: float(item < 300) for item in range(1000)}
    base = {item: float(item < 500) for item in range(1000)}
    text = region(rendered(tmp_path, pair(tmp_path, own, base)), "results")
    assert "It is below its base, by more than chance explains, on EXAMS" in text


def test_what_one_test_calls_significant_need_not_be_among_many(tmp_path: Path) -> None:
    """Holm's correction: the same difference, p = 0.031, alone and beside nineteen others that are nothing."""
    frozen(tmp_path / "model", "model")
    model = Bundle.open(tmp_path / "model")
    own = {item: float(item < 6) for item in range(40)}
    none = dict.fromkeys(range(40), 0.0)

    def card_of(tasks: int) -> str:
        for name, first in (("results", own), ("base", none)):
            other = {"weights_sha256": "0" * 64} if name == "base" else {}
            evaluated(tmp_path / f"{name}{tasks}", model, first, **other)
            facts = Bundle.open(tmp_path / f"{name}{tasks}").manifest.facts
            assert isinstance(facts, ResultsFacts)
            (score,) = facts.scores
            zero = score.model_copy(update={"value": 0.0, "stderr": 0.01})
            scores = (score, *(zero.model_copy(update={"task": f"t{n}"}) for n in range(tasks - 1)))
            samples = {"hala_exams": first, **{f"t{n}": none for n in range(tasks - 1)}}
            more = facts.model_copy(update={"scores": scores})
            made.sealed_with(tmp_path / f"{name}-of-{tasks}", more, samples)
        named = {"results": [f"results-of-{tasks}"], "base_results": [f"base-of-{tasks}"]}
        return region(rendered(tmp_path, {**MODEL, **named}), "results")

    assert "**+15.0 ± 11.2**" in card_of(1)
    assert "**" not in card_of(20)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"harness": "LightEval 0.13.0"}, "measured with another harness"),
        ({"backend": "vllm 0.32.0"}, "measured with another backend"),
        ({"dtype": "float16"}, "measured with another dtype"),
        ({"chat_template_sha256": None}, "measured with another use of a chat template"),
        ({"out_of": 100}, "measured with another scale"),
        ({"higher_is_better": False}, "measured with another scale"),
        ({"model": "Qwen/Qwen2.5-7B"}, "is of Qwen/Qwen2.5-7B, not of LiquidAI/LFM2-350M"),
    ],
)
def test_a_base_that_was_measured_otherwise_does_not_stand_beside(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    values = {item: float(item < 60) for item in range(100)}
    of_score = {key: value for key, value in change.items() if key in Score.model_fields}
    artifact = pair(tmp_path, values, values, **{key: change[key] for key in change.keys() - of_score.keys()})
    if of_score:
        facts = Bundle.open(tmp_path / "base").manifest.facts
        assert isinstance(facts, ResultsFacts)
        sealed(tmp_path / "odd", facts.model_copy(update={"scores": (facts.scores[0].model_copy(update=of_score),)}))
        artifact["base_results"] = ["odd"]
    with pytest.raises(ContractError, match=problem):
        rendered(tmp_path, artifact)


def test_results_of_the_model_itself_are_no_base_and_two_models_are_not_one(tmp_path: Path) -> None:
    values = {item: float(item < 60) for item in range(100)}
    artifact = pair(tmp_path, values, values)
    with pytest.raises(ContractError, match=r"results is of .*model itself, not of LiquidAI/LFM2-350M"):
        rendered(tmp_path, {**artifact, "base_results": ["results"]})
    facts = Bundle.open(tmp_path / "base").manifest.facts
    assert isinstance(facts, ResultsFacts)
    other = facts.scores[0].model_copy(update={"task": "other"})
    sealed(tmp_path / "third", facts.model_copy(update={"weights_sha256": "1" * 64, "scores": (other,)}))
    with pytest.raises(ContractError, match="the results of LiquidAI/LFM2-350M are of several models"):
        rendered(tmp_path, {**artifact, "base_results": ["base", "third"]})


def test_samples_that_are_not_those_of_the_score_are_refused(tmp_path: Path) -> None:
    values = {item: float(item < 60) for item in range(100)}
    artifact = pair(tmp_path, values, values)
    facts = Bundle.open(tmp_path / "base").manifest.facts
    assert isinstance(facts, ResultsFacts)
    made.sealed_with(tmp_path / "other", facts, {"hala_exams": dict.fromkeys(range(100), 1.0)})
    with pytest.raises(ContractError, match=r"samples of hala_exams do not give its acc_norm of 0\.6"):
        rendered(tmp_path, {**artifact, "base_results": ["other"]})


def test_what_lighteval_measured_is_compared_item_by_item(tmp_path: Path) -> None:
    """Names of tasks that no file can have find their samples."""
    frozen(tmp_path / "model", "model")
    model = Bundle.open(tmp_path / "model")
    for name, share in (("results", 60), ("base", 48)):
        other = {"weights_sha256": "0" * 64} if name == "base" else {}
        evaluated(tmp_path / f"{name}-plain", model, {item: float(item < share) for item in range(100)}, **other)
        facts = Bundle.open(tmp_path / f"{name}-plain").manifest.facts
        assert isinstance(facts, ResultsFacts)
        score = facts.scores[0].model_copy(update={"task": "arabic_mmlu:Law|0"})
        assert score.samples == "samples/arabic_mmlu-Law-0.jsonl"
        values = {item: float(item < share) for item in range(100)}
        made.sealed_with(tmp_path / name, facts.model_copy(update={"scores": (score,)}), {"arabic_mmlu-Law-0": values})
    text = rendered(tmp_path, {**NAMED, "base_results": ["base"]})
    assert "It was tested in pairs" in text


def test_the_base_is_the_one_that_the_model_was_made_from(tmp_path: Path) -> None:
    """Where provenance says what a model was made from, results of another base are refused."""
    path = made.hala(tmp_path)
    release = load(path)
    (artifact,) = (one for one in release.artifacts if one.repo == "hala-350m")
    own = Bundle.open(tmp_path / "hala-350m")
    other = Bundle.open(tmp_path / "hala-700m")
    merge = Provenance(
        stage="merge",
        inputs=(Input(name="base", manifest_sha256=other.manifest_sha256),),
        ancestors=ancestors([other]),
    )
    model = Bundle(own.root, own.manifest.model_copy(update={"provenance": merge}), own.manifest_sha256)
    base = Bundle.open(tmp_path / "hala-350m-base-results")
    facts = base.manifest.facts
    assert isinstance(facts, ResultsFacts)
    for name, of in (("right", other), ("wrong", own)):
        (tmp_path / name / "files").mkdir(parents=True)
        given = Input(name="model", manifest_sha256=of.manifest_sha256)
        seal(
            tmp_path / name, name=name, facts=facts, digests={},
            provenance=Provenance(stage="evaluate", inputs=(given,)),
        )  # fmt: skip
    assert results.measured(artifact.model_copy(update={"base_results": (Path("right"),)}), model, tmp_path).others
    with pytest.raises(ContractError, match=r"is of a model that .* was not made from"):
        results.measured(artifact.model_copy(update={"base_results": (Path("wrong"),)}), model, tmp_path)


def numbers(text: str) -> list[str]:
    """Every number of a text that no name, path or digest holds."""
    prose = re.sub(r"\]\([^)]*\)|`[^`]*`|src=\"[^\"]*\"", " ", text)
    return re.findall(r"(?<![\w.\-])[+-]?\d(?:[\d,]*\d)?(?:\.\d+)?(?!\w)", prose)


def test_every_number_of_the_results_comes_from_a_result(tmp_path: Path) -> None:
    """Change all that was measured, and every number in these sections changes but the level and the scale."""
    first, second = tmp_path / "first", tmp_path / "second"
    texts = []
    for place, count, right, worse, shots in ((first, 100, 60, 45, 0), (second, 237, 91, 17, 3)):
        place.mkdir()
        own = {item: float(item < right) for item in range(count)}
        base = {item: float(item < worse) for item in range(count)}
        artifact = pair(place, own, base)
        for name in ("results", "base"):
            facts = Bundle.open(place / name).manifest.facts
            assert isinstance(facts, ResultsFacts)
            (score,) = facts.scores
            changed = score.model_copy(update={"shots": shots, "version": f"{shots + 4}"})
            values = own if name == "results" else base
            made.sealed_with(
                place / f"{name}-new", facts.model_copy(update={"scores": (changed,)}), {"hala_exams": values}
            )
        artifact |= {"results": ["results-new"], "base_results": ["base-new"]}
        text = rendered(place, artifact)
        texts.append("\n".join(region(text, name) for name in ("results", "protocol")))
    constants = {"100", "95", "1", "0.4.13", "5.17.0", "5.17", "0.4"}
    before, after = ([one for one in numbers(text) if one not in constants] for text in texts)
    assert len(before) >= 8
    assert not set(before) & set(after), sorted(set(before) & set(after))


@pytest.mark.parametrize("field", ["value", "stderr", "n", "shots", "version", "data", "title", "metric", "language"])
def test_a_change_of_any_part_of_a_score_is_seen_on_the_card(tmp_path: Path, field: str) -> None:
    changes: dict[str, Any] = {
        "value": 0.5, "stderr": 0.1, "n": 9, "shots": 5, "version": "9", "data": f"sha256:{'9' * 64}",
        "title": "Other", "metric": "acc", "language": "en",
    }  # fmt: skip
    frozen(tmp_path / "model", "model")
    facts = results_of(tmp_path)
    sealed(tmp_path / "results", facts)
    odd = facts.scores[0].model_copy(update={field: changes[field]})
    sealed(tmp_path / "other", facts.model_copy(update={"scores": (odd, *facts.scores[1:])}))
    before, after = (rendered(tmp_path, {**MODEL, "results": [name]}) for name in ("results", "other"))
    changed = [name for name in regions.region_names(before) if region(before, name) != region(after, name)]
    assert set(changed) & {"results", "protocol"}, changed


def test_the_family_is_shown_on_every_card_by_size(tmp_path: Path) -> None:
    release = load(made.hala(tmp_path))
    wants = wanted(release, tmp_path)
    assert len(wants) == 7
    for want in wants:
        if want.artifact.repo.removeprefix("hala-") in {"350m", "700m", "1.2b", "9b"}:
            names = [row[0] for row in rows(region(want.card, "family"))]
            assert [re.sub(r"[*\[\]]|\(.*", "", name) for name in names] == [
                *("Hala 350M", "Hala 700M", "Hala 1.2B", "Hala 9B"),
            ]
            assert f"**{want.artifact.title}**" in names


def test_what_others_reported_stands_apart_with_its_source(tmp_path: Path) -> None:
    release = load(made.hala(tmp_path))
    text = wanted(release, tmp_path)[3].card
    reported = region(text, "reported")
    assert "| Hala-350M | 51.4 | 41.2 | 36.9 | 34.5 | 52.1 | 35.4 | 41.9 |" in reported
    assert "https://arxiv.org/abs/2511.14295" in reported
    assert "51.4" not in text.replace(reported, "")


def test_the_published_file_holds_every_score_of_the_card(tmp_path: Path) -> None:
    """`evals/results.json` alone gives the table of the card."""
    release = load(made.hala(tmp_path))
    for want in wanted(release, tmp_path):
        if "evals/results.json" not in want.paths:
            continue
        document = want.rendered["evals/results.json"].decode()
        found = [Score.model_validate(one) for one in _scores(document)]
        for row in rows(region(want.card, "results")):
            shown = {f"{score.value * 100 / score.out_of:.1f}" for score in found}
            assert {row[3].split(" ")[0], row[4].split(" ")[0]} <= shown


def _scores(document: str) -> list[dict[str, Any]]:
    whole = json.loads(document)
    every = [*whole["results"], *(one for other in whole["compared_with"] for one in other["results"])]
    return [score for one in every for score in one["scores"]]


def test_a_file_of_the_bundle_that_the_release_writes_itself_is_refused(tmp_path: Path) -> None:
    raw = factories.write_model(tmp_path / "raw")
    (raw / "evals").mkdir()
    (raw / "evals" / "results.json").write_text("{}")
    model = adopt(raw, kind="model", out=tmp_path / "model").bundle
    evaluated(tmp_path / "results", model, {0: 1.0, 1: 0.0})
    assert isinstance(model.manifest.facts, ModelFacts)
    artifact = {"kind": "model", "repo": "model", "bundle": "model", "results": ["results"]}
    release = load(factories.write_release(tmp_path / "release.yaml", artifacts=[artifact]))
    member = Member(release.artifacts[0], model, results.measured(release.artifacts[0], model, tmp_path))
    whole = family(release, [member], tmp_path)
    assert card.render(member, whole)
    with pytest.raises(ConfigError, match=r"has evals/results\.json, which the release writes itself"):
        card.files(member, whole)
