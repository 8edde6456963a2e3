"""The words of the cards: templates in cards/, strict and sandboxed. The only import of jinja2 in the release layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.nodes import Block
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hala_release.escape import cell, code
from hala_release.units import human_bytes, human_count, human_seconds


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
    folder = _folder()
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


@cache
def _blocks(source: str) -> tuple[str, ...]:
    return tuple(block.name for block in _environment().parse(sources()[source]).find_all(Block))


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(_folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "commas": "{:,}".format,
        "bytes": human_bytes,
        "cell": cell,
        "code": code,
        "count": human_count,
        "duration": human_seconds,
        "literal": partial(json.dumps, ensure_ascii=False),
    }
    return environment


def _folder() -> Path:
    installed = Path(__file__).parent.parent / "_data" / "cards"
    return installed if installed.is_dir() else Path(__file__).parent.parent.parent / "cards"
