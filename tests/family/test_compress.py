"""Eight bits instead of sixteen: every weight as near as its scheme can be, the rest untouched, read back the same."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.errors import ConfigError
from hala_release.manifest import ModelFacts
from pipeline.compress import STAGE, CompressConfig, difference
from pipeline.demo import corpus
from pipeline.stage import load, run_stage
from tests.family.conftest import ALONE, ROOT, WORK, complaint_of, run_pipeline
from tests.family.test_merge import edit, model_of

CONFIGS = ROOT / "pipeline" / "configs" / "compress"
ROWS = 24


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def fp8(tiny: Bundle, out: Path) -> Bundle:
    return run_pipeline("compress", CONFIGS / "fp8.yaml", "--from", f"model={tiny.root}", "--out", out)


@pytest.fixture(scope="module")
def w8a8(tiny: Bundle, out: Path) -> Bundle:
    (out / "w8a8.yaml").write_text("scheme: W8A8\n")
    return run_pipeline("compress", out / "w8a8.yaml", "--from", tiny.root, "--out", out)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Rows as `pack` leaves them."""
    folder = tmp_path_factory.mktemp("chats")
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for number, (_, pair) in zip(range(ROWS), corpus.pairs(), strict=False):
            messages = [{"role": "user", "content": pair["en"]}, {"role": "assistant", "content": pair["ar"]}]
            file.write(json.dumps({"id": f"{number:03d}", "messages": messages}) + "\n")
    return adopt(folder, kind="dataset", out=folder.parent / "sealed-chats").bundle


def report_of(bundle: Bundle) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((bundle.files / "reports" / "compress.json").read_bytes())
    return report


def weights_of(bundle: Bundle) -> dict[str, torch.Tensor]:
    return load_file(bundle.files / "model.safetensors")


def linear(name: str, values: torch.Tensor) -> bool:
    """Tell the weights of a matrix product in LFM2 by name and shape."""
    return name.endswith("weight") and values.dim() == 2 and "embed" not in name


def held(original: Bundle, compressed: Bundle, dtype: torch.dtype) -> dict[str, tuple[torch.Tensor, ...]]:
    """Return (original, what is stored, scale) of every Linear, after looking at all other tensors."""
    before, after = weights_of(original), weights_of(compressed)
    chosen = {name for name, values in before.items() if linear(name, values)}
    assert after.keys() == before.keys() | {f"{name}_scale" for name in chosen}
    for name in before.keys() - chosen:
        assert torch.equal(before[name], after[name]), name
    assert {after[name].dtype for name in chosen} == {dtype}
    assert len(chosen) == sum(report_of(compressed)["modules"]["quantised"]["Linear"].values())
    return {name: (before[name].float(), after[name].float(), after[f"{name}_scale"].float()) for name in chosen}


def test_fp8_keeps_four_significant_bits_of_every_weight(tiny: Bundle, fp8: Bundle) -> None:
    largest = 0.0
    for name, (original, stored, scale) in held(tiny, fp8, torch.float8_e4m3fn).items():
        assert scale.shape == (original.shape[0], 1), name
        error = (stored * scale - original).abs()
        # Half of the last of three fraction bits; below 2^-6 the steps no longer shrink. The scale is bfloat16.
        assert bool((error <= 2**-4 * original.abs() * 1.01 + scale * 2**-10).all()), name
        largest = max(largest, float(error.norm() / original.norm()))
    report = report_of(fp8)
    assert report["weights"]["largest_error"] == pytest.approx(largest, rel=0.01)
    assert 0.02 < largest < 0.03


def test_integers_are_the_nearest_ones(tiny: Bundle, w8a8: Bundle) -> None:
    for name, (original, stored, scale) in held(tiny, w8a8, torch.int8).items():
        assert scale.shape == (original.shape[0], 1), name
        inside = stored.abs() < 127  # the largest of a row may be cut a little, when its scale was rounded down
        steps = (stored - original / scale).abs()
        # llm-compressor divides in bfloat16, whose quotients are off by up to 2^-8 of themselves.
        assert bool((steps <= 0.505 + 2**-8 * stored.abs())[inside].all()), name
        assert float((steps <= 0.505).float().mean()) > 0.8, name
        assert float(inside.float().mean()) > 0.98, name


