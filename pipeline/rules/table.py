"""The rules in the order in which they drop: the table is the documentation.

A row is judged by all of them, and dropped by the first that says so. Two rules of the notes need models that are no
packages, and are left out: Q1 (quality estimation) and E1 (similarity of sentence vectors); so is G5 (dialect).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import create_model

from hala_release.manifest import Record
from pipeline.rows import Row, Target
from pipeline.rules import instruction, language, leakage, length, numerals, orthography, repetition, structure
from pipeline.rules.counting import Sign, Vocabulary, points_of, signs
from pipeline.rules.rule import Action, Batch, Hit, Limits, Rule
from pipeline.text.markup import spans

TABLE = (
    Rule("S0", "the row is of a size that can be read", structure.Size),
    Rule("S1", "turns alternate, none is empty, each has its translation", structure.Schema, structure.schema),
    Rule("S2", "code is that of the source", structure.Code, structure.code),
    Rule("S3", "LaTeX is that of the source", structure.Latex, structure.latex),
    Rule("S4", "addresses and paths are those of the source", structure.Addresses, structure.addresses),
    Rule("S5", "JSON keys, tags and placeholders are those of the source", structure.Data, structure.data),
    Rule("S6", "lists, headings and tables are as long as in the source", structure.Lists, structure.lists),
    Rule("S7", "no special tokens of chat templates", structure.Tokens, structure.tokens),
    Rule("L1", "characters for a character", length.Characters, length.characters),
    Rule("L2", "words for a word", length.Words, length.words),
    Rule("L3", "the target is not cut off", length.Truncated, length.truncated),
    Rule("G1", "the letters are Arabic", language.ArabicShare, language.arabic_share),
    Rule("G2", "nothing is left untranslated", language.Untranslated, language.untranslated),
    Rule("G3", "the language is Arabic", language.Identified, language.identified),
    Rule(
        "G4", "no Persian or Urdu letters", language.ForeignLetters, language.foreign_letters,
        language.mend_letters, Sign.FOREIGN,
    ),
    Rule("R1", "runs of words are not repeated", repetition.Ngrams, repetition.ngrams),
    Rule("R2", "nothing loops", repetition.Loop, repetition.loop),
    Rule("R3", "the text does not compress too well", repetition.Compression, repetition.compression),
    Rule("R4", "no letter is drawn out", repetition.LetterRun, repetition.letter_run),
    Rule("P1", "no word about the translation", leakage.Leak, leakage.leak, leakage.mend_leak),
    Rule("P2", "no refusal that the source does not have", leakage.Refusal, leakage.refusal),
    Rule("P3", "requests are translated, not answered", leakage.Answered, leakage.answered),
    Rule("P4", "no names of models that the source does not have", leakage.Identity, leakage.identity),
    Rule("N1", "the numbers are there", numerals.Numerals, numerals.numerals),
    Rule("N2", "one system of digits", numerals.DigitSystem, None, numerals.mend_digits, Sign.EASTERN),
    Rule("O1", "plain spelling", orthography.Orthography, None, orthography.clean, Sign.UNCLEAN),
    Rule("O2", "not full of marks", orthography.Diacritics, orthography.diacritics),
    Rule("O3", "no broken characters", orthography.Encoding, orthography.encoding),
    Rule("C1", "no terms of English spelling", instruction.Constraint, instruction.constraint),
    Rule("C2", "how the user is addressed", instruction.Address),
    Rule("Q2", "the judge accepts", instruction.Judged, instruction.judged),
)  # fmt: skip
RULES = {rule.id: rule for rule in TABLE}
REPAIR_ORDER = ("O1", "G4", "N2", "P1")
"""Spelling first: what is invisible must not hide a leak from its pattern."""

_FIELDS: dict[str, Any] = {rule.id: (rule.limits, rule.limits()) for rule in TABLE}
Rules: type[Any] = create_model("Rules", __base__=Record, __doc__="The limits of every rule, by its id.", **_FIELDS)
"""What the YAML says under `rules:`."""


class Found(NamedTuple):
    """What one rule says of a row."""

    rule: str
    action: Action
    turn: int
    reason: str


class Mend(NamedTuple):
    """A repair of one turn."""

    rule: str
    turn: int
    before: str
    after: str


class Judged(NamedTuple):
    """What all rules say of a row, in table order."""

    row: Row
    target: list[Target] | None
    """The target with all repairs."""
    found: list[Found]
    mends: list[Mend]

    @property
    def dropped(self) -> Found | None:
        """The first rule that drops the row."""
        return next((one for one in self.found if one.action == "drop"), None)


class Judge:
    """Applies the table to batches of rows."""

    def __init__(self, rules: Any) -> None:  # noqa: ANN401
        self.rules = rules
        self.vocabulary = Vocabulary([rules.C2.masculine, rules.C2.feminine, rules.C2.plural, rules.C2.neutral])
        self.loops = (rules.R2.repeats, rules.R2.min_length, rules.R2.max_length)
        self.checks = [(rule, getattr(rules, rule.id)) for rule in TABLE if getattr(rules, rule.id).enabled]
        self.repairs = [(RULES[one], getattr(rules, one)) for one in REPAIR_ORDER if getattr(rules, one).enabled]

    def judge(self, rows: Sequence[Row]) -> tuple[list[Judged], Batch]:
        """Return what the rules say of each row, whatever lies beside it, and what was counted."""
        unsound = [structure.sound(row, self.rules.S0, self.rules.S1) for row in rows]
        batch = Batch(rows, [number for number, why in enumerate(unsound) if why is None])
        found: list[dict[str, Found]] = [
            {} if why is None else {why[0]: Found(why[0], getattr(self.rules, why[0]).action, 0, why[1])}
            for why in unsound
        ]
        mends = self._mend(batch, found)
        batch.count(self.vocabulary, self.loops)
        for rule, limits in self.checks:
            for hit in rule.check(batch, limits) if rule.check else ():
                _note(found[hit.row], rule.id, hit, limits.action)
        starts = dict(zip(reversed(batch.row.tolist()), range(len(batch.row) - 1, -1, -1), strict=True))
        judged = [
            _judged(batch, row, starts.get(number, 0), found[number], mends.get(number, []))
            for number, row in enumerate(rows)
        ]
        return judged, batch

    def _mend(self, batch: Batch, found: list[dict[str, Found]]) -> dict[int, list[Mend]]:
        """Repair the targets of a batch where their signs say that there is something to repair."""
        mends: dict[int, list[Mend]] = {}
        changed = []
        for pair, have in enumerate(batch.target_signs.tolist()):
            text = before = batch.targets[pair]
            row, turn = int(batch.row[pair]), int(batch.turn[pair])
            for rule, limits in self.repairs:
                if rule.repairs is not None and not have & rule.repairs:
                    continue
                mended = _outside(rule, batch, pair, text, limits)
                if mended == text:
                    continue
                if limits.action != "repair":
                    _note(found[row], rule.id, Hit(row, turn, "would be repaired"), limits.action)
                    continue
                have = ~0  # what is repaired may need another repair
                mends.setdefault(row, []).append(Mend(rule.id, turn, text, mended))
                text = mended
            if text != before:
                text = self._settle(batch, pair, text, mends[row])
                batch.targets[pair] = text
                changed.append(pair)
                for mend in mends[row]:
                    _note(found[row], mend.rule, Hit(row, mend.turn, ""), "repair")
        if changed:
            batch.target_signs[changed] = signs(*points_of([batch.targets[pair] for pair in changed]))
        return mends

    def _settle(self, batch: Batch, pair: int, text: str, mends: list[Mend]) -> str:
        """Repair until nothing changes: a repair may uncover what another looks for."""
        for _ in range(_ROUNDS):
            before = text
            for rule, limits in self.repairs:
                if limits.action == "repair" and (mended := _outside(rule, batch, pair, text, limits)) != text:
                    mends.append(Mend(rule.id, int(batch.turn[pair]), text, mended))
                    text = mended
            if text == before:
                break
        return text


_ROUNDS = 8


def _judged(batch: Batch, row: Row, start: int, found: dict[str, Found], mends: list[Mend]) -> Judged:
    target = row["target"]
    if mends and target is not None:
        target = [{**turn, "text": batch.targets[start + number]} for number, turn in enumerate(target)]
    in_order = list(found.values())
    if len(in_order) > 1:
        in_order.sort(key=lambda one: _ORDER[one.rule])
    return Judged(row, target, in_order, mends)


_ORDER = {rule.id: number for number, rule in enumerate(TABLE)}


_GRAVITY: dict[Action, int] = {"report": 0, "repair": 1, "flag": 2, "drop": 3}


def _note(found: dict[str, Found], rule: str, hit: Hit, action: Action) -> None:
    """Keep the gravest hit of a rule in a row, the first of these."""
    action = hit.action or action
    if rule not in found or _GRAVITY[action] > _GRAVITY[found[rule].action]:
        found[rule] = Found(rule, action, hit.turn, hit.reason)


def _outside(rule: Rule, batch: Batch, pair: int, text: str, limits: Limits) -> str:
    """Repair what is prose; code, addresses and the like come back as they were."""
    if rule.repair is None:
        return text
    masked = spans(text) if rule.repairs is not None else []
    if not masked:
        return rule.repair(batch, pair, text, limits)
    prose, place = [], 0
    for span in masked:
        prose.append(text[place : span.start].replace(_SIGN, _ITSELF))
        place = span.end
    prose.append(text[place:].replace(_SIGN, _ITSELF))
    mended = [one.replace(_ITSELF, _SIGN) for one in rule.repair(batch, pair, _MASK.join(prose), limits).split(_MASK)]
    kept = [text[span.start : span.end] for span in masked]
    return "".join(piece for pair_of in zip(mended, [*kept, ""], strict=True) for piece in pair_of)


_SIGN, _MASK, _ITSELF = "\ue000", "\ue000\ue001", "\ue000\ue002"
"""A private character, what stands for a span, and what stands for the character where the text has it."""
