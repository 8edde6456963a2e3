"""A text on its way through a translator: which way, in which pieces, and what of it stays as it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from family import Language

LONGEST = 600
"""Characters that a translator is given at once: some sentences."""

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_LEAD = re.compile(r"\s*(?:>\s*)*(?:#{1,6}\s+|[-*+•]\s+|\d{1,3}[.)]\s+)?")
_SENTENCE = re.compile(r"(?<=[.!?…؟۔。])\s+")
_KEPT = re.compile(
    r"`[^`\n]+`"  # code
    r"|https?://[^\s<>\"'«»]*[^\s<>\"'«».,;:!?؟،؛)\]}]"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"  # e-mail
    r"|</?[A-Za-z][^<>\n]{0,400}>"  # tags
    r"|\{\{?[\w.]+\}?\}|%\([a-z_]+\)[sd]|%[sd]"  # what programs fill in
)
_MARK = re.compile(r"⟦\s*(\d+)\s*⟧")
_OPEN_MARK = re.compile(r"⟦[^⟧]*$")


class Piece(NamedTuple):
    """A part of a text; joined, the parts are the text."""

    text: str
    is_kept: bool
    """Whether it stays as it is."""


def target(text: str) -> Language:
    """Return the language to translate into: English where most letters are Arabic, else Arabic."""
    letters = [character for character in text if character.isalpha()]
    arabic = sum(unicodedata.name(letter, "").startswith("ARABIC") for letter in letters)
    return "en" if 2 * arabic > len(letters) else "ar"


def pieces(text: str) -> list[Piece]:
    """Cut a text at lines and sentences. Blank lines, marks of lists and headings, blocks of code, addresses stay."""
    found: list[Piece] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        opened = _FENCE.match(line)
        if fence or opened:
            found.append(Piece(line, is_kept=True))
            if opened and not fence:
                fence = opened[1]
            elif opened and opened[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            continue
        found.extend(_of_line(line))
    return found


def _of_line(line: str) -> Iterator[Piece]:
    lead = _LEAD.match(line)
    start = lead.end() if lead else 0
    body = line[start:].rstrip()
    end = line[start + len(body) :]
    if not any(character.isalpha() for character in _KEPT.sub("", body)):
        yield Piece(line, is_kept=True)
        return
    if start:
        yield Piece(line[:start], is_kept=True)
    yield from _sentences(body)
    if end:
        yield Piece(end, is_kept=True)


def _sentences(body: str) -> Iterator[Piece]:
    """Parts of at most LONGEST characters, with the white space between them as parts that stay."""
    begin = 0
    while len(body) - begin > LONGEST:
        window = body[begin : begin + LONGEST]
        cuts = [match for match in _SENTENCE.finditer(window) if match.start()] or list(re.finditer(r"\s+", window))
        cut = cuts[-1].span() if cuts and cuts[-1].start() else (LONGEST, LONGEST)
        yield Piece(window[: cut[0]], is_kept=False)
        if cut[0] < cut[1]:
            yield Piece(window[cut[0] : cut[1]], is_kept=True)
        begin += cut[1]
    yield Piece(body[begin:], is_kept=False)


def masked(text: str) -> tuple[str, list[str]]:
    """Return a text with ⟦0⟧, ⟦1⟧ … in place of code, addresses and tags, and these."""
    kept: list[str] = []

    def mask(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"⟦{len(kept) - 1}⟧"

    return _KEPT.sub(mask, text), kept


def unmasked(text: str, kept: list[str]) -> str:
    """Put code, addresses and tags back; a mark that is only half there yet is left out."""
    return _MARK.sub(lambda match: kept[int(match[1])] if int(match[1]) < len(kept) else "", _OPEN_MARK.sub("", text))


def is_whole(text: str, kept: list[str]) -> bool:
    """Whether every mark is in a translation, once."""
    return sorted(int(found) for found in _MARK.findall(text)) == list(range(len(kept)))


def between(text: str) -> list[Piece]:
    """Cut a text at its code, addresses and tags, for a translator that loses their marks."""
    found: list[Piece] = []
    begin = 0
    for match in _KEPT.finditer(text):
        found += [*_spaced(text[begin : match.start()]), Piece(match[0], is_kept=True)]
        begin = match.end()
    return [*found, *_spaced(text[begin:])]


def _spaced(text: str) -> list[Piece]:
    body = text.strip()
    if not any(character.isalpha() for character in body):
        return [Piece(text, is_kept=True)] if text else []
    start = text.index(body)
    parts = (text[:start], True), (body, False), (text[start + len(body) :], True)
    return [Piece(part, is_kept=kept) for part, kept in parts if part]
