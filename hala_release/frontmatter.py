"""The YAML block that opens a card: read and written as data, and edited so that every other line stays as it is."""

from __future__ import annotations

import base64
import datetime
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from hala_release.errors import ContractError, PayloadInvalid

_CARD = re.compile(
    r"\A(?P<before>\ufeff?\s*)(?P<opening>---(?:\r\n|\r|\n))(?P<block>(?:.*?(?:\r\n|\r|\n))??)"
    r"(?P<closing>---[ \t]*(?:\r\n|\n|\Z))",
    re.DOTALL,
)
"""Where the Hub finds the block, and an empty block as well."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEPTH = 500
"""Deeper nesting is refused before the loader, which recurses in C, comes to it."""
_INDENT = re.compile(r"(?:^|[\r\x85\u2028\u2029])[ \t]*(?:[-?][ \t]+)*", re.MULTILINE)
_NODES = 1_000_000
"""Aliases can make a block of a few lines larger than any memory."""


class _Dumper(yaml.SafeDumper):
    """Escapes the line breaks that only Unicode knows; written as they are, they are read back as spaces."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Write a value as often as it is there: nobody wants anchors in a card."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


class Card(NamedTuple):
    """A card in its two halves."""

    metadata: dict[str, Any]
    body: str


class Parts(NamedTuple):
    """The text of a card, cut into pieces; together they are the card again."""

    before: str
    """A byte order mark, and white space that the Hub skips."""
    opening: str
    """The first line of dashes; empty where there is no block."""
    block: str
    closing: str
    body: str


def parts(text: str) -> Parts:
    """Cut a card where the Hub cuts it."""
    if match := _CARD.match(text):
        return Parts(match["before"], match["opening"], match["block"], match["closing"], text[match.end() :])
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    return Parts(mark, "", "", "", text.removeprefix(mark))


def split(text: str, *, where: str) -> Card:
    """Split a card; one without a YAML block has empty metadata.

    Raises:
        PayloadInvalid: the block is not a YAML mapping, or has a key twice.
    """
    found = parts(text)
    return Card(read(found.block, where=where), found.body) if found.opening else Card({}, text)


def join(card: Card) -> str:
    """Return the text of a card; the same card gives the same text."""
    return f"---\n{dump(card.metadata)}---\n\n{card.body}"


