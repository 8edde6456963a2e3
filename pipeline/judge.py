"""Let another model judge every translation: accept or reject, with a reason. Rows are marked here and dropped later.

    phase 1  one task per shard: the rows with their verdicts, counts to `work`
    phase 2  the report `reports/judge.json`

A row is accepted when each of its turns is. A turn that is not finished is rejected without a question, and so is an
answer that is no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import Field, ValidationError

from hala_release.errors import ConfigError
from hala_release.manifest import Record
from pipeline import prompts, storage
from pipeline.asking import Asking, AskingConfig, Report, around, together
from pipeline.engines import server
from pipeline.engines.chat import Chat
from pipeline.executor import Phase
from pipeline.prompts import Message
from pipeline.row_stage import row_stage
from pipeline.rows import ReadRows, Verdict, WriteRows
from pipeline.stage import REPORTS
from pipeline.storage import join


class JudgeConfig(AskingConfig):
    """What the YAML of `judge` may say."""

    instruction: str = prompts.JUDGE
    """What the judge is told before it sees a pair."""
    max_tokens: Annotated[int, Field(ge=16)] = 256
    """Of a verdict with its reason."""
    reason_characters: Annotated[int, Field(ge=1)] = 300
    """A reason may be so long."""
    turn_characters: Annotated[int, Field(ge=1)] = 12_000
    """A turn is rejected unread when its source and target together are longer."""
    same_family: bool = False
    """Whether a model may judge its own family's translations, which such a judge likes too well."""

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on; the words of the question too, which live in the code."""
        return super().identity() | {
            "messages": prompts.judgement("{source}", "{target}", self.instruction),
            "format": prompts.verdict_format(self.reason_characters),
        }

    def chats(self, pairs: Sequence[tuple[str, str]]) -> list[list[Message]]:
        """Return the chats that ask for a verdict on these pairs."""
        return [prompts.judgement(english, arabic, self.instruction) for english, arabic in pairs]


class Opinion(Record):
    """What the judge has to answer."""

    verdict: Literal["accept", "reject"]
    reason: str


class Judged(NamedTuple):
    """What became of one turn."""

    outcome: str
    """What the report counts."""
    reason: str

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against the turn."""
        return self.outcome in {"accepted", "nothing_to_judge"}


class Judge(Asking):
    """Give each row its verdict."""

    name = "judge"

    def __init__(self, config: JudgeConfig, work: str) -> None:
        super().__init__(config, work)
        self.config: JudgeConfig = config

    async def answer(self, row: dict[str, Any], chat: Chat, counts: Counter[str]) -> None:
        """Judge every turn of a row."""
        counts["rows"] += 1
        row["verdict"] = verdict = await self._row(row, chat, counts)
        counts["rows_accepted"] += verdict["accept"]

    async def _row(self, row: dict[str, Any], chat: Chat, counts: Counter[str]) -> Verdict:
        target = row["target"]
        if target is None:
            counts["outcomes/untranslated"] += 1
            return Verdict(accept=False, reason="there is no translation")
        for number, one in enumerate(target, 1):
            if one["finish_reason"] != "stop":
                counts["outcomes/unfinished"] += 1
                return Verdict(accept=False, reason=f"turn {number} is not finished: {one['finish_reason']}")
        pairs = [(turn["text"], one["text"]) for turn, one in zip(row["turns"], target, strict=True)]
        judged = await together([self._turn(source, text, chat, counts) for source, text in pairs])
        counts.update(f"outcomes/{one.outcome}" for one in judged)
        against = [(number, one) for number, one in enumerate(judged, 1) if not one.accepted]
        told = against or list(enumerate(judged, 1))
        return Verdict(accept=not against, reason="; ".join(f"turn {number}: {one.reason}" for number, one in told))

    async def _turn(self, source: str, target: str, chat: Chat, counts: Counter[str]) -> Judged:
        if source == target and not any(letter.isalpha() for letter in source):
            return Judged("nothing_to_judge", "there is nothing to translate")
        if not target.strip():
            return Judged("empty", "the translation is empty")
        if len(source) + len(target) > self.config.turn_characters:
            return Judged("too_long", f"longer than {self.config.turn_characters} characters")
        parameters = {
            **self.parameters,
            "max_tokens": self.config.max_tokens,
            "response_format": prompts.verdict_format(self.config.reason_characters),
        }
        answer = await chat.ask(prompts.judgement(source, target, self.config.instruction), parameters)
        counts["tokens/prompt"] += answer.prompt_tokens
        counts["tokens/completion"] += answer.completion_tokens
        if answer.finish_reason != "stop":
            return Judged("unjudged", f"no verdict: {answer.finish_reason}")
        try:
            opinion = Opinion.model_validate_json(answer.text)
        except ValidationError:
            return Judged("unparsable", f"no verdict: {answer.text[: self.config.reason_characters]}")
        outcome = "accepted" if opinion.verdict == "accept" else "rejected"
        return Judged(outcome, opinion.reason[: self.config.reason_characters])


def phases(config: JudgeConfig, shards: Sequence[str], files: str, work: str) -> list[Phase]:
    """Judge each shard, then report.

    Raises:
        ConfigError: the judge is of the translator's family.
    """
    model = server.identity(config.server)
    if not config.same_family:
        _refuse_own_family(config.model_family(), files)
    facts = {
        "model": model["model"],
        "digest": model["digest"],
        "family": config.model_family(),
        "compared_with_transformers": config.compared(),
    }
    return [
        Phase(
            "judge",
            [ReadRows(shards), Judge(config, work), WriteRows(files)],
            len(shards),
            around(config, shards, work),
        ),
        Phase("report", [Report("judge", facts, files, work)], 1),
    ]


def _refuse_own_family(family: str, files: str) -> None:
    """Compare with what `translate` reported, which travels with its rows."""
    reports = join(files, REPORTS)
    if "translate.json" not in storage.names(reports):
        return
    with storage.reading(join(reports, "translate.json")) as file:
        translator = orjson.loads(file.read())
    if translator["family"] == family:
        raise ConfigError(
            f"the judge is of the family `{family}`, and so is {translator['model']}, which translated",
            fix="take a judge of another family, or say `same_family: true`",
        )


STAGE = row_stage("judge", JudgeConfig, phases, tools=("aiohttp",), serves=True)
