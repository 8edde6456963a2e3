"""N: the numbers of the source are in the target, in one system of digits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from pipeline.rules.counting import Count
from pipeline.rules.rule import Action, Batch, Hit, Limits, where
from pipeline.text import arabic


class Numerals(Limits):
    """How many numbers of the source are found in the target."""

    action: Action = "flag"
    min_recall: Annotated[float, Field(ge=0, le=1)] = 0.5
    """28% of human pairs differ in a number, mostly small ones that Arabic writes in letters: a soft limit."""
    exact_action: Action = "drop"
    """What happens to rows of mathematics where a number is lost."""
    exact_where: str = r"\d\s*[+*/=×÷^]\s*\(?-?\d|\d\s-\s\d|\bequation\b"
    """A source that matches is mathematics, and so is one with LaTeX in it."""
    spelled_up_to: Annotated[int, Field(ge=0)] = 12
    """Numbers that Arabic may write in letters or as a dual; they are not asked for in mathematics."""


class DigitSystem(Limits):
    """Arabic-Indic and European digits in one text: all outside quotations become European."""

    action: Action = "repair"


_NUMBER = re.compile(r"\d+(?:[.,٫٬]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:[,٬]\d{3})+(?:[.٫]\d+)?")


def numbers(text: str) -> Counter[str]:
    """Return the numbers of a text as they would be written with European digits and without thousands signs."""
    found: Counter[str] = Counter()
    for written in _NUMBER.findall(text):
        number = arabic.european_digits(written)
        plain = re.sub("[,٬]", "", number) if _THOUSANDS.fullmatch(number) else number
        found[re.sub("[,٫٬]", ".", plain).lstrip("0") or "0"] += 1
    return found


def numerals(batch: Batch, limits: Numerals) -> Iterator[Hit]:
    """Find targets that lost numbers."""
    digits = batch.source[:, Count.EASTERN] + batch.source[:, Count.EUROPEAN]
    for pair in where(digits):
        source, target = numbers(batch.source_prose[pair]), numbers(batch.target_prose[pair])
        lost = source - target
        if not lost:
            continue
        spans = batch.source_spans.get(pair, ())
        if any(span.kind == "latex" for span in spans) or re.search(
            limits.exact_where, batch.source_prose[pair], re.IGNORECASE
        ):
            large = [one for one in lost if "." in one or int(one[:18]) > limits.spelled_up_to]
            if large:
                yield batch.hit(pair, f"lost {', '.join(sorted(large)[:5])}", limits.exact_action)
                continue
        recall = 1 - lost.total() / source.total()
        if recall < limits.min_recall:
            yield batch.hit(pair, f"{recall:.0%} of the numbers are there")


def mend_digits(_: Batch, __: int, text: str, ___: DigitSystem) -> str:
    """Write all digits outside quotations in the European way, if both ways are there."""
    if not arabic.mixes_digits(text):
        return text
    pieces, place = [], 0
    for start, end in arabic.quotations(text):
        pieces += [arabic.european_digits(text[place:start]), text[start:end]]
        place = end
    return "".join([*pieces, arabic.european_digits(text[place:])])