def dump(metadata: Mapping[str, Any]) -> str:
    """Return the lines of a block."""
    return yaml.dump(dict(metadata), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def read(block: str, *, where: str) -> dict[str, Any]:
    """Return the data of a block.

    Raises:
        PayloadInvalid: it is not a YAML mapping, has a key twice, or is too large when its aliases are followed.
    """
    try:
        _refuse_depth(block)
        loader = _Loader(block)
        try:
            root = loader.get_single_node()
            if root is None:
                return {}
            _count(root, {}, set())
            data = loader.construct_document(root)
        finally:
            loader.dispose()
    # Constructors of PyYAML fail in many ways: ValueError is a date without such a day, KeyError a `!!bool maybe`.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise PayloadInvalid(f"{where}: its YAML block cannot be read: {error}", fix="mend the block") from error
    if not isinstance(data, dict):
        raise PayloadInvalid(f"{where}: its YAML block is not a mapping", fix="write `key: value` lines")
    return data


def _refuse_depth(block: str) -> None:
    indents = max(map(len, _INDENT.findall(block)), default=0)  # a level of a block is a column, or a list in its key's
    if 2 * indents + block.count("[") + block.count("{") < _DEPTH:
        return
    depth = 0
    for event in yaml.parse(block, Loader=_Loader):
        match event:
            case yaml.CollectionStartEvent():
                depth += 1
            case yaml.CollectionEndEvent():
                depth -= 1
        if depth > _DEPTH:
            raise ValueError(f"it is nested more than {_DEPTH} levels deep")


def _count(node: yaml.Node, known: dict[int, int], opened: set[int]) -> int:
    """Return how many nodes there are when aliases are followed; refuse what is in itself, and a key that is twice."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in opened:
        raise ValueError("a value contains itself")
    opened.add(id(node))
    total = 1
    match node:
        case yaml.MappingNode():
            keys = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in keys:
                        line = key.start_mark.line + 1
                        raise ValueError(f"`{key.value}` is there twice, the second time in line {line} of the block")
                    keys.add((key.tag, key.value))
                total += _count(key, known, opened) + _count(value, known, opened)
        case yaml.SequenceNode():
            total += sum(_count(item, known, opened) for item in node.value)
    if total > _NODES:
        raise ValueError(f"its aliases make more than {_NODES:,} values")
    opened.remove(id(node))
    known[id(node)] = total
    return total


def canonical(value: object) -> str:
    """Return a value as text that two values share only if they are the same to a reader of YAML."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: object) -> object:
    match value:
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _plain(inner) for key, inner in value.items()}
        case dict():
            return {"!map": sorted([canonical(key), canonical(inner)] for key, inner in value.items())}
        case list() | tuple():
            return [_plain(item) for item in value]
        case set() | frozenset():
            return {"!set": sorted(canonical(item) for item in value)}
        case datetime.date():
            return {"!timestamp": value.isoformat()}
        case bytes():
            return {"!binary": base64.b64encode(value).decode()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise ContractError(f"a card cannot hold a {type(value).__name__}", fix="make it text, a number or a list")


def newline(text: str) -> str:
    """Return the line ending that most lines of a text have."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def edited(
    block: str,
    changes: Mapping[str, Any],
    drop: Collection[str] = (),
    *,
    where: str,
    data: Mapping[str, Any] | None = None,
) -> str:
    """Return the lines of a block with some keys set and others gone; every other line stays as it is.

    A comment behind a value stays too; one among the lines of a value goes with the value. Where the block cannot be
    edited as text (one flow mapping, an alias to what is replaced) it is written anew.

    Args:
        data: what `read` made of the block, if it is known.

    Raises:
        PayloadInvalid: the block cannot be read.
    """
    data = read(block, where=where) if data is None else data
    drop = [key for key in drop if key in data]
    if not changes and not drop:
        return block
    wanted = {key: value for key, value in data.items() if key not in drop} | dict(changes)
    ending = newline(block)
    text = _edited(block, changes, drop, ending)
    if not wanted and not text.strip():
        return "{}" + ending  # with no line at all, the Hub would look for the end of the block farther down
    try:
        if canonical(read(text, where=where)) == canonical(wanted):
            return text
    except PayloadInvalid:
        pass  # written anew, like all that came out otherwise than wanted
    return dump(wanted).replace("\n", ending)


def _edited(block: str, changes: Mapping[str, Any], drop: Collection[str], ending: str) -> str:
    pieces, position, indent = [], 0, ""
    added = dict(changes)
    for key, start, first, end in _spans(block):
        indent = block[start:first]
        if key in added:
            rest = end
            lines = _lines(key, added.pop(key), indent, ending).removesuffix(ending)
        elif key in drop:
            rest = re.compile(r"[ \t]*(?:\r\n|\r|\n)?").match(block, end).end()  # type: ignore[union-attr]
            lines = indent if block[rest : rest + 1] == "#" else ""
        else:
            continue
        pieces += [block[position:start], lines]
        position = rest
    pieces.append(block[position:])
    if added and block and not block.endswith(("\n", "\r")):
        pieces.append(ending)
    return "".join(pieces) + "".join(_lines(key, value, indent, ending) for key, value in added.items())


def _lines(key: str, value: object, indent: str, ending: str) -> str:
    return "".join(f"{indent}{line}{ending}" for line in dump({key: value}).removesuffix("\n").split("\n"))


def _spans(block: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield of every key at the top: its name, where its line starts, where it starts, and where its value ends."""
    depth, key, first, start, end = 0, None, 0, 0, 0
    for event in yaml.parse(block, Loader=_Loader):
        opens: Any = event.start_mark
        closes: Any = event.end_mark
        match event:
            case yaml.CollectionStartEvent():
                if depth == 0 and (event.flow_style or isinstance(event, yaml.SequenceStartEvent)):
                    return
                depth += 1
                end = closes.index if event.flow_style else end
            case yaml.CollectionEndEvent():
                depth -= 1
                if block[opens.index : closes.index] in {"]", "}"}:
                    end = closes.index
            case yaml.ScalarEvent() if depth == 1 and key is None:
                key, first, end = event.value, opens.index, closes.index
                start = first - opens.column
                continue
            case yaml.NodeEvent():
                end = max(end, closes.index)
            case _:
                continue
        if depth == 1 and key is not None:
            yield key, start, first, start + len(block[start:end].rstrip(" \t\r\n"))
            key = None
