"""The YAML block that opens a card: read and written as data, never as text."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from hala_release.errors import PayloadInvalid

_CARD = re.compile(r"\A---\r?\n(?P<block>(?:.*?\r?\n)??)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


class _Dumper(yaml.SafeDumper):
    """Escapes the line breaks that only Unicode knows; written as they are, they are read back as spaces."""


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


class Card(NamedTuple):
    """A card in its two halves."""

    metadata: dict[str, Any]
    body: str


def split(text: str, *, where: str) -> Card:
    """Split a card; one without a YAML block has empty metadata.

    Raises:
        PayloadInvalid: the block is not a YAML mapping.
    """
    match = _CARD.match(text)
    if match is None:
        return Card({}, text)
    try:
        metadata = yaml.safe_load(match["block"]) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date without such a day
        raise PayloadInvalid(f"{where}: its YAML block cannot be read: {error}", fix="mend the block") from error
    if not isinstance(metadata, dict):
        raise PayloadInvalid(f"{where}: its YAML block is not a mapping", fix="write `key: value` lines")
    return Card(metadata, text[match.end() :])


def join(card: Card) -> str:
    """Return the text of a card; the same card gives the same text."""
    block = yaml.dump(card.metadata, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{block}---\n\n{card.body}"
