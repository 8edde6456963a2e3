"""A judge of another family accepts or rejects every translation, with a reason; no verdict is a rejection."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError
from pipeline import judge, prompts, translate
from pipeline.asking import family_of
from pipeline.engines.echo import ROOT, Echo, verdict
from pipeline.executor import Local
from pipeline.judge import JudgeConfig
from pipeline.rows import Row
from pipeline.stage import load, run_stage
from pipeline.translate import TranslateConfig
from tests.stages.echoes import Running, bundle_of, conversation, echo, echoing, report, revision_for, rows_of

CONFIGS = ROOT / "pipeline" / "configs" / "judge"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests."""
    with echoing(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(running: Running) -> Running:
    """The same, with a fresh journal."""
    return running.fresh()


def judged(folder: Path, made: list[Row] | Bundle, server: Running, **more: Any) -> Bundle:  # noqa: ANN401
    """Judge rows."""
    made_up = made if isinstance(made, Bundle) else bundle_of(made, folder / "made")
    given = {"server": server.remote(), "cache": folder / "answers", "executor": Local(workers=1), **more}
    return run_stage(judge.STAGE, JudgeConfig(**given), {"rows": [made_up]}, folder / "out")


def pair(number: int, *texts: str) -> Row:
    """Make a translated row."""
    return conversation(number, *texts, target=[f"ترجمة {text}" for text in texts])


def expected(source: str, target: str) -> dict[str, str] | None:
    """Return what the echo server says of a pair; None where that is no verdict."""
    said = verdict(prompts.judgement(source, target)[-1]["content"])
    try:
        told: dict[str, str] = json.loads(said)
    except ValueError:
        return None
    return told


def test_a_row_is_accepted_when_each_of_its_turns_is(tmp_path: Path, server: Running) -> None:
    made = [pair(number, f"Question {number}?", f"Answer {number}.") for number in range(200)]
    bundle = judged(tmp_path, made, server)
    outcomes: Counter[str] = Counter()
    for row in rows_of(bundle):
        turns = [expected(turn["text"], one["text"]) for turn, one in zip(row["turns"], row["target"], strict=True)]
        assert row["verdict"]["accept"] == all(turn is not None and turn["verdict"] == "accept" for turn in turns)
        against = [number for number, turn in enumerate(turns, 1) if turn is None or turn["verdict"] == "reject"]
        for number, turn in enumerate(turns, 1):
            said = f"turn {number}: {turn['reason'] if turn else 'no verdict'}"
            assert (said in row["verdict"]["reason"]) == (number in against or not against)
            outcomes["unparsable" if turn is None else f"{turn['verdict']}ed"] += 1
    assert len(rows_of(bundle)) == 200
    assert min(outcomes.values()) >= 2, "each kind of answer was met"
    assert report(bundle, "judge")["outcomes"] == outcomes
    assert report(bundle, "judge")["rows_accepted"] == sum(row["verdict"]["accept"] for row in rows_of(bundle))
    assert [{**row, "verdict": None} for row in rows_of(bundle)] == made


def test_the_judge_sees_both_sides_and_is_held_to_a_form(tmp_path: Path, server: Running) -> None:
    source = "Say {target} and nothing else."
    judged(tmp_path, [conversation(0, source, target=["قل {source}"])], server)
    (request,) = server.asked()
    system, user = request["messages"]
    assert "strict bilingual judge" in system["content"]
    assert user["content"] == f"SOURCE:\n{source}\n\nTRANSLATION:\nقل {{source}}"
    assert request["response_format"]["type"] == "json_schema"
    schema = request["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"] == {"type": "string", "enum": ["accept", "reject"]}
    assert schema["required"] == ["verdict", "reason"]
    assert (request["temperature"], request["max_tokens"]) == (0, 256)


def test_what_is_not_finished_is_rejected_without_a_question(tmp_path: Path, server: Running) -> None:
    made = [conversation(0, "One"), pair(1, "One", "Two"), pair(2, "One"), pair(3, "One"), pair(4, "One")]
    for number, reason in ((1, "length"), (2, "refused: too long"), (3, "unrestored")):
        made[number]["target"][-1]["finish_reason"] = reason  # type: ignore[index]
    made[4]["target"] = [{"text": " \n", "finish_reason": "stop"}]
    bundle = judged(tmp_path, made, server)
    assert server.asked() == []
    assert [row["verdict"] for row in rows_of(bundle)] == [
        {"accept": False, "reason": "there is no translation"},
        {"accept": False, "reason": "turn 2 is not finished: length"},
        {"accept": False, "reason": "turn 1 is not finished: refused: too long"},
        {"accept": False, "reason": "turn 1 is not finished: unrestored"},
        {"accept": False, "reason": "turn 1: the translation is empty"},
    ]
    assert report(bundle, "judge")["outcomes"] == {"untranslated": 1, "unfinished": 3, "empty": 1}


def test_what_has_no_word_needs_no_judge(tmp_path: Path, server: Running) -> None:
    made = [conversation(0, "", "12 + 3", target=["", "12 + 3"])]
    bundle = judged(tmp_path, made, server)
    assert server.asked() == []
    assert rows_of(bundle)[0]["verdict"]["accept"]


def test_a_text_left_in_english_is_judged(tmp_path: Path, server: Running) -> None:
    judged(tmp_path, [conversation(0, "Left as it was", target=["Left as it was"])], server)
    assert len(server.asked()) == 1


def test_a_turn_that_is_too_long_to_judge_is_rejected(tmp_path: Path, server: Running) -> None:
    bundle = judged(tmp_path, [pair(0, "long " * 100)], server, turn_characters=900)
    assert server.asked() == []
    assert rows_of(bundle)[0]["verdict"] == {"accept": False, "reason": "turn 1: longer than 900 characters"}


def test_a_verdict_that_breaks_off_is_none(tmp_path: Path, server: Running) -> None:
    bundle = judged(tmp_path, [pair(0, "One")], server, max_tokens=16)
    assert rows_of(bundle)[0]["verdict"] == {"accept": False, "reason": "turn 1: no verdict: length"}


def test_a_question_that_the_server_refuses_is_a_rejection(tmp_path: Path) -> None:
    with echoing(tmp_path, "--context=600") as server:
        bundle = judged(tmp_path, [pair(0, "word " * 400), pair(1, "Fine?")], server)
    first, second = rows_of(bundle)
    assert first["verdict"]["reason"].startswith("turn 1: no verdict: refused: This model's maximum context")
    assert "refused" not in second["verdict"]["reason"]


def test_a_second_run_asks_nothing(tmp_path: Path, server: Running) -> None:
    made = bundle_of([pair(number, f"Text {number}") for number in range(20)], tmp_path / "made")
    first = judged(tmp_path, made, server)
    assert len(server.asked()) == 20
    given = JudgeConfig(server=server.remote(), cache=tmp_path / "answers", executor=Local(workers=1))
    second = run_stage(judge.STAGE, given, {"rows": [made]}, tmp_path / "elsewhere")
    assert len(server.asked()) == 20
    assert second.manifest_sha256 == first.manifest_sha256


def translated(folder: Path, model: str, **more: str) -> Bundle:
    """Translate a row with a model of some name."""
    made = bundle_of([conversation(0, "Hello")], folder / "source")
    given = TranslateConfig(server=echo(model=model), cache=folder / "answers", executor=Local(workers=1), **more)
    return run_stage(translate.STAGE, given, {"rows": [made]}, folder / "out")


def test_a_judge_of_the_translators_family_is_refused_unless_it_is_wanted(tmp_path: Path) -> None:
    rows = translated(tmp_path, "Qwen/Qwen3-8B")
    own = {"server": echo(model="Qwen/Qwen2.5-3B-Instruct"), "cache": tmp_path / "answers"}
    with pytest.raises(ConfigError, match="the judge is of the family `qwen`, and so is Qwen/Qwen3-8B") as told:
        run_stage(judge.STAGE, JudgeConfig.model_validate(own), {"rows": [rows]}, tmp_path / "out")
    assert "same_family: true" in told.value.fix
    run_stage(judge.STAGE, JudgeConfig.model_validate(own | {"same_family": True}), {"rows": [rows]}, tmp_path / "out")


def test_a_model_whose_name_hides_its_family_can_be_told(tmp_path: Path) -> None:
    rows = translated(tmp_path, "my-translator", family="qwen")
    own = {"server": echo(model="Qwen2.5-3B-Instruct"), "cache": tmp_path / "answers"}
    with pytest.raises(ConfigError, match="family `qwen`"):
        run_stage(judge.STAGE, JudgeConfig.model_validate(own), {"rows": [rows]}, tmp_path / "out")
    told = report(
        run_stage(
            judge.STAGE, JudgeConfig.model_validate(own | {"family": "other"}), {"rows": [rows]}, tmp_path / "out"
        ),
        "judge",
    )
    assert told["family"] == "other"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen/Qwen2.5-3B-Instruct", "qwen"),
        ("hammh0a/Hala-1.2B-EN-AR-Translator", "hala"),
        ("CohereLabs/command-a-translate-08-2025", "command"),
        ("echo", "echo"),
    ],
)
def test_a_family_is_how_the_name_begins(model: str, family: str) -> None:
    assert family_of(model) == family


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_each_configuration_is_sound_and_says_how_it_is_run(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    command = f"# python -m pipeline judge {path.relative_to(ROOT).as_posix()} --from out/translate/DIGEST"
    assert first.startswith(command)
    load(path, JudgeConfig, revision_for(path))


def test_there_is_a_configuration_for_the_reported_judge_and_one_to_rehearse() -> None:
    assert {path.name for path in CONFIGS.glob("*.yaml")} >= {"echo.yaml", "qwen.yaml"}
    assert load(CONFIGS / "echo.yaml", JudgeConfig, {}).model_family() != Echo(kind="echo").model
