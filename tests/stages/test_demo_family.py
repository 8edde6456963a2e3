"""The demo family: its rows are real and clean, and its model is one that transformers loads without a remark."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pipeline.demo import corpus, model

Foreign: TypeAlias = Any
"""An object of transformers, whose annotations are unions that a caller cannot narrow."""

ROOT = Path(__file__).parents[2]
ARABIC = "مرحبًا بالعالم، اِختَر الملفّ رقم ٣ أو 3. سمارت\u200cآرت"
CHAT = [
    {"role": "user", "content": "Translate everything that follows into Arabic:\n\nSave the file"},
    {"role": "assistant", "content": "احفظ الملف"},
    {"role": "user", "content": "Thanks!"},
    {"role": "assistant", "content": "على الرحب والسعة 🌙"},
]


@pytest.fixture(scope="module")
def rows_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    corpus.write_corpus(out)
    return out


@pytest.fixture(scope="module")
def model_at(tmp_path_factory: pytest.TempPathFactory, rows_at: Path) -> Path:
    out = tmp_path_factory.mktemp("model")
    model.write_model(out, model.corpus_texts(rows_at))
    return out


@pytest.fixture(scope="module")
def tokenizer(model_at: Path) -> Foreign:
    return AutoTokenizer.from_pretrained(model_at)


@pytest.fixture(scope="module")
def loaded(model_at: Path) -> Foreign:
    return AutoModelForCausalLM.from_pretrained(model_at)


def rows(out: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def run_module(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", name, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def words(row: dict[str, Any]) -> str:
    english = row["conversations"][0]["value"].removeprefix(corpus.PROMPT.format(text=""))
    return " ".join(re.findall(r"\w+", english.casefold()))


def test_rows_have_the_released_schema(rows_at: Path) -> None:
    everything = rows(rows_at, "train") + rows(rows_at, "validation")
    assert len(everything) > 11_000
    for row in everything:
        assert list(row) == ["id", "conversations", "source", "license"]
        human, gpt = row["conversations"]
        assert (human["from"], gpt["from"]) == ("human", "gpt")
        assert human["value"].startswith("Translate everything that follows into Arabic:\n\n")
        assert re.search("[\u0621-\u064a]", gpt["value"])
        assert row["source"]


def test_ids_are_unique_and_rows_are_sorted_by_them(rows_at: Path) -> None:
    train, validation = ([row["id"] for row in rows(rows_at, split)] for split in ("train", "validation"))
    assert train == sorted(train)
    assert validation == sorted(validation)
    assert len({*train, *validation}) == len(train) + len(validation)


def test_no_english_text_lies_in_both_splits_whatever_its_case_and_punctuation(rows_at: Path) -> None:
    train, validation = ({words(row) for row in rows(rows_at, split)} for split in ("train", "validation"))
    assert not train & validation
    assert 0.015 < len(validation) / (len(train) + len(validation)) < 0.025


def test_no_row_carries_text_that_would_surprise_a_reader(rows_at: Path) -> None:
    text = "".join((rows_at / f"{split}.jsonl").read_text(encoding="utf-8") for split in ("train", "validation"))
    assert not re.findall("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb50-\ufdff\ufe70-\ufeff\ufffd]", text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\u200fاحفظ الملف", "bidi control"),
        ("احفظ \ufffd الملف", "replacement character"),
        ("الصفحة اﻷولى", "presentation form"),
        ("موجزًا \u200bلمحركات", "zero-width space"),
        (ARABIC, None),
    ],
)
def test_a_defect_is_named(text: str, reason: str | None) -> None:
    assert corpus.defect(text) == reason


def test_the_tally_accounts_for_every_pair(tmp_path: Path) -> None:
    tally = corpus.write_corpus(tmp_path)
    assert sum(tally.kept.values()) + sum(tally.dropped.values()) == sum(1 for _ in corpus.pairs())
    assert tally.kept == {split: len(rows(tmp_path, split)) for split in ("train", "validation")}


def test_every_license_of_the_rows_travels_with_them(rows_at: Path) -> None:
    licenses = {row["license"] for row in rows(rows_at, "train") + rows(rows_at, "validation")}
    assert licenses == {"Apache-2.0", "BSD-3-Clause", "MIT", "MPL-2.0"}
    assert {path.name for path in (rows_at / "LICENSES").iterdir()} == {
        *(f"{name}.txt" for name in licenses),
        "NOTICE.txt",
    }
    attribution = (rows_at / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert all(row["source"] in attribution for row in rows(rows_at, "train"))


def test_two_processes_write_the_same_bytes(tmp_path: Path, rows_at: Path, model_at: Path) -> None:
    settings = {"PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"}
    told = run_module("pipeline.demo.corpus", str(tmp_path / "corpus"), **settings)
    assert told.returncode == 0, told.stderr
    assert "presentation form" in told.stderr
    told = run_module("pipeline.demo.model", str(tmp_path / "model"), "--corpus", str(tmp_path / "corpus"), **settings)
    assert told.returncode == 0, told.stderr
    assert tree(tmp_path / "corpus") == tree(rows_at)
    assert tree(tmp_path / "model") == tree(model_at)


def test_a_model_without_its_corpus_says_what_to_run(tmp_path: Path) -> None:
    told = run_module("pipeline.demo.model", str(tmp_path / "model"), "--corpus", str(tmp_path))
    assert told.returncode == 2
    assert "python -m pipeline.demo.corpus" in told.stderr
    assert not (tmp_path / "model").exists()


def test_another_seed_gives_other_weights_and_nothing_else(tmp_path: Path, rows_at: Path, model_at: Path) -> None:
    model.write_model(tmp_path, model.corpus_texts(rows_at), seed=1)
    ours, other = tree(model_at), tree(tmp_path)
    assert {name for name in ours if ours[name] != other[name]} == {"model.safetensors"}


def test_everybody_may_read_the_files(model_at: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in model_at.iterdir()}
    assert "model.safetensors" in modes
    assert set(modes.values()) == {0o644}


def test_the_notice_says_that_the_weights_are_random(model_at: Path) -> None:
    assert (
        "Seeded random weights: for rehearsing a release, it does not translate."
        in (model_at / "NOTICE.md").read_text()
    )


def test_weights_are_one_small_bfloat16_file(model_at: Path) -> None:
    path = model_at / "model.safetensors"
    assert 2_000_000 < path.stat().st_size < 6_000_000
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_bfloat16_rounds_as_torch_does() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    ties = np.array([1.00390625, 1.01171875, -1.00390625, 0.0, -0.0], dtype=np.float32)
    both = np.concatenate([values, ties])
    expected = torch.from_numpy(both).to(torch.bfloat16).view(torch.uint16).numpy().astype("<u2").tobytes()
    assert model.bfloat16(both) == expected


def test_transformers_finds_every_weight_and_no_other(model_at: Path) -> None:
    found: Foreign = AutoModelForCausalLM.from_pretrained(model_at, output_loading_info=True)
    loaded, info = found
    assert type(loaded).__name__ == "Lfm2ForCausalLM"
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert loaded.dtype == torch.bfloat16
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_special_ids_agree_everywhere(model_at: Path, tokenizer: Foreign) -> None:
    for settings in (AutoConfig.from_pretrained(model_at), GenerationConfig.from_pretrained(model_at)):
        assert settings.bos_token_id == tokenizer.bos_token_id
        assert settings.eos_token_id == tokenizer.eos_token_id
        assert settings.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.convert_tokens_to_ids(list(model.SPECIAL_TOKENS)) == list(range(len(model.SPECIAL_TOKENS)))
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert len(tokenizer) == AutoConfig.from_pretrained(model_at).vocab_size


def test_the_config_has_the_sizes_that_vllm_reads(model_at: Path) -> None:
    settings = json.loads((model_at / "config.json").read_text())
    assert {settings[key] for key in ("conv_dim", "conv_dim_out", "block_dim")} == {settings["hidden_size"]}
    assert settings["block_ff_dim"] == settings["intermediate_size"]
    assert set(settings["layer_types"]) == {"conv", "full_attention"}


def test_arabic_survives_the_tokenizer(tokenizer: Foreign, rows_at: Path) -> None:
    texts = [row["conversations"][1]["value"] for row in rows(rows_at, "validation")]
    assert texts
    for text in [ARABIC, *texts]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_plain_text_begins_with_one_start_token(tokenizer: Foreign) -> None:
    ids = tokenizer(ARABIC)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_prompt_has_one_start_token_and_ends_with_the_assistant_header(tokenizer: Foreign) -> None:
    prompt = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, tokenize=False)
    assert prompt == f"<|startoftext|><|im_start|>user\n{CHAT[0]['content']}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True)["input_ids"]
    assert ids == tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1


def test_the_assistant_mask_covers_the_answers_with_their_end_and_nothing_else(tokenizer: Foreign) -> None:
    chat = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    covered = [token for token, mine in zip(chat["input_ids"], chat["assistant_masks"], strict=True) if mine]
    assert tokenizer.decode(covered) == "احفظ الملف<|im_end|>على الرحب والسعة 🌙<|im_end|>"


def test_greedy_generation_is_the_same_twice_and_is_arabic(tokenizer: Foreign, loaded: Foreign) -> None:
    chat = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    first, second = (loaded.generate(**chat, max_new_tokens=8) for _ in range(2))
    assert torch.equal(first, second)
    answer = tokenizer.decode(first[0, chat["input_ids"].shape[1] :], skip_special_tokens=True)
    assert re.fullmatch("[ \u0621-\u064a]+", answer)


def test_most_answers_end_by_themselves(tokenizer: Foreign, loaded: Foreign, rows_at: Path) -> None:
    prompts = [row["conversations"][0]["value"] for row in rows(rows_at, "validation")[:32]]
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    answers = loaded.generate(**batch, max_new_tokens=64)[:, batch["input_ids"].shape[1] :]
    assert (answers == tokenizer.eos_token_id).any(dim=1).float().mean() > 0.7
