"""Two models become one: every weight where another program puts it, and nothing lost, made up or left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from hala_release.adopt import adopt
from hala_release.bundle import Bundle
from hala_release.errors import CheckFailed, ConfigError
from hala_release.manifest import ModelFacts, weights_sha256
from pipeline import merge
from pipeline.merge import STAGE, MergeConfig
from pipeline.stage import load, run_stage
from tests.family.conftest import ROOT, complaint_of, run_pipeline, start_pipeline

CONFIGS = ROOT / "pipeline" / "configs" / "merge"
Change = Callable[[Path], None]

SCHEDULE = """\
t:
  - {filter: self_attn, value: [0, 0.5, 1]}
  - {filter: conv, value: [0.1, 0.9, 0.2, 0.7]}
  - {filter: norm, value: 0.8}
  - {value: [0.3, 0.6]}
dtype: float32
"""


def slerp(base: torch.Tensor, tuned: torch.Tensor, t: float) -> tuple[NDArray[np.float64], bool]:
    """Interpolate in another way than the stage: the angle is Kahan's, 2 atan2(|u - v|, |u + v|) of unit vectors."""
    a, b = base.double().numpy(), tuned.double().numpy()
    u, v = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
    if abs(np.cos(angle)) > 0.9995:
        return (1 - t) * a + t * b, True
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle), False


