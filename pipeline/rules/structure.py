"""S: what is not prose, and the order of the turns, is in the target as it is in the source."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import numpy as np
import orjson
from pydantic import Field, field_validator

from pipeline import rows
from pipeline.rows import Row
from pipeline.rules.counting import Count, Sign
from pipeline.rules.rule import Action, Batch, Hit, Limits, difference, where


class Readable(Limits):
    """Limits of a rule that says whether the others can read a row at all: what it finds is always dropped."""

    @field_validator("enabled", "action")
    @classmethod
    def _always_drops(cls, given: bool | Action) -> bool | Action:
        if given not in (True, "drop"):
            raise ValueError("no other rule can read the rows that this one drops; it stays on, with `action: drop`")
        return given


class Size(Readable):
    """A row that is too long is dropped unread: no other rule looks at it."""

    max_characters: Annotated[int, Field(ge=1)] = 200_000
    """Characters of all turns of the source and the target."""
    max_turns: Annotated[int, Field(ge=1)] = 200


class Schema(Readable):
    """A row whose turns do not fit each other is dropped: no other rule can compare them."""

    ends_with: tuple[str, ...] = ("assistant",)
    """Roles that the last turn may have."""


class Code(Limits):
    """Fences, elements with code and inline code are equal, comments and strings aside."""

    inline: bool = True
    """Compare `inline code` too."""


class Latex(Limits):
    """Formulas are equal, white space and the words in `\\text{}` aside."""


class Addresses(Limits):
    """URLs, e-mail addresses and paths are equal."""


class Data(Limits):
    """JSON has the same keys and calls the same tools; tags and placeholders are equal."""


class Lists(Limits):
    """Items, headings and rows of tables are as many as in the source."""

    action: Action = "flag"
    tolerance: Annotated[int, Field(ge=0)] = 1
    """So many more or fewer are no difference."""
    tolerance_share: Annotated[float, Field(ge=0)] = 0.1
    """Nor is this share of what the source has."""


class Tokens(Limits):
    """No text, in code or outside, holds what a chat template may take for the border of a turn."""


def sound(row: Row, size: Size, schema: Schema) -> tuple[str, str] | None:
    """Return the rule that forbids looking at a row at all and the reason, or None."""
    turns, target = row["turns"], row["target"]
    if len(turns) > size.max_turns or len(target or ()) > size.max_turns:
        return "S0", f"{max(len(turns), len(target or ()))} turns"
    if (characters := rows.characters(row)) > size.max_characters:
        return "S0", f"{characters} characters"
    if target is None:
        return "S1", "no translation"
    if len(target) != len(turns):
        return "S1", f"{len(turns)} turns, {len(target)} in the target"
    roles = [turn["role"] for turn in turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or any(role != ("user", "assistant")[number % 2] for number, role in enumerate(talk)):
        return "S1", f"turns of {' '.join(roles[:8])}" if roles else "no turns"
    if roles[-1] not in schema.ends_with:
        return "S1", f"the last turn is of {roles[-1]}"
    for number, turn in enumerate(turns):
        if not turn["text"].strip() or not target[number]["text"].strip():
            return "S1", f"turn {number} is empty"
    return None


def schema(batch: Batch, _: Schema) -> Iterator[Hit]:
    """Find turns that hold no letter and no markup, or nothing after the repairs."""
    for side, counts, found in (
        ("source", batch.source, batch.source_spans),
        ("target", batch.target, batch.target_spans),
    ):
        for pair in where(counts[:, Count.LENGTH] == 0):
            if pair not in found:
                yield batch.hit(pair, f"nothing in the {side}")


def code(batch: Batch, limits: Code) -> Iterator[Hit]:
    """Find code that is not that of the source."""
    kinds = ("fence", "code") if limits.inline else ("fence",)
    for pair in batch.marked():
        source, target = batch.pieces(pair, *kinds)
        if source != target:
            bare_source, bare_target = _bare(source), _bare(target)
            if bare_source != bare_target:
                yield batch.hit(pair, f"code: {difference(bare_source, bare_target)}")


_NOISE = re.compile(
    r'"""[\s\S]*?(?:"""|\Z)|' + r"'''[\s\S]*?(?:'''|\Z)|/\*[\s\S]*?(?:\*/|\Z)|<!--[\s\S]*?(?:-->|\Z)"
    r'|"(?:[^"\\\n]|\\.)*+"|' + r"'(?:[^'\\\n]|\\.)*+'|(?:#|//|--\s)[^\n]*+"
)


def _bare(pieces: Counter[str]) -> Counter[str]:
    """Take comments, the inside of strings and white space out of code."""
    bare: Counter[str] = Counter()
    for piece, times in pieces.items():
        bare["".join(_NOISE.sub('"', piece).split())] += times
    return bare


def latex(batch: Batch, _: Latex) -> Iterator[Hit]:
    """Find formulas that are not those of the source."""
    for pair in batch.marked():
        source, target = batch.pieces(pair, "latex")
        if source != target:
            plain_source, plain_target = _plain(source), _plain(target)
            if plain_source != plain_target:
                yield batch.hit(pair, f"LaTeX: {difference(plain_source, plain_target)}")


_WORDS_IN_LATEX = re.compile(r"(\\(?:text|textbf|textit|textrm|mbox|mathrm)\{)[^{}]*+(?=\})")


def _plain(formulas: Counter[str]) -> Counter[str]:
    plain: Counter[str] = Counter()
    for formula, times in formulas.items():
        plain["".join(_WORDS_IN_LATEX.sub(r"\1", formula).split())] += times
    return plain


def addresses(batch: Batch, _: Addresses) -> Iterator[Hit]:
    """Find addresses and paths that are not those of the source."""
    for pair in batch.marked():
        source, target = batch.pieces(pair, "url", "email", "path")
        if source != target:
            source = Counter(one.rstrip("/") for one in source.elements())
            target = Counter(one.rstrip("/") for one in target.elements())
            if source != target:
                yield batch.hit(pair, f"addresses: {difference(source, target)}")


def data(batch: Batch, _: Data) -> Iterator[Hit]:
    """Find JSON with other keys, and tags and placeholders that are not those of the source."""
    for pair in batch.marked():
        source, target = batch.pieces(pair, "tag", "placeholder")
        if source != target:
            yield batch.hit(pair, f"tags and placeholders: {difference(source, target)}")
            continue
        source, target = batch.pieces(pair, "json", "fence")
        if source != target:
            keys_source, keys_target = _all_keys(source), _all_keys(target)
            if keys_source != keys_target:
                yield batch.hit(pair, f"JSON: {difference(keys_source, keys_target)}")


def _all_keys(blocks: Counter[str]) -> Counter[str]:
    keys: Counter[str] = Counter()
    for block in blocks.elements():
        if block[0] in "`~":
            block = block.partition("\n")[2].rstrip("`~ \t\n")
        try:
            value = orjson.loads(block)
        except orjson.JSONDecodeError:
            continue
        keys.update(_keys(value))
    return keys


def _keys(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Name every key with its path; the name of a tool that is called counts as one."""
    rest = [(value, "")]
    while rest:
        value, path = rest.pop()
        if isinstance(value, dict):
            for key, inside in value.items():
                yield f"{path}{key}"
                if isinstance(inside, dict | list):
                    rest.append((inside, _outer(f"{path}{key}.")))
            if isinstance(value.get("name"), str) and ("arguments" in value or "parameters" in value):
                yield f"{path}name={value['name']}"
        elif isinstance(value, list):
            rest += [(inside, path) for inside in value if isinstance(inside, dict | list)]


_PATH = 200
"""Characters of a path that stands before every key below it; a longer one is named by its digest."""


def _outer(path: str) -> str:
    return path if len(path) <= _PATH else f"{hashlib.sha256(path.encode()).hexdigest()}."


def lists(batch: Batch, limits: Lists) -> Iterable[Hit]:
    """Find texts with more or fewer items, headings or rows of tables."""
    hits = []
    for name, column in (("items", Count.ITEMS), ("headings", Count.HEADINGS), ("table rows", Count.TABLE_ROWS)):
        source, target = batch.source[:, column], batch.target[:, column]
        allowed = np.maximum(limits.tolerance, source * limits.tolerance_share)
        hits += [
            batch.hit(pair, f"{source[pair]} {name}, {target[pair]} in the target")
            for pair in where(np.abs(source - target) > allowed)
        ]
    return hits


_BORDERS = re.compile(
    r"<\|[^|<>\s]{1,64}\|>|<｜[^｜<>]{1,64}｜>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
)


def tokens(batch: Batch, _: Tokens) -> Iterator[Hit]:
    """Find the special tokens of chat templates on either side."""
    for side, texts, signs, found in (
        ("source", batch.sources, batch.source_signs, batch.source_spans),
        ("target", batch.targets, batch.target_signs, batch.target_spans),
    ):
        for pair in where(signs & Sign.MARKUP):
            text = texts[pair]
            token = next((text[one.start : one.end] for one in found.get(pair, ()) if one.kind == "token"), None)
            if token is None and ("[" in text or "<" in text) and (border := _BORDERS.search(text)):
                token = border[0]
            if token:
                yield batch.hit(pair, f"{token} in the {side}")
