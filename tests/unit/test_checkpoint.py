"""Facts of a model: read from its files, and only from files that are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hala_release.adopt import adopt
from hala_release.errors import PayloadInvalid
from hala_release.manifest import ModelFacts
from hala_release.payload.checkpoint import model_facts
from tests import factories

ANOTHER = "{% for m in messages %}{{ m.content }}\n{% endfor %}…"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return factories.write_model(tmp_path / "raw")


def facts_of(raw: Path) -> ModelFacts:
    out = raw.with_name(f"out-{sum(1 for _ in raw.parent.iterdir())}")
    facts = adopt(raw, kind="model", out=out).bundle.manifest.facts
    assert isinstance(facts, ModelFacts)
    return facts


def configure(raw: Path, **changes: object) -> None:
    config = json.loads((raw / "config.json").read_text())
    (raw / "config.json").write_text(json.dumps({**config, **changes}))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_facts_say_what_the_files_say(raw: Path) -> None:
    assert facts_of(raw) == ModelFacts(
        architecture="Lfm2ForCausalLM",
        model_type="lfm2",
        parameters={"BF16": 128, "F32": 8},
        dtype="BF16",
        tensor_bytes=2 * 128 + 4 * 8,
        context=128,
        vocabulary=16,
        quantization=None,
        tokenizer_sha256=digest('{"version": "1.0"}'),
        chat_template_sha256=digest(factories.TEMPLATE),
    )


def test_parameters_are_those_of_all_shards(raw: Path) -> None:
    (raw / "model.safetensors").unlink()
    factories.write_tensors(raw / "model-00001-of-00002.safetensors", {"a": ("F8_E4M3", (64, 2))})
    factories.write_tensors(raw / "model-00002-of-00002.safetensors", {"b": ("F32", (3,)), "c": ("F8_E4M3", (2,))})
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = {"weight_map": {**names, "c": names["b"]}}
    (raw / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = facts_of(raw)
    assert facts.parameters == {"F32": 3, "F8_E4M3": 130}
    assert (facts.total_parameters, facts.dtype, facts.tensor_bytes) == (133, "F8_E4M3", 130 + 12)


def test_the_language_model_inside_a_larger_one_gives_context_and_vocabulary(raw: Path) -> None:
    configure(
        raw,
        architectures=["Lfm2VlForConditionalGeneration"],
        model_type="lfm2_vl",
        text_config={"max_position_embeddings": 4096, "vocab_size": 65536},
    )
    facts = facts_of(raw)
    assert (facts.model_type, facts.context, facts.vocabulary) == ("lfm2_vl", 4096, 65536)


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [({"quant_method": "gptq", "bits": 4}, "gptq"), ({"quant_method": "fp8"}, "fp8"), ({}, None), (None, None)],
)
def test_the_quantization_is_named(raw: Path, quantization: object, expected: str | None) -> None:
    configure(raw, quantization_config=quantization)
    assert facts_of(raw).quantization == expected


@pytest.mark.parametrize("value", [None, "many", True, 1.5])
def test_a_size_that_is_no_whole_number_is_not_a_fact(raw: Path, value: object) -> None:
    configure(raw, max_position_embeddings=value, vocab_size=value)
    facts = facts_of(raw)
    assert (facts.context, facts.vocabulary) == (None, None)


@pytest.mark.parametrize("text", [factories.TEMPLATE, ANOTHER], ids=["ascii", "arabic"])
def test_a_template_has_one_digest_wherever_it_is_stored(raw: Path, text: str) -> None:
    (raw / "chat_template.jinja").write_text(text, encoding="utf-8")
    beside = facts_of(raw).chat_template_sha256
    (raw / "chat_template.jinja").unlink()
    (raw / "tokenizer_config.json").write_text(json.dumps({"chat_template": text}))
    inside = facts_of(raw).chat_template_sha256
    templates = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": text}]
    (raw / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    named = facts_of(raw).chat_template_sha256
    assert beside == inside == named == digest(text)


def test_the_file_of_the_template_goes_before_the_key(raw: Path) -> None:
    (raw / "tokenizer_config.json").write_text(json.dumps({"chat_template": ANOTHER}))
    assert facts_of(raw).chat_template_sha256 == digest(factories.TEMPLATE)


@pytest.mark.parametrize("value", [None, 5, [], ["x"], [{"name": "rag", "template": "x"}]], ids=str)
def test_a_model_without_a_usable_template_has_none(raw: Path, value: object) -> None:
    (raw / "chat_template.jinja").unlink()
    (raw / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
    assert facts_of(raw).chat_template_sha256 is None


def test_the_fullest_tokenizer_is_digested(raw: Path) -> None:
    (raw / "vocab.json").write_text("{}")
    assert facts_of(raw).tokenizer_sha256 == digest('{"version": "1.0"}')
    (raw / "tokenizer.json").unlink()
    assert facts_of(raw).tokenizer_sha256 == digest("{}")
    (raw / "vocab.json").unlink()
    assert facts_of(raw).tokenizer_sha256 is None


def write(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda raw: (raw / name).write_bytes(data)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (write("pytorch_model.bin", b""), "can run code: pytorch_model.bin"),
    "pickle in a folder, in capitals": (write("OPTIMIZER.PT", b""), "can run code: OPTIMIZER.PT"),
    "Keras": (write("tf_model.h5", b""), "can run code: tf_model.h5"),
    "no config": (lambda raw: (raw / "config.json").unlink(), "no config.json"),
    "config is not JSON": (write("config.json", b"{"), "config.json is not JSON"),
    "config is a list": (write("config.json", b"[]"), "config.json is not a JSON object"),
    "config without end": (write("config.json", b"[" * 100_000), "config.json is not JSON"),
    "no architecture": (lambda raw: configure(raw, architectures=None), "names no `architectures`"),
    "empty architectures": (lambda raw: configure(raw, architectures=[]), "names no `architectures`"),
    "no model type": (lambda raw: configure(raw, model_type=None), "no `model_type`"),
    "no weights": (lambda raw: (raw / "model.safetensors").unlink(), "no .safetensors file"),
    "no tensors": (lambda raw: factories.write_tensors(raw / "model.safetensors", {}), "hold no tensor"),
    "weights cut off": (lambda raw: cut(raw / "model.safetensors"), "model.safetensors has .* bytes, its header"),
    "template is not UTF-8": (write("chat_template.jinja", b"\xff"), "chat_template.jinja is not UTF-8"),
}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(("damage", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_model_that_would_not_load_is_refused(raw: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(raw)
    with pytest.raises(PayloadInvalid, match=reason) as caught:
        facts_of(raw)
    assert "save" in caught.value.fix


def test_an_adapter_is_refused_by_its_name(raw: Path) -> None:
    (raw / "config.json").unlink()
    (raw / "adapter_config.json").write_text("{}")
    with pytest.raises(PayloadInvalid, match="this is an adapter") as caught:
        model_facts(raw, sorted(path.name for path in raw.iterdir()))
    assert "merge it into its base" in caught.value.fix
