"""Stage `merge`: a tuned model and its own base, joined by spherical interpolation of every weight, with mergekit.

What mergekit wrote is computed a second time, in float64 and by another program, before it is sealed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from hala_release.bundle import Bundle
from hala_release.errors import CheckFailed, ConfigError
from hala_release.manifest import ModelFacts, Record, weights_sha256
from hala_release.payload.checkpoint import model_facts
from hala_release.payload.tensors import read_tensors
from pipeline import model_files
from pipeline.model_files import GENERATION, facts_of
from pipeline.stage import Job, Stage, StageConfig, Takes, write_report

LINEAR = 0.9995
"""Two tensors whose cosine is beyond this, either way, are interpolated along a line, as in mergekit: on so short an
arc there is no difference, and on one of half a turn the arc is not defined."""
TOLERANCE = 1e-7
"""Of the largest element of a tensor: how far the two computations may be apart, beyond the rounding to the stored
dtype. torch goes from float64 to 16 bits through float32, and what that rounds, 2^-24 = 6e-8, may decide a tie."""
PIECE = 1 << 22
"""Elements that are held in float64 at a time."""
CHATS = 4

FRACTION_BITS = {"float32": 23, "float16": 10, "bfloat16": 7}
NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""How safetensors calls them."""
FREE = {
    *("_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "pad_token_id", "torch_dtype"),
    *("transformers_version", "use_cache"),
}
"""Settings in which the two models may differ: they change no weight's meaning."""

T = Annotated[float, Field(ge=0, le=1)]
Gradient = Annotated[tuple[T, ...], Field(min_length=1)]


class Part(Record):
    """The value of t for some of the tensors."""

    value: T | Gradient
    """A list goes from the first layer to the last, with straight lines in between; what is in no layer gets its first
    value."""
    filter: str | None = None
    """A part of the names of these tensors; without it, all that are left."""


class MergeConfig(StageConfig):
    """What the YAML of this stage says."""

    method: Literal["slerp"] = "slerp"
    t: T | Gradient | Annotated[tuple[Part, ...], Field(min_length=1)] = 0.5
    """How far to go: 0 is the base, 1 is the tuned model. A list of values goes over the layers; a list of parts, the
    first that fits, decides by name. The form is mergekit's."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """What the result is stored in; that of the base where nothing is said."""

    @field_validator("t")
    @classmethod
    def _has_an_end(cls, t: float | Sequence[float | Part]) -> float | Sequence[float | Part]:
        if isinstance(t, tuple):
            parts = [part for part in t if isinstance(part, Part)]
            if parts and [number for number, part in enumerate(parts) if part.filter is None] != [len(parts) - 1]:
                raise ValueError("the last part, and it alone, is without `filter`")
        return t

    def parts(self) -> list[Part]:
        """Return t as parts, whichever way it was written."""
        if isinstance(self.t, tuple) and isinstance(self.t[0], Part):
            return [part for part in self.t if isinstance(part, Part)]
        return [Part.model_validate({"value": self.t})]


class Between(NamedTuple):
    """Where a tensor lies between two others."""

    cosine: float
    tuned: float
    """The share of the second in the result; that of the first is `base`."""
    base: float
    linear: bool


class Found(NamedTuple):
    """What the second computation said of a tensor."""

    name: str
    between: Between
    difference: float
    """Beyond the rounding to the stored dtype, of the largest element."""
    equals: frozenset[str]
    """Parents with the same tensor, in the stored dtype."""


def _make(config: MergeConfig, job: Job) -> ModelFacts:
    from pipeline.engines import loading

    base, tuned = job.one("base"), job.one("tuned")
    _accept(base, tuned)
    dtype = config.dtype or _dtype_of(base)
    settings = [loading.settings(bundle.files) for bundle in (base, tuned)]
    _accept_settings(*settings)
    names = _accept_names(base, tuned)
    _accept_filters(config, names)

    from pipeline.engines import mergekit  # after what can be refused without it

    model_files.clear(job.files)
    raw = job.work / "merged"
    raw.mkdir(parents=True, exist_ok=True)
    model_files.clear(raw)
    job.talk(f"merging {len(names):,} tensors")
    mergekit.slerp(base.files, tuned.files, raw, config.model_dump(mode="json", exclude_none=True)["t"], dtype)
    model_files.move_weights(raw, job.files)
    document = model_files.config_of(tuned.files)
    document["torch_dtype" if "torch_dtype" in document else "dtype"] = dtype
    model_files.write_config(job.files, document)
    model_files.carry(tuned, job.files)
    generation = _generation(base, tuned, job)

    _whole(base, job, dtype)
    job.talk("computing them again, to compare")
    layers = 1 + max((layer_of(name) or 0 for name in names), default=0)
    weights = [loading.Weights(folder) for folder in (base.files, tuned.files, job.files)]
    found = [
        compare(name, *(one.read(name) for one in weights), t=t_of(name, config.parts(), layers), dtype=dtype)
        for name in sorted(names)
    ]
    same = weights_sha256(base.manifest.files) == weights_sha256(tuned.manifest.files)
    require(found, config, same=same)
    model = loading.load(job.files)
    for _ in loading.logits(model, loading.tokens(job.files, model_files.sample_chats(CHATS), 64)):
        pass
    report = {
        "method": config.method,
        "t": config.model_dump(mode="json", exclude_none=True)["t"],
        "dtype": dtype,
        "parents": {
            role: {"weights_sha256": weights_sha256(one.manifest.files), "dtype": facts_of(one).dtype}
            for role, one in (("base", base), ("tuned", tuned))
        },
        **_summary(found),
        "generation_config": generation,
        "chat_template_of": "tuned",
        "warnings": ["both parents have the same weights"] if same else [],
    }
    write_report(str(job.files), "merge", report)
    model_files.tell_no_place(job.files, (job.root, base.root, tuned.root))
    return model_facts(job.files, model_files.paths_of(job.files))


def _accept(base: Bundle, tuned: Bundle) -> None:
    """Refuse two models that cannot be joined, by what their bundles say."""
    one, two = facts_of(base), facts_of(tuned)
    for role, facts in (("base", one), ("tuned", two)):
        if facts.quantization:
            raise ConfigError(
                f"{role} is quantised ({facts.quantization}); an interpolation of such weights means nothing",
                fix="merge first, and compress what comes out",
            )
    for what, here, there in (
        ("architecture", one.architecture, two.architecture),
        ("model_type", one.model_type, two.model_type),
        ("vocabulary size", one.vocabulary, two.vocabulary),
    ):
        if here != there:
            raise ConfigError(
                f"base and tuned differ in {what}: {here} and {there}", fix="give the base that was tuned"
            )
    if one.tokenizer_sha256 != two.tokenizer_sha256 and _ids(base) != _ids(tuned):
        raise ConfigError(
            "base and tuned have different tokenizers, so one row of an embedding stands for two tokens",
            fix="give the base that was tuned; for new tokens, tune from a base that has them",
        )


def _ids(bundle: Bundle) -> object:
    """Return what a tokenizer.json says of tokens: trainers write the file anew, with other padding, say."""
    path = bundle.files / "tokenizer.json"
    if not path.is_file():
        return bundle.root  # nothing to compare: equal to no other
    document: dict[str, Any] = json.loads(path.read_bytes())
    model = document["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model.get("merges") or ()]
    rest = [document.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer")]
    return model.get("type"), model.get("vocab"), merges, rest


def _dtype_of(base: Bundle) -> str:
    stored = facts_of(base).dtype
    for dtype, name in NAMES.items():
        if name == stored:
            return dtype
    raise ConfigError(f"base is stored in {stored}", fix="say `dtype: bfloat16` (or float16, float32)")


def _accept_settings(base: dict[str, Any], tuned: dict[str, Any]) -> None:
    """Refuse models that read the same weights in different ways."""
    if differ := sorted(key for key in {*base, *tuned} - FREE if base.get(key) != tuned.get(key)):
        told = "; ".join(f"{key}: {base.get(key)} and {tuned.get(key)}" for key in differ[:4])
        raise ConfigError(
            f"config.json of base and tuned differ in {len(differ)} settings: {told}",
            fix="give the base that was tuned",
        )
    if base.get("conv_bias"):
        raise ConfigError(
            "config.json says `conv_bias: true`, and mergekit leaves out the biases of such a model",
            fix="merge with another program, and `hala-release adopt` the result",
        )


def _accept_names(base: Bundle, tuned: Bundle) -> set[str]:
    one, two = (read_tensors(bundle.files, [entry.path for entry in bundle.manifest.files]) for bundle in (base, tuned))
    if apart := sorted(one.keys() ^ two.keys()):
        where = "base" if apart[0] in one else "tuned"
        raise ConfigError(
            f"{len(apart)} tensors are in one model only, the first is {apart[0]}, in {where}",
            fix="save both with the same version of save_pretrained, so that tied weights are stored alike",
        )
    if other := sorted(name for name in one if one[name].shape != two[name].shape):
        raise ConfigError(
            f"{len(other)} tensors have other shapes, the first is {other[0]}: "
            f"{list(one[other[0]].shape)} and {list(two[other[0]].shape)}",
            fix="give the base that was tuned",
        )
    return set(one)


def _accept_filters(config: MergeConfig, names: set[str]) -> None:
    for part in config.parts():
        if part.filter is not None and not any(part.filter in name for name in names):
            raise ConfigError(f"t: no tensor has {part.filter!r} in its name", fix="correct this `filter`")


def _generation(base: Bundle, tuned: Bundle, job: Job) -> str:
    """Say whose generation settings the result has; those of the base serve where the tuned model has none."""
    of_base, of_tuned = (bundle.files / GENERATION for bundle in (base, tuned))
    if not of_tuned.exists():
        if not of_base.exists():
            return "neither has any"
        (job.files / GENERATION).write_bytes(of_base.read_bytes())
        return "of base, tuned has none"
    if of_base.exists() and json.loads(of_base.read_bytes()) == json.loads(of_tuned.read_bytes()):
        return "of both"
    return "of tuned, base has others" if of_base.exists() else "of tuned, base has none"


def _whole(base: Bundle, job: Job, dtype: str) -> None:
    """Return when the result has every tensor of its parents, in shape and dtype."""
    wanted = read_tensors(base.files, [entry.path for entry in base.manifest.files])
    got = read_tensors(job.files, model_files.paths_of(job.files))
    wrong = sorted(
        name
        for name in {*wanted, *got}
        if name not in wanted
        or name not in got
        or got[name].shape != wanted[name].shape
        or got[name].dtype != NAMES[dtype]
    )
    if wrong:
        raise CheckFailed(
            f"{len(wrong)} tensors of the result are missing, new, or of another shape or dtype: "
            f"{', '.join(wrong[:4])}",
            fix="mergekit does not know this architecture well; merge with another program",
        )


def require(found: Sequence[Found], config: MergeConfig, *, same: bool) -> None:
    """Return when the result is the interpolation.

    Args:
        same: both parents have the same weights.

    Raises:
        CheckFailed: a tensor differs, or all are those of one parent.
    """
    worst = max(found, key=lambda one: one.difference)
    if not worst.difference <= TOLERANCE:  # also where it is no number
        raise CheckFailed(
            f"{worst.name} differs from the interpolation by {worst.difference:.2g} of its largest element",
            fix="use another version of mergekit",
        )
    for role, end in (("base", 0.0), ("tuned", 1.0)):
        constant = all(part.value == end for part in config.parts())
        if not same and not constant and all(role in one.equals for one in found):
            raise CheckFailed(f"the result is {role} itself", fix="move t away from its end, or store it in float32")


def _summary(found: Sequence[Found]) -> dict[str, Any]:
    cosines = sorted(one.between.cosine for one in found)
    farthest = min(found, key=lambda one: one.between.cosine)
    return {
        "tensors": len(found),
        "lerped": sum(one.between.linear for one in found),
        "largest_difference": float(f"{max(one.difference for one in found):.1e}"),
        "compared": "every tensor with an interpolation in float64: beyond one rounding to the stored dtype, as a "
        "share of the largest element of the tensor",
        "cosine": {
            "smallest": round(cosines[0], 6),
            "tensor": farthest.name,
            "median": round(cosines[len(cosines) // 2], 6),
            "largest": round(cosines[-1], 6),
        },
        "equal_to": {role: sum(role in one.equals for one in found) for role in ("base", "tuned")},
    }


def t_of(name: str, parts: Sequence[Part], layers: int) -> float:
    """Return t of a tensor, by its name, as mergekit reads a schedule."""
    value = next(part.value for part in parts if part.filter is None or part.filter in name)
    if not isinstance(value, tuple):
        return value
    layer = layer_of(name)
    place = 0.0 if layer is None else layer / (layers - 1) if layers > 1 else 1.0
    return float(np.interp(place * (len(value) - 1), range(len(value)), value))


def layer_of(name: str) -> int | None:
    """Return the number of the layer that a tensor is in."""
    found = re.search(r"\.(?:layers|h|blocks)\.(\d+)\.", name)
    return int(found[1]) if found else None


def between(base: NDArray[np.float32], tuned: NDArray[np.float32], t: float) -> Between:
    """Return the shares of two tensors in the one that is t of the way between them, along the arc.

    Each counts as one vector, and lengths are kept: sin((1-t)θ)/sin θ of the first and sin(tθ)/sin θ of the second,
    with θ the angle between them (Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985). A tensor of
    zeros is at a right angle to every other, as in mergekit.
    """
    product = one = two = 0.0
    for a, b in _pieces(base, tuned):
        product, one, two = product + float(a @ b), one + float(a @ a), two + float(b @ b)
    lengths = [math.sqrt(square) if math.sqrt(square) > 1e-8 else 1.0 for square in (one, two)]
    cosine = max(-1.0, min(1.0, product / lengths[0] / lengths[1]))
    if abs(cosine) > LINEAR:
        return Between(cosine, t, 1 - t, linear=True)
    angle = math.acos(cosine)
    return Between(
        cosine, math.sin(t * angle) / math.sin(angle), math.sin((1 - t) * angle) / math.sin(angle), linear=False
    )


def compare(
    name: str,
    base: NDArray[np.float32],
    tuned: NDArray[np.float32],
    merged: NDArray[np.float32],
    *,
    t: float,
    dtype: str,
) -> Found:
    """Compare a tensor of the result with the interpolation in float64."""
    where = between(base, tuned, t)
    same = {role for role, parent in (("base", base), ("tuned", tuned)) if np.array_equal(parent, merged)}
    return Found(name, where, _difference(base, tuned, merged, where, dtype), frozenset(same))


def _difference(
    base: NDArray[np.float32], tuned: NDArray[np.float32], merged: NDArray[np.float32], where: Between, dtype: str
) -> float:
    """Return how far a tensor is from what it should be, beyond its rounding, of its largest element.

    A correct rounding moves a number by half a unit in its last place at most: 2^(e - bits - 1) where it lies in
    [2^e, 2^(e+1)), with the fraction bits of its dtype (IEEE 754-2019, 4.3.1; bfloat16 likewise).
    """
    largest = worst = 0.0
    smallest = -14 if dtype == "float16" else -126  # exponents of the smallest normal numbers
    for a, b, got in _pieces(base, tuned, merged):
        wanted = where.base * a + where.tuned * b
        exponent = np.maximum(np.frexp(wanted)[1] - 1, smallest)
        half = np.ldexp(1.0, exponent - FRACTION_BITS[dtype] - 1)
        beyond = np.maximum(np.abs(got - wanted) - half, 0.0)
        largest = max(largest, float(np.abs(wanted).max(initial=0.0)))
        worst = max(worst, float(beyond.max(initial=0.0)))
    return worst / largest if largest else worst


def _pieces(*tensors: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float64], ...]]:
    flat = [tensor.reshape(-1) for tensor in tensors]
    for start in range(0, flat[0].size, PIECE):
        yield tuple(one[start : start + PIECE].astype(np.float64) for one in flat)


STAGE = Stage(
    "merge",
    MergeConfig,
    _make,
    takes={"tuned": Takes("model"), "base": Takes("model")},
    tools=("mergekit", "torch", "transformers", "safetensors"),
    carries=("tuned",),
)
