"""Translate a text of any length: piece by piece, each in its turn, so that a long text keeps nobody waiting."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import text as texts
from answer import Answers, Ended, Text, Waiting
from backends import Message, Options
from family import Family, Language, Translator
from limits import TEXT, TOKENS, Refused, checked
from line import Person


@dataclass(frozen=True)
class Progress:
    """How far a translation is."""

    text: str
    done: int
    """Pieces that are translated."""
    total: int
    place: int = 0
    """In the line; 0 while the model works."""
    is_cut: bool = False
    """Whether the clock cut a piece off."""


async def translate(
    answers: Answers, family: Family, who: Person, text: str, into: Language | None = None
) -> AsyncGenerator[Progress]:
    """Yield the translation as it grows; code, addresses, tags and the form of the text stay.

    Args:
        into: the language; guessed from the letters of the text where None.

    Raises:
        Refused: the text is too long, or no model translates in this direction.
    """
    checked(text, TEXT)
    translator = family.translate.get(into or texts.target(text))
    if translator is None:
        raise Refused("no_direction")
    parts = texts.pieces(text)
    total = sum(not part.is_kept for part in parts)
    before, done, cut = "", 0, False
    for part in parts:
        if part.is_kept:
            before += part.text
            continue
        shown = ""
        async with aclosing(_piece(answers, translator, who, part.text)) as told:
            async for event, shown in told:
                match event:
                    case Waiting(place):
                        yield Progress(before, done, total, place=place)
                    case Text():
                        yield Progress(before + shown, done, total)
                    case Ended(_, why):
                        cut = cut or why == "time"
        before += shown
        done += 1
        yield Progress(before, done, total, is_cut=cut)
    yield Progress(before, done, total, is_cut=cut)


async def _piece(
    answers: Answers, translator: Translator, who: Person, text: str
) -> AsyncGenerator[tuple[Waiting | Text | Ended, str]]:
    """Yield events, and what there is of the piece, ready to be read."""
    masked, kept = texts.masked(text)
    shown, whole = "", True
    async with aclosing(answers.stream(who, translator.model, _asked(translator, masked), _options(masked))) as events:
        async for event in events:
            if isinstance(event, Text | Ended):
                shown = texts.unmasked(event.text.strip(), kept)
                whole = texts.is_whole(event.text, kept)
            if whole or not isinstance(event, Ended):
                yield event, shown
    if whole:
        return
    done = ""
    for part in texts.between(text):  # it lost a mark: what stands between them is translated by itself
        if part.is_kept:
            done += part.text
            continue
        asked, options = _asked(translator, part.text), _options(part.text)
        async with aclosing(answers.stream(who, translator.model, asked, options)) as events:
            async for event in events:
                shown = done + event.text.strip() if isinstance(event, Text | Ended) else done
                yield event, shown
        done = shown
    yield Ended(done, "done"), done


def _asked(translator: Translator, text: str) -> list[Message]:
    return [Message(role="user", content=translator.prompt.replace("{text}", text))]


def _options(text: str) -> Options:
    """Greedy; a translation takes about as many tokens as the text has letters at the most."""
    return Options(temperature=0, tokens=min(TOKENS, 64 + len(text)))
