"""The demo model: LFM2's architecture at three megabytes, written without torch.

Seeded random weights: for rehearsing a release, it does not translate. Only the lengths of the embedding rows are
chosen: rows of Arabic tokens are longer than others, and the row of the end token is the longest. So greedy generation
gives Arabic word pieces in no order and mostly stops by itself, which is enough to see that a published copy loads,
runs and equals the one that was pushed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from hala_release.errors import ConfigError, HalaError

NOTICE = """\
Seeded random weights: for rehearsing a release, it does not translate.

The model has the architecture of LFM2 in miniature and shares no weight with it. Its tokenizer was trained on the
corpus of the same release. Greedy generation gives Arabic word pieces in no order and mostly stops by itself, because
the embedding rows of Arabic tokens and of the end token were made longer than the others; no weight was trained.
"""

EVEN_NOTICE = """\
A toy that began with seeded random weights.

The model has the architecture of LFM2 in miniature and shares no weight with it. Its tokenizer was trained on the
demo corpus.
"""

SPECIAL_TOKENS = (
    "<|pad|>",
    "<|startoftext|>",
    "<|endoftext|>",
    "<|fim_pre|>",
    "<|fim_mid|>",
    "<|fim_suf|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|tool_list_start|>",
    "<|tool_list_end|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|tool_response_start|>",
    "<|tool_response_end|>",
)
"""The names are LFM2's; their order is their ids."""
PAD, BOS, EOS = (SPECIAL_TOKENS.index(token) for token in ("<|pad|>", "<|startoftext|>", "<|im_end|>"))

WORDS = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
"""Where the tokenizer may cut. Marks count as letters: Arabic vowel signs do not end a word."""

VOCABULARY = 4096
HEAD = 64
"""Values of a head of attention."""
KERNEL = 3
CONTEXT = 2048


class Size(NamedTuple):
    """How large a model is."""

    hidden: int
    """A multiple of `HEAD`."""
    feed_forward: int
    layers: tuple[str, ...]


SIZES = {
    "demo": Size(128, 256, ("conv", "conv", "full_attention", "conv", "conv", "full_attention")),
    "large": Size(192, 512, ("conv", "conv", "full_attention") * 3),
}
DEMO = SIZES["demo"]

CHAT_TEMPLATE = """\
{#- ChatML as LFM2 writes it. The generation markers say which tokens an assistant is trained on. -#}
{{- bos_token -}}
{%- for message in messages -%}
    {{- "<|im_start|>" + message["role"] + "\\n" -}}
    {%- if message["role"] == "assistant" -%}
        {%- generation -%}
            {{- message["content"] + "<|im_end|>" -}}
        {%- endgeneration -%}
    {%- else -%}
        {{- message["content"] + "<|im_end|>" -}}
    {%- endif -%}
    {{- "\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
{%- endif -%}
"""


