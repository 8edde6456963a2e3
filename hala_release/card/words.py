"""The words of the cards: templates in cards/, strict and sandboxed. The only import of jinja2 in the release layer."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cache, partial

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.nodes import Block
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hala_release.disk import shipped
from hala_release.escape import cell, code
from hala_release.units import count, human_bytes, human_count, human_seconds

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_FOLDERS = {"dataset": "datasets/", "space": "spaces/"}


def regions(name: str, values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the regions of a card by name: the blocks of a template in their order, those that have something to say.

    Args:
        name: of the template, without its suffix.
        values: facts; a template can ask for no other.
    """
    source = f"{name}.md.j2"
    template = _environment().get_template(source)
    made = []
    for block in _blocks(source):
        text = "".join(template.blocks[block](template.new_context(dict(values)))).strip()
        if text:
            made.append((block.replace("_", "-"), text + "\n"))
    return made


def sources() -> dict[str, str]:
    """Return the text of every template by its name."""
    folder = shipped("cards")
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.j2"))
    }


def literal(source: str) -> list[tuple[int, str]]:
    """Return what a template says by itself, without what it fills in: (line, text)."""
    found = []
    for number, kind, text in _environment().lex(source):
        if kind == "data":
            found += [(number + offset, line) for offset, line in enumerate(text.split("\n"))]
    return found


def attribute(text: str) -> str:
    """Return text as the value of an HTML attribute, between double quotes."""
    return html.escape("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text))


def fenced(text: str, language: str) -> str:
    """Return text as a block of code, in a fence that it does not hold."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def hub_link(name: str, kind: str = "model", *, text: str = "") -> str:
    """Return a link to a repository of the Hub, or the escaped text where the name can be none.

    Args:
        name: as `owner/name`.
        kind: of the repository.
        text: what the link says; without it, the name.
    """
    words = cell(text or name)
    if not _REPOSITORY.fullmatch(name):
        return words
    return f"[{words}](https://huggingface.co/{_FOLDERS.get(kind, '')}{name})"


@cache
def _blocks(source: str) -> tuple[str, ...]:
    return tuple(block.name for block in _environment().parse(sources()[source]).find_all(Block))


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(shipped("cards")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "attribute": attribute,
        "commas": "{:,}".format,
        "bytes": human_bytes,
        "cell": cell,
        "code": code,
        "count": human_count,
        "duration": human_seconds,
        "fenced": fenced,
        "hub_link": hub_link,
        "literal": partial(json.dumps, ensure_ascii=False),
        "things": count,
    }
    return environment
