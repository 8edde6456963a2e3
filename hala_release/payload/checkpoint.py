"""Models: facts from config.json, safetensors headers, tokenizer and chat template. No weight is loaded."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from hala_release.disk import sha256_of
from hala_release.errors import PayloadInvalid
from hala_release.manifest import ModelFacts
from hala_release.payload.tensors import read_tensors

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".keras", ".msgpack"}
"""Suffixes of formats that run code on load, or that readers of a safetensors model have no use for."""

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json")
"""Files that define a tokenizer, the fullest first."""


def model_facts(files: Path, paths: list[str]) -> ModelFacts:
    """Read the facts of the model whose files lie at `paths` under `files`.

    Raises:
        PayloadInvalid: pickled weights, no config.json, or weights that are not whole.
    """
    if pickled := [path for path in paths if PurePosixPath(path).suffix.lower() in PICKLES]:
        raise PayloadInvalid(
            f"weights in a format that can run code: {', '.join(pickled[:4])}",
            fix="save with save_pretrained (safetensors) and remove these files",
        )
    if "config.json" not in paths:
        if "adapter_config.json" in paths:
            raise PayloadInvalid(
                "this is an adapter, which cannot be released by itself yet", fix="merge it into its base and save that"
            )
        raise PayloadInvalid("the model has no config.json", fix="save the model with save_pretrained")
    config = _json_object(files / "config.json", "config.json")
    tensors = read_tensors(files, paths)
    if not tensors:
        raise PayloadInvalid("the weights hold no tensor", fix="save the model with save_pretrained")
    parameters: Counter[str] = Counter()
    for tensor in tensors.values():
        parameters[tensor.dtype] += tensor.elements
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(config.get("model_type"), str):
        raise PayloadInvalid(
            "config.json names no `architectures` or no `model_type`", fix="save the model with save_pretrained"
        )
    nested = config.get("text_config")
    text = nested if isinstance(nested, dict) else config  # models of several modalities nest the language model
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    tokenizer = next((name for name in TOKENIZERS if name in paths), None)
    return ModelFacts(
        architecture=str(architectures[0]),
        model_type=config["model_type"],
        parameters=dict(sorted(parameters.items())),
        dtype=max(parameters, key=lambda dtype: (parameters[dtype], dtype)),
        tensor_bytes=sum(tensor.size for tensor in tensors.values()),
        context=_whole(text, "max_position_embeddings"),
        vocabulary=_whole(text, "vocab_size"),
        quantization=None if method is None else str(method),
        tokenizer_sha256=sha256_of(files / tokenizer) if tokenizer else None,
        chat_template_sha256=_chat_template_sha256(files, paths),
    )


def chat_template(files: Path, paths: list[str]) -> str | None:
    """Return the text of the model's chat template: chat_template.jinja, else the key in tokenizer_config.json."""
    if "chat_template.jinja" in paths:
        try:
            return (files / "chat_template.jinja").read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise PayloadInvalid(f"chat_template.jinja is not UTF-8 text: {error}", fix="save it as UTF-8") from error
    if "tokenizer_config.json" in paths:
        template = _json_object(files / "tokenizer_config.json", "tokenizer_config.json").get("chat_template")
        if isinstance(template, list):  # several named templates; `default` is the one that chats use
            named = (entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default")
            template = next((entry.get("template") for entry in named), None)
        return template if isinstance(template, str) else None
    return None


def _chat_template_sha256(files: Path, paths: list[str]) -> str | None:
    template = chat_template(files, paths)
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest() if template is not None else None


def _json_object(file: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PayloadInvalid(f"{name} is not JSON: {error}", fix="save the model again") from error
    if not isinstance(document, dict):
        raise PayloadInvalid(f"{name} is not a JSON object", fix="save the model again")
    return document


def _whole(config: dict[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if type(value) is int else None
