"""C and Q: what the source asks for can be asked for in Arabic, how the user is addressed, and what the judge said."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.rules.rule import Action, Batch, Hit, Limits, Search, where


class Constraint(Limits):
    """A request whose terms are those of English spelling; such a row is flagged, and is no example to learn from."""

    action: Action = "flag"
    source: Search = Search(
        pattern=r"\b(?:(?:upper|lower|title|camel|snake) ?case|(?:all|in) caps|capital(?:iz|is)\w+|capital letters?"
        r"|rhym\w+|haiku|limerick|acrostic|sonnet|alliterat\w+|palindrom\w+|anagram\w*|acronym\w*|syllabl\w+|spell(?:ing|ed)?"
        r"|vowels?|consonants?|crosswords?|scrabble|homophon\w+|pun|plural (?:form )?of|past tense|part of speech"
        r"|grammar|grammatical\w*|punctuat\w+|preposition\w*|adverb\w*|verb tense)\b"
        r"|\b(?:letters?|words?) (?:that )?(?:start|begin|end|contain)\w*\b|\bletter ['\"“]?[a-z]['\"”]?(?![a-z])"
        r"|\b(?:in|with|at least|at most|exactly|under|over|about|around|than|of|to|within|maximum|minimum)"
        r" \d+[- ](?:words?|letters?|characters?)\b|\b\d+[- ](?:word|letter|character|syllable)\b",
        near=(
            "case", "caps", "capital", "rhym", "haiku", "limerick", "acrostic", "sonnet", "alliterat", "palindrom",
            "anagram", "acronym", "syllabl", "spell", "vowel", "consonant", "crossword", "scrabble", "homophon", "pun",
            "plural", "tense", "of speech", "gramma", "preposition", "adverb", "letter", "word", "character",
        ),
    )  # fmt: skip


class Address(Limits):
    """How the target speaks to one who asks: counted for the report, nothing more."""

    action: Action = "report"
    masculine: tuple[str, ...] = (
        "اكتب", "اشرح", "اذكر", "حدد", "أعط", "أعطني", "اختر", "أنشئ", "لخص", "ترجم", "احسب", "أجب", "قارن",
        "وضح", "حلل", "صنف", "رتب", "اقترح", "أكمل", "استخدم", "قم", "أخبرني", "فسر", "ابحث", "صمم", "أوجد", "ناقش",
        "أضف", "أعد", "ضع", "افترض", "تخيل", "اقرأ", "استنتج", "ابتكر", "أنت", "لديك", "يمكنك",
    )  # fmt: skip
    """Forms for one man, which Arabic also uses for anybody; marks and forms of alef do not matter."""
    feminine: tuple[str, ...] = (
        "اكتبي", "اشرحي", "اذكري", "حددي", "أعطي", "أعطيني", "اختاري", "أنشئي", "لخصي", "ترجمي", "احسبي",
        "أجيبي", "قارني", "وضحي", "حللي", "صنفي", "رتبي", "اقترحي", "أكملي", "استخدمي", "قومي", "أخبريني", "فسري",
        "ابحثي", "صممي", "ناقشي", "أضيفي", "أعيدي", "ضعي", "افترضي", "تخيلي", "اقرئي", "ابتكري",
    )  # fmt: skip
    plural: tuple[str, ...] = (
        "اكتبوا", "اشرحوا", "اذكروا", "حددوا", "أعطوا", "أعطونا", "اختاروا", "أنشئوا", "لخصوا", "ترجموا",
        "احسبوا", "أجيبوا", "قارنوا", "وضحوا", "حللوا", "صنفوا", "رتبوا", "اقترحوا", "أكملوا", "استخدموا", "قوموا",
        "أخبرونا", "أنتم", "لديكم", "يمكنكم",
    )  # fmt: skip
    neutral: tuple[str, ...] = ("يرجى", "الرجاء", "يجب", "ينبغي", "المطلوب", "يمكن")


class Judged(Limits):
    """What the stage `judge` said; a row without a verdict is not asked."""


def constraint(batch: Batch, limits: Constraint) -> Iterator[Hit]:
    """Find requests that lose their sense in Arabic."""
    for pair in where(batch.user):
        if found := limits.source.find(batch.source_prose[pair], batch.source_lower[pair]):
            yield batch.hit(pair, f"asks for: {found[0][:60]}")


def judged(batch: Batch, _: Judged) -> Iterator[Hit]:
    """Find rows that the judge rejected."""
    for row in np.unique(batch.row).tolist():
        verdict = batch.rows[row]["verdict"]
        if verdict is not None and not verdict["accept"]:
            yield Hit(row, 0, verdict["reason"][:200])
