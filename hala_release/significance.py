"""Whether two scores differ by more than chance explains.

Paired where both models answered the same items, as E. Miller recommends ("Adding Error Bars to Evals", arXiv
2411.00640): the exact McNemar test for right and wrong answers, a z-test on the differences of anything else. Unpaired
otherwise: a z-test with both standard errors. Over all comparisons of a card the p-values are corrected by Holm's
method (1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

LEVEL = 0.95
NORMAL = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Standard errors in half of a confidence interval."""


class Difference(NamedTuple):
    """By how much one score is above another."""

    value: float
    """On the scale of the scores."""
    stderr: float | None
    """None where one of the scores has no standard error."""
    p: float | None
    """Probability of a difference at least as large if there were none."""
    paired: bool


def paired(own: Mapping[str, float], other: Mapping[str, float]) -> Difference:
    """Compare two models on the same items.

    Args:
        own: values by item, as many as `other` has and for the same items; at least one.
    """
    differences = [value - other[item] for item, value in own.items()]
    count = len(differences)
    mean = math.fsum(differences) / count
    spread = math.fsum((one - mean) ** 2 for one in differences)
    stderr = math.sqrt(spread / (count - 1) / count) if count > 1 else None
    if {*own.values(), *other.values()} <= {0.0, 1.0}:
        p: float | None = _mcnemar(sum(one > 0 for one in differences), sum(one < 0 for one in differences))
    else:
        p = _two_sided(mean, stderr)
    return Difference(mean, stderr, p, paired=True)


def unpaired(own: float, own_stderr: float | None, other: float, other_stderr: float | None) -> Difference:
    """Compare two scores of which only the standard errors are known."""
    difference = own - other
    if own_stderr is None or other_stderr is None:
        return Difference(difference, None, None, paired=False)
    stderr = math.hypot(own_stderr, other_stderr)
    return Difference(difference, stderr, _two_sided(difference, stderr), paired=False)


def holm(probabilities: Sequence[float | None]) -> list[bool]:
    """Tell which of several tests reject, with a chance of at most 1 - LEVEL that any of them does so wrongly."""
    known = sorted((p, number) for number, p in enumerate(probabilities) if p is not None)
    rejected = [False] * len(probabilities)
    for rank, (p, number) in enumerate(known):
        if p > (1 - LEVEL) / (len(known) - rank):
            break
        rejected[number] = True
    return rejected


def _mcnemar(better: int, worse: int) -> float:
    """Return the exact two-sided p-value of a fair coin that fell `better` times one way and `worse` the other."""
    flips, fewer = better + worse, min(better, worse)
    whole = math.lgamma(flips + 1) - flips * math.log(2)
    terms = (math.exp(whole - math.lgamma(k + 1) - math.lgamma(flips - k + 1)) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(terms))


def _two_sided(difference: float, stderr: float | None) -> float | None:
    if not stderr:  # an error of nothing says that too little was seen, not that all is certain
        return 1.0 if stderr == 0 and difference == 0 else None
    return math.erfc(abs(difference) / stderr / math.sqrt(2))
