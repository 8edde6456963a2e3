"""Translate both sides of every conversation into Arabic, with any model behind an OpenAI-compatible server.

    phase 1  one task per shard: the rows with their targets, counts to `work`
    phase 2  the report `reports/translate.json`

Code, formulas, addresses, tags and the like stay as they are, long texts are cut at paragraphs and sentences, and every
answer is kept, so that a run that was cut off repeats nothing. A turn is finished (`stop`) when the model ended each of
its pieces by itself and gave everything back that it was to leave alone; else it says why not:

    length         a piece broke off at `max_tokens`
    unrestored     the model lost or doubled something that was to stay
    empty          the model answered nothing to a piece
    refused: …     the server would not take a piece, or failed at it for long while it answered others
    too_long       the row is not translated: a turn has more than `turn_characters`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field

from hala_release.manifest import Record
from pipeline import prompts
from pipeline.asking import Asking, AskingConfig, Report, around, together
from pipeline.engines import server
from pipeline.engines.chat import Chat
from pipeline.executor import Phase
from pipeline.prompts import Message, Prompt
from pipeline.row_stage import row_stage
from pipeline.rows import ReadRows, Target, WriteRows
from pipeline.text.markup import Kind
from pipeline.text.protect import Part, holds, mask, parts, restore
from pipeline.text.segments import Border

TOO_LONG = "too_long"
UNRESTORED = "unrestored"
EMPTY = "empty"
BORDERS = {"limit": None, "paragraph": Border.PARAGRAPH, "line": Border.LINE}


class MaxTokens(Record):
    """How long an answer may become: what stops a model that repeats itself."""

    per_character: Annotated[float, Field(gt=0)] = 1.5
    """Tokens for each character that is sent; no tokenizer in use needs more for Arabic than one per byte."""
    least: Annotated[int, Field(ge=1)] = 64
    most: Annotated[int, Field(ge=1)] = 4096

    def of(self, text: str) -> int:
        """Return the limit for a text."""
        return min(self.most, self.least + int(self.per_character * len(text)))


class TranslateConfig(AskingConfig):
    """What the YAML of `translate` may say."""

    prompt: Prompt = "translator"
    """HALA's `translator` or `teacher`, or a template of one's own."""
    max_tokens: MaxTokens = MaxTokens()
    segment_characters: Annotated[int, Field(ge=1)] = 1_500
    """Longer texts are cut at a paragraph, a line, a sentence or a word; what is protected counts as its marker."""
    cut_at: Literal["limit", "paragraph", "line"] = "limit"
    """Shorter texts too are cut at each paragraph or line: a model that loses line breaks cannot lose these."""
    turn_characters: Annotated[int, Field(ge=1)] = 200_000
    """A row with a longer turn is not translated."""
    protect: tuple[Kind, ...] = get_args(Kind)
    """What stays as it is."""
    retry: Literal["verbatim", "none"] = "verbatim"
    """What is tried when markers are lost: `verbatim` sends the piece as it is, and takes the answer if everything that
    is protected stands in it as often as in the piece."""

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on; the words of the prompt too, which live in the code."""
        return super().identity() | {"messages": prompts.translation(self.prompt, "{text}")}

    def chats(self, pairs: Sequence[tuple[str, str]]) -> list[list[Message]]:
        """Return the chats that ask for these texts."""
        return [prompts.translation(self.prompt, english) for english, _ in pairs]


class Translated(NamedTuple):
    """A piece or a turn in Arabic."""

    text: str
    finish_reason: str


class Translate(Asking):
    """Give each row its target; a row that has one keeps it."""

    name = "translate"

    def __init__(self, config: TranslateConfig, work: str) -> None:
        super().__init__(config, work)
        self.config: TranslateConfig = config
        self.protected = frozenset(config.protect)

    async def answer(self, row: dict[str, Any], chat: Chat, counts: Counter[str]) -> None:
        """Translate every turn of a row."""
        counts["rows"] += 1
        if row["target"] is not None:
            counts["rows_with_target"] += 1
            return
        texts = [turn["text"] for turn in row["turns"]]
        if any(len(text) > self.config.turn_characters for text in texts):
            done: Sequence[Translated] = [Translated("", TOO_LONG)] * len(texts)
        else:
            done = await together([self._turn(text, chat, counts) for text in texts])
        row["target"] = [Target(text=one.text, finish_reason=one.finish_reason) for one in done]
        counts["turns"] += len(texts)
        counts.update(f"finish_reasons/{one.finish_reason.partition(':')[0]}" for one in done)
        counts["rows_finished"] += all(one.finish_reason == "stop" for one in done)

    async def _turn(self, text: str, chat: Chat, counts: Counter[str]) -> Translated:
        found = parts(text, self.config.segment_characters, self.protected, BORDERS[self.config.cut_at])
        sent = await together([self._part(part, chat, counts) for part in found if part.sent])
        answers = iter(sent)
        whole = "".join(next(answers).text if part.sent else part.text for part in found)
        return Translated(whole, next((one.finish_reason for one in sent if one.finish_reason != "stop"), "stop"))

    async def _part(self, part: Part, chat: Chat, counts: Counter[str]) -> Translated:
        counts["segments"] += 1
        counts["protected_spans"] += len(part.spans)
        masked = mask(part)
        first = await self._ask(masked.text, chat, counts)
        restored = restore(first.text, masked.kept)
        if first.finish_reason != "stop" or restored.whole:
            return Translated(restored.text, first.finish_reason)
        if self.config.retry == "verbatim" and part.spans:
            counts["segments_tried_verbatim"] += 1
            second = await self._ask(part.text, chat, counts)
            if second.finish_reason != "stop" or holds(second.text, part):
                return second
        return Translated(restored.text, UNRESTORED)

    async def _ask(self, text: str, chat: Chat, counts: Counter[str]) -> Translated:
        parameters = {**self.parameters, "max_tokens": self.config.max_tokens.of(text)}
        answer = await chat.ask(prompts.translation(self.config.prompt, text), parameters)
        counts["tokens/prompt"] += answer.prompt_tokens
        counts["tokens/completion"] += answer.completion_tokens
        said = answer.text.strip()
        return Translated(said, answer.finish_reason if said or answer.finish_reason != "stop" else EMPTY)


def phases(config: TranslateConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    """Translate each shard, then report."""
    model = server.identity(config.server)
    facts = {
        "model": model["model"],
        "digest": model["digest"],
        "family": config.model_family(),
        "compared_with_transformers": config.compared(),
    }
    facts["prompt"] = config.prompt if isinstance(config.prompt, str) else "custom"
    return [
        Phase(
            "translate",
            [ReadRows(shards), Translate(config, work), WriteRows(files)],
            len(shards),
            around(config, shards, work),
        ),
        Phase("report", [Report("translate", facts, files, work)], 1),
    ]


STAGE = row_stage("translate", TranslateConfig, phases, tools=("aiohttp",), serves=True)
