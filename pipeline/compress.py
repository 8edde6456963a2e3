"""Stage `compress`: a model in eight bits instead of sixteen, with llm-compressor, as compressed-tensors.

Before it is sealed, every weight is taken out of the written file and held against the original, and the model is
loaded again and asked.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow.dataset
from numpy.typing import NDArray
from pydantic import Field, model_validator

from hala_release.bundle import Bundle
from hala_release.errors import CheckFailed, ConfigError
from hala_release.manifest import DatasetFacts, ModelFacts, Record, weights_sha256
from hala_release.payload.checkpoint import model_facts
from hala_release.payload.tensors import Tensor, read_tensors
from pipeline import model_files
from pipeline.model_files import facts_of
from pipeline.prompts import Message
from pipeline.stage import Job, Stage, StageConfig, Takes, write_report

STORED = {"FP8_DYNAMIC": "F8_E4M3", "W8A8": "I8"}
"""How safetensors calls what a scheme stores."""
CHATS = 16
TOKENS = 64
"""Of each chat that is compared."""
RELOADED = 1e-3
"""Of the largest logit: how far the model that was read back may be from the one in memory. On a CPU they are equal."""
MESSAGES = "messages"

Floats = NDArray[np.float32]


class Calibration(Record):
    """What GPTQ looks at."""

    rows: Annotated[int, Field(ge=1)] = 512
    max_length: Annotated[int, Field(ge=1)] = 2048
    """Tokens of a row that are read."""
    seed: int = 0
    """Chooses the rows."""


class CompressConfig(StageConfig):
    """What the YAML of this stage says."""

    scheme: Literal["FP8_DYNAMIC", "W8A8"]
    """8-bit floats (E4M3) or integers; weights with a scale for each row, activations with one for each token, found as
    they come."""
    targets: Literal["Linear"] = "Linear"
    ignore: tuple[str, ...] = ("lm_head",)
    """Modules that stay as they are: a name, or `re:` and what a name begins with."""
    rounding: Literal["nearest", "gptq"] = "nearest"
    """`nearest` is found in the dtype of the model: in bfloat16 one integer in eight is the second nearest. `gptq`
    looks at rows of chats, in the role `data`, to make up for the error of one weight with the next."""
    calibration: Calibration | None = None
    max_weight_error: Annotated[float, Field(gt=0)] = 0.05
    """Of each module, as a share of the length of its weights. FP8 leaves 0.027, as it keeps four significant bits;
    integers leave 0.005 to 0.013, and up to 0.026 after GPTQ. A scale that is doubled gives 1."""
    max_logit_error: Annotated[float, Field(gt=0)] = 0.5
    """Of the logits of some chats, as a share of their length. It stops what is broken as a whole, and tells nothing of
    quality: two real models have 0.09 to 0.18, one with random weights 0.33, and one without its first layer 1.2."""

    @model_validator(mode="after")
    def _fits_together(self) -> CompressConfig:
        if self.rounding == "gptq" and self.scheme != "W8A8":
            raise ValueError(f"`rounding: gptq` is for W8A8; {self.scheme} needs no rows")
        if (self.calibration is None) == (self.rounding == "gptq"):
            raise ValueError("`calibration` goes with `rounding: gptq`, and only with that")
        return self


class Read(Protocol):
    """Tensors of a checkpoint by name."""

    def read(self, name: str) -> Floats:
        """Return one."""
        ...


class Difference(NamedTuple):
    """How far logits are from those of the original."""

    relative: float
    """Length of the difference of all positions, of the length of the original's; of each position its mean is taken
    away first, which changes no probability."""
    worst: float
    """The same of the position where it is largest."""
    agreement: float
    """Share of positions with the same likeliest token."""
    positions: int


def _make(config: CompressConfig, job: Job) -> ModelFacts:
    from pipeline.engines import loading

    source = job.one("model")
    data = job.inputs.get("data", ())
    _accept(config, source, data)
    if loading.settings(source.files).get("tie_word_embeddings") and not _matches("lm_head", config.ignore):
        raise ConfigError("lm_head is the embedding itself, which stays as it is", fix="put lm_head into `ignore`")

    texts = loading.tokens(source.files, model_files.sample_chats(CHATS), TOKENS)
    model = loading.load(source.files)
    classes = loading.classes(model)
    chosen = _chosen(config, classes)
    before = list(loading.logits(model, texts))
    rows: list[list[int]] = []
    if config.calibration:
        chats = list(_chats(data, config.calibration))
        rows = loading.tokens(source.files, chats, config.calibration.max_length)

    from pipeline.engines import llmcompressor  # after what can be refused without it

    job.talk(f"quantising {len(chosen):,} modules")
    llmcompressor.compress(model, scheme=config.scheme, targets=config.targets, ignore=config.ignore, texts=rows)
    memory = list(loading.logits(model, texts))

    model_files.clear(job.files)
    raw = job.work / "compressed"
    raw.mkdir(parents=True, exist_ok=True)
    model_files.clear(raw)
    llmcompressor.save(model, raw)
    device = model.device
    del model
    document = model_files.config_of(source.files)
    document["quantization_config"] = model_files.config_of(raw)["quantization_config"]
    model_files.move_weights(raw, job.files)
    model_files.write_config(job.files, document)
    model_files.carry(source, job.files)

    job.talk("reading it back, to compare")
    worst = _compare_weights(config, source, job, chosen, loading.Weights(source.files), loading.Weights(job.files))
    after = list(loading.logits(loading.load(job.files).to(device), texts))
    reloaded = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(memory, after, strict=True))
    found = difference(before, after)
    sizes = [model_files.weight_bytes(folder) for folder in (source.files, job.files)]
    _sound(config, document, worst, reloaded, found, sizes)
    write_report(
        str(job.files),
        "compress",
        {
            "scheme": config.scheme,
            "rounding": config.rounding,
            "calibration": config.calibration and {"rows": len(rows), "tokens": sum(map(len, rows))},
            "ignore": list(config.ignore),
            "original": {"weights_sha256": weights_sha256(source.manifest.files), "dtype": facts_of(source).dtype},
            "bytes": {"before": sizes[0], "after": sizes[1], "ratio": round(sizes[1] / sizes[0], 4)},
            "modules": {
                "quantised": _grouped({name: classes[name] for name in chosen}),
                "left": _grouped({name: classes[name] for name in classes if name not in chosen}),
            },
            "weights": {"largest_error": _short(worst[0]), "module": worst[1]},
            "logits": {
                "relative_error": _short(found.relative),
                "largest_relative_error": _short(found.worst),
                "top1_agreement": _short(found.agreement),
                "positions": found.positions,
                "chats": f"{CHATS} translations of the demo corpus, up to {TOKENS} tokens each",
                "reloaded": _short(reloaded),
            },
        },
    )
    model_files.tell_no_place(job.files, (job.root, source.root))
    return model_facts(job.files, model_files.paths_of(job.files))


def _accept(config: CompressConfig, source: Bundle, data: Sequence[Bundle]) -> None:
    if quantised := facts_of(source).quantization:
        raise ConfigError(f"the model is quantised already ({quantised})", fix="give the one that it was made from")
    if data and not config.calibration:
        raise ConfigError(
            f"{config.scheme} with `rounding: {config.rounding}` looks at no rows",
            fix="leave out --from data=…, or say `rounding: gptq`",
        )
    if config.calibration and not data:
        raise ConfigError("`rounding: gptq` needs rows", fix="give `--from data=BUNDLE`, a dataset with `messages`")


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(
        re.match(one.removeprefix("re:"), name) is not None if one.startswith("re:") else one == name
        for one in patterns
    )


def _chosen(config: CompressConfig, classes: Mapping[str, str]) -> list[str]:
    """Return the modules that are to be quantised."""
    for one in config.ignore:
        if one != "lm_head" and not any(_matches(name, [one]) for name in classes):
            raise ConfigError(f"ignore: the model has no module {one}", fix="correct it, or leave it out")
    return [name for name in classes if classes[name] == config.targets and not _matches(name, config.ignore)]


def _chats(data: Sequence[Bundle], calibration: Calibration) -> Iterator[list[Message]]:
    """Yield rows of the training splits, in their order, chosen by the seed."""
    files = [str(bundle.files / path) for bundle in data for path in _training(bundle)]
    table = pyarrow.dataset.dataset(files, format="parquet")
    if MESSAGES not in table.schema.names:
        raise ConfigError(
            f"the rows have no column {MESSAGES}", fix="pack them with `format: chat` and `messages: true`"
        )
    count = table.count_rows()
    if count < calibration.rows:
        raise ConfigError(f"there are {count:,} rows", fix=f"say `calibration.rows: {count}`, or give more data")
    some = sorted(random.Random(calibration.seed).sample(range(count), calibration.rows))  # noqa: S311 -- no secret
    for messages in table.take(some, columns=[MESSAGES])[MESSAGES].to_pylist():
        yield [Message(role=one["role"], content=one["content"]) for one in messages]


def _training(bundle: Bundle) -> Iterator[str]:
    facts = bundle.manifest.facts
    if isinstance(facts, DatasetFacts):
        for split in facts.configs[0].splits:
            if split.name == "train":
                yield from split.files


def _compare_weights(
    config: CompressConfig, source: Bundle, job: Job, chosen: Sequence[str], before: Read, after: Read
) -> tuple[float, str]:
    """Return the largest error of a module's weights, and which it is; everything else has to be as it was.

    Raises:
        CheckFailed: a module was not quantised, or another tensor changed.
    """
    wanted = read_tensors(source.files, [entry.path for entry in source.manifest.files])
    got = read_tensors(job.files, model_files.paths_of(job.files))
    weights = {f"{name}.weight": name for name in chosen}
    scales = {f"{name}.weight_scale" for name in chosen}
    if missed := sorted(weight for weight in weights if not _is_quantised(weight, got, STORED[config.scheme])):
        raise CheckFailed(f"{len(missed)} modules were not quantised: {', '.join(missed[:4])}", fix=_OTHER)
    if changed := sorted(
        name
        for name in (wanted.keys() | got.keys()) - weights.keys() - scales
        if wanted.get(name) != got.get(name) or not np.array_equal(before.read(name), after.read(name))
    ):
        raise CheckFailed(f"{len(changed)} other tensors are not what they were: {', '.join(changed[:4])}", fix=_OTHER)
    return max(
        (_weight_error(before.read(weight), after.read(weight), after.read(f"{name}.weight_scale")), name)
        for weight, name in weights.items()
    )


_OTHER = "use another version of llm-compressor"


def _is_quantised(weight: str, got: Mapping[str, Tensor], dtype: str) -> bool:
    return weight in got and got[weight].dtype == dtype and f"{weight}_scale" in got


def _weight_error(original: Floats, stored: Floats, scale: Floats) -> float:
    """Return how far weights are from what they were, as a share of their length: what is stored, times its scale."""
    return float(np.linalg.norm(stored * scale - original) / max(float(np.linalg.norm(original)), 1e-30))


def difference(before: Sequence[Floats], after: Sequence[Floats]) -> Difference:
    """Compare logits, positions by vocabulary, of some texts."""
    squares, lengths, same = [], [], []
    for one, two in zip(before, after, strict=True):
        a, b = (values - values.mean(axis=1, keepdims=True) for values in (one, two))
        squares.append(np.square(b - a).sum(axis=1, dtype=np.float64))
        lengths.append(np.square(a).sum(axis=1, dtype=np.float64))
        same.append(a.argmax(axis=1) == b.argmax(axis=1))
    square, length, equal = (np.concatenate(some) for some in (squares, lengths, same))
    return Difference(
        relative=float(np.sqrt(square.sum() / length.sum())),
        worst=float(np.sqrt((square / length).max())),
        agreement=float(equal.mean()),
        positions=len(equal),
    )


def _sound(
    config: CompressConfig,
    document: Mapping[str, Any],
    worst: tuple[float, str],
    reloaded: float,
    found: Difference,
    sizes: Sequence[int],
) -> None:
    """Return when the result may be sealed.

    Raises:
        CheckFailed: it may not.
    """
    method = document["quantization_config"].get("quant_method")
    if method != "compressed-tensors":
        raise CheckFailed(f"config.json says the quantisation is {method}", fix=_OTHER)
    if not worst[0] <= config.max_weight_error:  # also where it is no number
        raise CheckFailed(
            f"the weights of {worst[1]} are off by {worst[0]:.3g} of their length, and {config.max_weight_error:g} is "
            "allowed",
            fix="put the module into `ignore`, or take another scheme",
        )
    if not reloaded <= RELOADED:
        raise CheckFailed(f"the model that was read back differs by {reloaded:.2g} from the one in memory", fix=_OTHER)
    if not found.relative <= config.max_logit_error:
        raise CheckFailed(
            f"logits are off by {found.relative:.3g} of their length; {config.max_logit_error:g} is allowed",
            fix="look for modules that suffer most, put them into `ignore`, or take another scheme",
        )
    if sizes[1] >= sizes[0]:
        raise CheckFailed(f"the weights have {sizes[1]:,} bytes, and had {sizes[0]:,}", fix="there is nothing to gain")


def _grouped(classes: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return how many modules there are, by class and by name without the number of the layer."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, one in classes.items():
        found[one][re.sub(r"\.\d+\.", ".*.", name)] += 1
    return {one: dict(names) for one, names in found.items()}


def _short(value: float) -> float:
    return float(f"{value:.3g}")


STAGE = Stage(
    "compress",
    CompressConfig,
    _make,
    takes={"model": Takes("model"), "data": Takes("dataset", many=True, optional=True)},
    tools=("llmcompressor", "compressed-tensors", "torch", "transformers", "safetensors"),
    carries=("model",),
)