def model_of(source: Bundle, out: Path, change: Change = lambda _: None) -> Bundle:
    """Return a changed copy of a model."""
    folder = out.with_name(f"{out.name}-files")
    shutil.copytree(source.files, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    change(folder)
    return adopt(folder, kind="model", out=out).bundle


def trained(folder: Path) -> None:
    """Move each tensor a little, some further than others, and say another temperature."""
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for number, (name, values) in enumerate(sorted(tensors.items())):
        noise = torch.randn(values.shape, generator=generator) * values.float().square().mean().sqrt()
        tensors[name] = (values.float() + (0.01, 0.1, 0.4)[number % 3] * noise).bfloat16()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    edit("generation_config.json", temperature=0.7)(folder)


def edit(name: str, **changes: object) -> Change:
    def change(folder: Path) -> None:
        document = json.loads((folder / name).read_bytes())
        (folder / name).write_text(json.dumps({**document, **changes}))

    return change


@pytest.fixture(scope="module")
def tuned(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return model_of(tiny, tmp_path_factory.mktemp("tuned") / "tuned", trained)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def merged(tiny: Bundle, tuned: Bundle, out: Path) -> Bundle:
    return run_pipeline("merge", CONFIGS / "slerp.yaml", *parents(tiny, tuned), "--out", out)


def parents(base: Bundle, tuned: Bundle) -> list[str]:
    return ["--from", f"tuned={tuned.root}", "--from", f"base={base.root}"]


def tensors_of(bundle: Bundle) -> dict[str, torch.Tensor]:
    return load_file(bundle.files / "model.safetensors")


def test_every_tensor_is_half_of_the_way_along_the_arc(tiny: Bundle, tuned: Bundle, merged: Bundle) -> None:
    base, other, found = (tensors_of(one) for one in (tiny, tuned, merged))
    assert found.keys() == base.keys() == other.keys()
    straight = 0
    for name, values in found.items():
        wanted, linear = slerp(base[name], other[name], 0.5)
        straight += linear
        assert torch.equal(values, torch.from_numpy(wanted).bfloat16()), name
        assert not torch.equal(values, base[name]), name
    report = json.loads((merged.files / "reports" / "merge.json").read_bytes())
    assert 0 < straight < len(found)
    assert (report["lerped"], report["tensors"]) == (straight, len(found))
    assert report["equal_to"] == {"base": 0, "tuned": 0}
    assert report["largest_difference"] <= 1e-7
    assert report["parents"] == {
        role: {"weights_sha256": weights_sha256(one.manifest.files), "dtype": "BF16"}
        for role, one in (("base", tiny), ("tuned", tuned))
    }


def test_a_schedule_goes_over_layers_and_names(tiny: Bundle, tuned: Bundle, tmp_path: Path) -> None:
    (tmp_path / "schedule.yaml").write_text(SCHEDULE)
    found = tensors_of(run_pipeline("merge", tmp_path / "schedule.yaml", *parents(tiny, tuned), "--out", tmp_path))
    base, other = tensors_of(tiny), tensors_of(tuned)
    attention = {2: 0.4, 5: 1.0}
    convolution = {0: 0.1, 1: 0.58, 3: 0.34, 4: 0.4}
    rest = {0: 0.3, 1: 0.36, 2: 0.42, 3: 0.48, 4: 0.54, 5: 0.6}
    for name, values in found.items():
        layer = int(name.split(".")[2]) if "layers" in name else 0
        t = attention[layer] if "self_attn" in name else convolution[layer] if ".conv." in name else rest[layer]
        if "norm" in name and "self_attn" not in name:
            t = 0.8
        wanted, _ = slerp(base[name], other[name], t)
        assert values.dtype == torch.float32
        assert np.abs(values.double().numpy() - wanted).max() <= 1e-6 * np.abs(wanted).max(), name


def test_what_lies_beside_the_weights_is_that_of_the_tuned_model(merged: Bundle, tuned: Bundle) -> None:
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (merged.files / name).read_bytes() == (tuned.files / name).read_bytes(), name
    facts, before = merged.manifest.facts, tuned.manifest.facts
    assert isinstance(facts, ModelFacts)
    assert facts == before
    report = json.loads((merged.files / "reports" / "merge.json").read_bytes())
    assert report["generation_config"] == "of tuned, base has others"
    assert merged.manifest.provenance.tools.keys() >= {"mergekit", "torch", "transformers"}


def test_no_file_tells_where_it_was_made(merged: Bundle, tiny: Bundle) -> None:
    for entry in merged.manifest.files:
        data = merged.read(entry)
        for place in (ROOT, merged.root.parent.parent, tiny.root.parent, Path.home()):
            assert f"{place}/".encode() not in data, entry.path


def test_a_second_run_does_nothing(merged: Bundle, tiny: Bundle, tuned: Bundle, out: Path) -> None:
    before = (merged.root / "manifest.json").stat().st_mtime_ns
    started = time.monotonic()
    assert run_pipeline("merge", CONFIGS / "slerp.yaml", *parents(tiny, tuned), "--out", out).root == merged.root
    assert (merged.root / "manifest.json").stat().st_mtime_ns == before
    assert time.monotonic() - started < 5


def test_a_killed_run_goes_on_to_the_same_bytes(merged: Bundle, tiny: Bundle, tuned: Bundle, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["merge", CONFIGS / "slerp.yaml", *parents(tiny, tuned), "--out", tmp_path]
    with start_pipeline(*arguments) as process:
        while not list((tmp_path / "merge").glob("*/files/config.json")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert not list(tmp_path.glob("merge/*/manifest.json"))
    assert run_pipeline(*arguments).manifest_sha256 == merged.manifest_sha256


def without_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def other_tokenizer(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_bytes())
    one, two, *_ = (token for token, number in document["model"]["vocab"].items() if number > 300)
    vocabulary = document["model"]["vocab"]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(document))


def both(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit("config.json", architectures=["LlamaForCausalLM"]), "differ in architecture"),
        (edit("config.json", vocab_size=4097), "differ in vocabulary size"),
        (edit("config.json", norm_eps=1e-6), "differ in 1 settings: norm_eps"),
        (edit("config.json", tie_word_embeddings=False), "tie_word_embeddings: True and False"),
        (edit("config.json", quantization_config={"quant_method": "compressed-tensors"}), "tuned is quantised"),
        (other_tokenizer, "different tokenizers"),
        (without_tensor, "1 tensors are in one model only, the first is lm_head.weight, in tuned"),
    ],
)
def test_models_that_do_not_belong_together_are_refused(
    change: Change, says: str, tiny: Bundle, tmp_path: Path
) -> None:
    other = model_of(tiny, tmp_path / "other", change)
    with pytest.raises(ConfigError, match=says) as told:
        run_stage(STAGE, MergeConfig(), {"tuned": [other], "base": [tiny]}, tmp_path, talk=lambda _: None)
    assert told.value.fix


def test_a_model_whose_biases_would_be_lost_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    one, two = (model_of(tiny, tmp_path / name, edit("config.json", conv_bias=True)) for name in ("one", "two"))
    with pytest.raises(ConfigError, match="leaves out the biases"):
        run_stage(STAGE, MergeConfig(), {"tuned": [one], "base": [two]}, tmp_path)


def test_a_refusal_reaches_the_command_line(tiny: Bundle, tuned: Bundle, tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("t: [{filter: self_atn, value: 1}, {value: 0.5}]\n")
    complaint = complaint_of("merge", tmp_path / "typo.yaml", *parents(tiny, tuned), "--out", tmp_path)
    assert "error: t: no tensor has 'self_atn' in its name" in complaint


def test_a_tokenizer_that_a_trainer_wrote_anew_is_the_same(tiny: Bundle, tmp_path: Path) -> None:
    anew = both(trained, edit("tokenizer.json", padding={"strategy": "BatchLongest"}, truncation=None))
    other = model_of(tiny, tmp_path / "other", anew)
    assert merge._ids(other) == merge._ids(tiny)
    assert other.manifest.facts.tokenizer_sha256 != tiny.manifest.facts.tokenizer_sha256  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t: 1.5", "less than or equal to 1"),
        ("t: [{filter: a, value: 1}]", "the last part, and it alone, is without `filter`"),
        ("t: [{value: 1}, {filter: a, value: 1}]", "the last part, and it alone, is without `filter`"),
        ("t: []", "at least one"),
        ("method: ties", "slerp"),
    ],
)
def test_a_wrong_configuration_is_told(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(tmp_path / "merge.yaml", MergeConfig, {})


def test_the_configurations_load_and_say_how_they_are_run() -> None:
    for path in sorted(CONFIGS.glob("*.yaml")):
        load(path, MergeConfig, {})
        assert path.read_text().startswith(f"# python -m pipeline merge pipeline/configs/merge/{path.name} ")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_one_wrong_element_is_found(dtype: str) -> None:
    random = np.random.default_rng(0)
    base = random.standard_normal((64, 32), np.float32)
    tuned = base + np.float32(0.2) * random.standard_normal((64, 32), np.float32)
    right, _ = slerp(torch.from_numpy(base), torch.from_numpy(tuned), 0.25)
    stored = torch.from_numpy(right).to(getattr(torch, dtype))
    good = merge.compare("weight", base, tuned, stored.float().numpy(), t=0.25, dtype=dtype)
    merge.require([good], MergeConfig(t=0.25), same=False)
    stored[3, 4] *= 1.02
    bad = merge.compare("weight", base, tuned, stored.float().numpy(), t=0.25, dtype=dtype)
    with pytest.raises(CheckFailed, match="weight differs from the interpolation"):
        merge.require([good, bad], MergeConfig(t=0.25), same=False)


def test_a_result_that_is_a_parent_is_refused_unless_the_parents_are_one() -> None:
    base = np.ones((4, 4), np.float32)
    found = [merge.compare("weight", base, base, base, t=0.5, dtype="float32")]
    with pytest.raises(CheckFailed, match="the result is base itself"):
        merge.require(found, MergeConfig(), same=False)
    merge.require(found, MergeConfig(), same=True)