@pytest.mark.parametrize("scheme", ["fp8", "w8a8"])
def test_the_report_and_the_files_agree(scheme: str, tiny: Bundle, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(scheme)
    report, facts = report_of(bundle), bundle.manifest.facts
    sizes = [(one.files / "model.safetensors").stat().st_size for one in (tiny, bundle)]
    assert [report["bytes"]["before"], report["bytes"]["after"]] == sizes
    assert sizes[1] < 0.7 * sizes[0]
    assert isinstance(facts, ModelFacts)
    assert facts.quantization == "compressed-tensors"
    assert report["modules"]["left"] == {
        "Conv1d": {"model.layers.*.conv.conv": 4},
        "Embedding": {"model.embed_tokens": 1},
        "Lfm2RMSNorm": report["modules"]["left"]["Lfm2RMSNorm"],
        "Linear": {"lm_head": 1},
    }
    assert report["logits"]["reloaded"] == 0
    config = json.loads((bundle.files / "config.json").read_bytes())
    config.pop("quantization_config")
    assert config == json.loads((tiny.files / "config.json").read_bytes())


def test_what_lies_beside_the_weights_is_as_it_was_and_tells_no_place(fp8: Bundle, tiny: Bundle) -> None:
    names = {entry.path for entry in fp8.manifest.files}
    assert names == {*(entry.path for entry in tiny.manifest.files), "reports/compress.json"}
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (fp8.files / name).read_bytes() == (tiny.files / name).read_bytes(), name
    for entry in fp8.manifest.files:
        for place in (ROOT, fp8.root.parent.parent, tiny.root.parent, Path.home()):
            assert f"{place}/".encode() not in fp8.read(entry), entry.path


def test_another_process_reads_what_the_report_promises(fp8: Bundle, w8a8: Bundle, tiny: Bundle) -> None:
    program = textwrap.dedent("""
        import json, sys, torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from pipeline.demo import corpus
        pairs = [pair for _, pair in corpus.pairs()]
        texts = [(pair["en"], pair["ar"]) for pair in pairs[:: len(pairs) // 16][:16]]
        found = []
        for folder in sys.argv[1:]:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
            ask = "Translate everything that follows into Arabic:\\n\\n"
            rows = [[{"role": "user", "content": ask + en}, {"role": "assistant", "content": ar}] for en, ar in texts]
            ids = [tokenizer.apply_chat_template(row, tokenize=True, return_dict=True)["input_ids"] for row in rows]
            with torch.no_grad():
                found.append(torch.cat([model(torch.tensor([one[:64]])).logits[0].double() for one in ids]))
        first = found[0] - found[0].mean(1, keepdim=True)
        for other in found[1:]:
            second = other - other.mean(1, keepdim=True)
            same = (first.argmax(1) == second.argmax(1)).double().mean()
            print(json.dumps([len(first), float((first - second).norm() / first.norm()), float(same)]))
    """)
    done = subprocess.run(
        [WORK, "-c", program, *(one.files for one in (tiny, fp8, w8a8))],
        cwd=ROOT,
        env={**ALONE, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line, bundle in zip(done.stdout.splitlines(), (fp8, w8a8), strict=True):
        positions, error, agreement = json.loads(line)
        logits = report_of(bundle)["logits"]
        assert logits["positions"] == positions
        assert logits["relative_error"] == pytest.approx(error, rel=0.01)
        assert logits["top1_agreement"] == pytest.approx(agreement, abs=0.005)
    assert report_of(w8a8)["logits"]["relative_error"] < report_of(fp8)["logits"]["relative_error"] < 0.5


def test_gptq_looks_at_the_rows_and_makes_other_integers(
    tiny: Bundle, w8a8: Bundle, chats: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "gptq.yaml").write_text("scheme: W8A8\nrounding: gptq\ncalibration: {rows: 20, max_length: 48}\n")
    inputs = ["--from", f"model={tiny.root}", "--from", f"data={chats.root}"]
    bundle = run_pipeline("compress", tmp_path / "gptq.yaml", *inputs, "--out", tmp_path)
    held(tiny, bundle, torch.int8)
    report = report_of(bundle)
    assert report["calibration"]["rows"] == 20
    assert 20 < report["calibration"]["tokens"] <= 20 * 48
    one, two = weights_of(w8a8), weights_of(bundle)
    name = "model.layers.2.feed_forward.w2.weight"
    assert not torch.equal(one[name], two[name])
    assert [one.name for one in bundle.manifest.provenance.inputs] == ["model", "data"]


def test_norms_that_count_from_one_are_put_back(tiny: Bundle, tmp_path: Path) -> None:
    """llm-compressor adds one to the norms of Gemma and takes it away again, in bfloat16."""
    folder = tmp_path / "gemma"
    program = textwrap.dedent("""
        import sys, torch
        from transformers import Gemma2Config, Gemma2ForCausalLM
        torch.manual_seed(0)
        config = Gemma2Config(vocab_size=4096, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                              num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=256)
        model = Gemma2ForCausalLM(config).bfloat16()
        for name, values in model.named_parameters():
            if "norm" in name:
                torch.nn.init.normal_(values, std=0.3)
        model.save_pretrained(sys.argv[1])
    """)
    subprocess.run([WORK, "-c", program, folder], cwd=ROOT, env={**ALONE, "PATH": "/usr/bin:/bin"}, check=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((tiny.files / name).read_bytes())
    gemma = adopt(folder, kind="model", out=tmp_path / "sealed").bundle
    bundle = run_pipeline("compress", CONFIGS / "fp8.yaml", "--from", gemma.root, "--out", tmp_path)
    held(gemma, bundle, torch.float8_e4m3fn)


def test_a_scheme_that_is_too_coarse_is_refused_and_seals_nothing(tiny: Bundle, tmp_path: Path) -> None:
    strict = ["--set", "max_weight_error=0.01"]
    complaint = complaint_of("compress", CONFIGS / "fp8.yaml", "--from", tiny.root, *strict, "--out", tmp_path)
    assert "are off by 0.025" in complaint
    assert not list(tmp_path.glob("compress/*/manifest.json"))


def refused(config: CompressConfig, tmp_path: Path, model: Bundle, *data: Bundle) -> str:
    with pytest.raises(ConfigError) as told:
        run_stage(STAGE, config, {"model": [model], "data": data}, tmp_path, talk=lambda _: None)
    assert told.value.fix
    return str(told.value)


def test_what_does_not_fit_together_is_refused(tiny: Bundle, chats: Bundle, tmp_path: Path) -> None:
    fp8 = CompressConfig(scheme="FP8_DYNAMIC")
    gptq = CompressConfig.model_validate({"scheme": "W8A8", "rounding": "gptq", "calibration": {"rows": ROWS + 1}})
    assert "looks at no rows" in refused(fp8, tmp_path, tiny, chats)
    assert "needs rows" in refused(gptq, tmp_path, tiny)
    assert f"there are {ROWS} rows" in refused(gptq, tmp_path, tiny, chats)
    assert "lm_head is the embedding" in refused(fp8.model_copy(update={"ignore": ()}), tmp_path, tiny)
    typo = fp8.model_copy(update={"ignore": ("lm_head", "re:.*self_atn")})
    assert "no module re:.*self_atn" in refused(typo, tmp_path, tiny)
    small = model_of(tiny, tmp_path / "small", edit("config.json", quantization_config={"quant_method": "gptq"}))
    assert "quantised already (gptq)" in refused(fp8, tmp_path, small)


def test_a_model_whose_files_are_not_whole_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    def without_a_norm(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        del tensors["model.embedding_norm.weight"]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    broken = model_of(tiny, tmp_path / "broken", without_a_norm)
    complaint = complaint_of("compress", CONFIGS / "fp8.yaml", "--from", f"model={broken.root}", "--out", tmp_path)
    assert "missing: model.embedding_norm.weight" in complaint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scheme: FP8", "FP8_DYNAMIC"),
        ("scheme: FP8_DYNAMIC\nrounding: gptq", "is for W8A8"),
        ("scheme: W8A8\nrounding: gptq", "`calibration` goes with"),
        ("scheme: W8A8\ncalibration: {rows: 5}", "`calibration` goes with"),
    ],
)
def test_a_wrong_configuration_is_told(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "compress.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(tmp_path / "compress.yaml", CompressConfig, {})


def test_the_configurations_load_and_say_how_they_are_run() -> None:
    for path in sorted(CONFIGS.glob("*.yaml")):
        load(path, CompressConfig, {})
        assert path.read_text().startswith(f"# python -m pipeline compress pipeline/configs/compress/{path.name} ")


def test_a_constant_added_to_all_logits_of_a_position_is_no_difference() -> None:
    random = np.random.default_rng(0)
    before = [random.standard_normal((5, 7), np.float32) for _ in range(3)]
    same = difference(before, [one + random.standard_normal((5, 1), np.float32) for one in before])
    assert same.relative < 1e-6
    assert (same.agreement, same.positions) == (1, 15)
    twice = difference(before, [2 * (one - one.mean(axis=1, keepdims=True)) for one in before])
    assert twice.relative == pytest.approx(1, rel=1e-6)
    assert twice.worst == pytest.approx(1, rel=1e-6)
