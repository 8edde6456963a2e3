"""A real run: real instructions, a real translator and a real judge of another family, on real vLLM, parity first."""

from __future__ import annotations

import gzip
import json
import re
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError
from pipeline import ingest, judge, rows, stage, translate
from pipeline.asking import AskingConfig
from pipeline.demo import corpus
from pipeline.engines import parity
from pipeline.engines.vllm import Vllm, serving
from pipeline.prompts import translation

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "pipeline" / "configs"
INSTRUCTIONS = ROOT / "../shared/data/en_instructions/alpaca_50k.jsonl.gz"
ROWS = 24
ARABIC = re.compile("[\u0621-\u064a]")


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    """Short instructions and their answers, spread over a corpus that was made from no text of this repository."""
    if not INSTRUCTIONS.exists():
        pytest.skip(f"needs {INSTRUCTIONS.name}, which is not part of the repository")
    with gzip.open(INSTRUCTIONS, "rt", encoding="utf-8") as lines:
        every = map(json.loads, lines)
        short = ((one["instruction"], one["output"]) for one in every if not one["input"])
        chosen = [pair for pair in short if len(pair[0]) <= 80 and 10 <= len(pair[1]) <= 100]
    return chosen[:: len(chosen) // ROWS][:ROWS]


@pytest.fixture(scope="module")
def translated(
    environment: Path, gemma: Path, texts: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, float]:
    """The instructions in Arabic, and the seconds that it took; vLLM is started and stopped by the stage."""
    root = tmp_path_factory.mktemp("run")
    source = root / "alpaca.jsonl"
    lines = [{"instruction": asked, "input": "", "output": said} for asked, said in texts]
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    found = stage.load(CONFIGS / "ingest/local_alpaca.yaml", ingest.STAGE.config, {"local.paths": [str(source)]})
    rows = stage.run_stage(ingest.STAGE, found, {}, root)
    config = _config("translate/gemma-demo.yaml", translate.TranslateConfig, environment, gemma, root)
    start = time.monotonic()
    return stage.run_stage(translate.STAGE, config, {"rows": [rows]}, root), time.monotonic() - start


def test_vllm_computes_what_transformers_does_on_the_very_translator_that_is_served(
    environment: Path, gemma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config("translate/gemma-demo.yaml", translate.TranslateConfig, environment, gemma, tmp_path)
    assert isinstance(config.server, Vllm)
    english = [pair["en"] for _, pair in corpus.pairs()][::1500][:8]
    chats = [translation(config.prompt, text) for text in english]
    with serving(config.server, tmp_path / "log") as endpoint:
        answered = parity.ask(endpoint, chats, tokens=24)
    found = parity.compare(answered, str(gemma), chats, dtype=config.server.dtype)
    _say(capsys, *found.lines())
    assert found.holds
    assert found.chats == 8
    assert found.answer_tokens > 40


def test_real_instructions_come_back_in_arabic(
    translated: tuple[Bundle, float], texts: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, seconds = translated
    made = _rows(bundle)
    report = _report(bundle, "translate")
    targets = [target for row in made for target in row["target"]]
    finished = [one["text"] for one in targets if one["finish_reason"] == "stop"]
    arabic = [text for text in finished if ARABIC.search(text)]
    pairs = [(turn["text"], one["text"]) for row in made for turn, one in zip(row["turns"], row["target"], strict=True)]
    _say(
        capsys,
        f"{len(made)} rows, {len(targets)} turns in {seconds:.0f} s with start: {len(finished)} finished, "
        f"{len(arabic)} of these with Arabic letters; {report['tokens']['completion']} tokens",
        *(f"{source!r} -> {text!r}" for source, text in pairs[:16]),
    )
    assert [row["turns"][0]["text"] for row in made] == [asked for asked, _ in texts]
    assert len(made) == ROWS
    assert len(finished) > 0.7 * len(targets)
    assert len(arabic) > 0.6 * len(targets)


def test_a_model_of_another_family_judges_with_a_reason_in_the_form_that_was_asked_for(
    environment: Path,
    smollm: Path,
    translated: tuple[Bundle, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = _config("judge/smollm-demo.yaml", judge.JudgeConfig, environment, smollm, tmp_path)
    start = time.monotonic()
    bundle = stage.run_stage(judge.STAGE, config, {"rows": [translated[0]]}, tmp_path)
    seconds = time.monotonic() - start
    made, report = _rows(bundle), _report(bundle, "judge")
    _say(
        capsys,
        f"judged in {seconds:.0f} s with start: {report['outcomes']}; {report['tokens']['completion']} tokens",
        *(str(row["verdict"]) for row in made[:4]),
    )
    assert len(made) == ROWS
    assert all(row["verdict"]["reason"] for row in made)
    outcomes = report["outcomes"]
    judged = outcomes.get("accepted", 0) + outcomes.get("rejected", 0)
    assert judged > 0.9 * (judged + outcomes.get("unparsable", 0) + outcomes.get("unjudged", 0))
    assert _report(bundle, "translate")["family"] == "gemma" != report["family"] == "smollm"


def test_a_judge_of_the_translators_family_is_refused(
    environment: Path, gemma: Path, translated: tuple[Bundle, float], tmp_path: Path
) -> None:
    config = _config("judge/smollm-demo.yaml", judge.JudgeConfig, environment, gemma, tmp_path)
    with pytest.raises(ConfigError, match="family"):
        stage.run_stage(judge.STAGE, config, {"rows": [translated[0]]}, tmp_path)


Config = TypeVar("Config", bound=AskingConfig)


def _config(name: str, kind: type[Config], environment: Path, model: Path, cache: Path) -> Config:
    """Read a configuration of the project; the environment, the model and the cache are those of the test."""
    places = {
        "server.environment": str(environment),
        "server.model": str(model),
        "cache": str(cache / "answers"),
        "executor": {"kind": "local", "workers": 1},
    }
    return stage.load(CONFIGS / name, kind, places)


def _rows(bundle: Bundle) -> list[dict[str, Any]]:
    return [row for shard in rows.shards([bundle]) for row in rows.read_rows(shard)]


def _report(bundle: Bundle, name: str) -> dict[str, Any]:
    return dict(json.loads((bundle.files / stage.REPORTS / f"{name}.json").read_text(encoding="utf-8")))


def _say(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    with capsys.disabled():
        sys.stdout.write("".join(f"\n  {line}" for line in lines) + "\n")