def write_model(out: Path, texts: Iterable[str], *, seed: int = 0, size: Size = DEMO, even: bool = False) -> None:
    """Write model, tokenizer, chat template and notice into `out`; one seed and one text always give the same bytes.

    Args:
        even: give all embedding rows one length, as a model needs that is to be trained.
    """
    tokenizer = train_tokenizer(texts)
    vocabulary = tokenizer.get_vocab_size()
    lengths = np.ones(vocabulary, dtype=np.float32) if even else row_lengths(tokenizer)
    files = {
        "NOTICE.md": (EVEN_NOTICE if even else NOTICE).encode(),
        "chat_template.jinja": CHAT_TEMPLATE.encode(),
        "config.json": as_json(config(vocabulary, size)),
        "generation_config.json": as_json(generation_config()),
        "model.safetensors": safetensors_bytes(dict(weights(lengths, seed, size))),
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": as_json(tokenizer_config()),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
        (out / name).chmod(0o644)


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Train a byte-level BPE tokenizer that puts the start token before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    start = SPECIAL_TOKENS[BOS]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, BOS)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[special(token) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def special(token: str) -> AddedToken:
    """Make a token that is matched as written and left out of decoded text."""
    return AddedToken(token, special=True, normalized=False)


def config(vocabulary: int, size: Size = DEMO) -> dict[str, Any]:
    """Describe the model; vLLM reads the `block_` and `conv_` sizes where transformers reads `hidden_size`."""
    return {
        "architectures": ["Lfm2ForCausalLM"],
        "model_type": "lfm2",
        "dtype": "bfloat16",
        "vocab_size": vocabulary,
        "hidden_size": size.hidden,
        "block_dim": size.hidden,
        "conv_dim": size.hidden,
        "conv_dim_out": size.hidden,
        "conv_L_cache": KERNEL,
        "conv_bias": False,
        "intermediate_size": size.feed_forward,
        "block_ff_dim": size.feed_forward,
        "block_auto_adjust_ff_dim": False,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "num_hidden_layers": len(size.layers),
        "layer_types": list(size.layers),
        "full_attn_idxs": [index for index, kind in enumerate(size.layers) if kind == "full_attention"],
        "num_attention_heads": size.hidden // HEAD,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "norm_eps": 1e-05,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def generation_config() -> dict[str, Any]:
    """Ask for greedy generation until the end of the assistant's turn."""
    return {
        "do_sample": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def tokenizer_config() -> dict[str, Any]:
    """Name the special tokens; padding goes to the left, where a decoder needs it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[BOS],
        "eos_token": SPECIAL_TOKENS[EOS],
        "pad_token": SPECIAL_TOKENS[PAD],
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": CONTEXT,
        "padding_side": "left",
    }


def row_lengths(tokenizer: Tokenizer) -> NDArray[np.float32]:
    """Choose how long each token's embedding row is; greedy generation prefers the longer ones."""
    lengths = np.full(tokenizer.get_vocab_size(), 0.25, dtype=np.float32)
    for index in range(len(SPECIAL_TOKENS), len(lengths)):
        if re.fullmatch(r" ?[\u0621-\u064a]+", tokenizer.decode([index])):
            lengths[index] = 1.0
    lengths[EOS] = 2.5
    lengths[PAD] = 0.0
    return lengths


def weights(lengths: NDArray[np.float32], seed: int, size: Size = DEMO) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield every tensor under the name that Lfm2ForCausalLM gives it; the tied `lm_head` is not stored."""
    hidden = size.hidden
    bits = np.random.PCG64(seed)

    def uniform(*shape: int, limit: float) -> NDArray[np.float32]:
        # Raw bits, because numpy keeps their stream fixed and not that of its distributions.
        raw = np.asarray(bits.random_raw(int(np.prod(shape))), dtype=np.uint64)
        unit = (raw >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
        return ((2 * unit - 1) * np.float32(limit)).reshape(shape)

    def linear(rows: int, columns: int) -> NDArray[np.float32]:
        return uniform(rows, columns, limit=math.sqrt(6 / (rows + columns)))

    def norm(size: int) -> NDArray[np.float32]:
        return np.ones(size, dtype=np.float32)

    yield "model.embed_tokens.weight", uniform(len(lengths), hidden, limit=0.035) * lengths[:, None]
    yield "model.embedding_norm.weight", norm(hidden)
    for index, kind in enumerate(size.layers):
        layer = f"model.layers.{index}"
        yield f"{layer}.operator_norm.weight", norm(hidden)
        if kind == "conv":
            yield f"{layer}.conv.in_proj.weight", linear(3 * hidden, hidden)
            yield f"{layer}.conv.conv.weight", uniform(hidden, 1, KERNEL, limit=1 / math.sqrt(KERNEL))
            yield f"{layer}.conv.out_proj.weight", linear(hidden, hidden)
        else:
            yield f"{layer}.self_attn.q_proj.weight", linear(hidden, hidden)
            yield f"{layer}.self_attn.k_proj.weight", linear(HEAD, hidden)
            yield f"{layer}.self_attn.v_proj.weight", linear(HEAD, hidden)
            yield f"{layer}.self_attn.out_proj.weight", linear(hidden, hidden)
            yield f"{layer}.self_attn.q_layernorm.weight", norm(HEAD)
            yield f"{layer}.self_attn.k_layernorm.weight", norm(HEAD)
        yield f"{layer}.ffn_norm.weight", norm(hidden)
        yield f"{layer}.feed_forward.w1.weight", linear(size.feed_forward, hidden)
        yield f"{layer}.feed_forward.w2.weight", linear(hidden, size.feed_forward)
        yield f"{layer}.feed_forward.w3.weight", linear(size.feed_forward, hidden)


def bfloat16(values: NDArray[np.float32]) -> bytes:
    """Round finite values to bfloat16, ties to even, as little-endian bytes; numpy has no such type."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2").tobytes()


def safetensors_bytes(tensors: dict[str, NDArray[np.float32]]) -> bytes:
    """Lay tensors out as one bfloat16 safetensors file: header length, JSON header, data without gaps.

    Written here because numpy has no bfloat16 and the raw interface of the safetensors package is not a stable one.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blocks: list[bytes] = []
    end = 0
    for name, values in sorted(tensors.items()):
        block = bfloat16(values)
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [end, end + len(block)]}
        blocks.append(block)
        end += len(block)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *blocks])


def as_json(value: dict[str, Any]) -> bytes:
    """Write a value as indented JSON that ends in a newline."""
    return (json.dumps(value, indent=2) + "\n").encode()


def corpus_texts(corpus: Path) -> Iterator[str]:
    """Yield every turn of the training split of a corpus in the released schema."""
    path = corpus / "train.jsonl"
    if not path.is_file():
        raise ConfigError(f"{path} does not exist", fix=f"run `python -m pipeline.demo.corpus {corpus}`")
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            for turn in json.loads(line)["conversations"]:
                yield turn["value"]


def main() -> int:
    """Write the model where the command line says."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.model", description="Write the demo model.")
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write into")
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="what pipeline.demo.corpus wrote")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights")
    parser.add_argument("--size", choices=SIZES, default="demo", help="how large it is (default: demo)")
    parser.add_argument("--even", action="store_true", help="give all embedding rows one length: a model to be trained")
    arguments = parser.parse_args()
    try:
        write_model(
            arguments.out,
            corpus_texts(arguments.corpus),
            seed=arguments.seed,
            size=SIZES[arguments.size],
            even=arguments.even,
        )
    except HalaError as error:
        sys.stderr.write(f"error: {error}\n  fix: {error.fix}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
