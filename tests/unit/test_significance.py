"""Tests of difference, against what can be counted by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hala_release.significance import LEVEL, NORMAL, holm, paired, unpaired


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (0, 6), (5, 5), (3, 9), (10, 2)])
def test_mcnemar_counts_the_falls_of_a_fair_coin(better: int, worse: int) -> None:
    flips = better + worse
    least = min(better, worse)
    falls = [sum(fall) for fall in product((0, 1), repeat=flips)]
    extreme = Fraction(sum(fall <= least for fall in falls) * 2, len(falls))
    own = {str(n): float(n < better) for n in range(flips + 3)}
    other = {str(n): float(better <= n < flips) for n in range(flips + 3)}
    found = paired(own, other)
    assert found.p == pytest.approx(float(min(extreme, Fraction(1))), rel=1e-9)
    assert found.value == pytest.approx((better - worse) / (flips + 3))
    assert found.paired


def test_mcnemar_of_many_items_agrees_with_the_normal_law() -> None:
    own = {str(n): float(n < 5150) for n in range(20_000)}
    other = {str(n): float(5150 <= n < 10_000) for n in range(20_000)}
    normal = 2 * (1 - NormalDist().cdf((5150 - 4850 - 1) / math.sqrt(10_000)))
    assert paired(own, other).p == pytest.approx(normal, rel=0.02)


def test_differences_of_other_values_are_compared_with_their_spread() -> None:
    own = {str(n): n / 10 for n in range(10)}
    other = {str(n): n / 10 - (0.1 if n % 2 else 0.3) for n in range(10)}
    found = paired(own, other)
    assert found.value == pytest.approx(0.2)
    assert found.stderr == pytest.approx(math.sqrt(10 * 0.01 / 9 / 10))


def test_errors_of_two_models_add_in_squares() -> None:
    found = unpaired(0.5, 0.03, 0.4, 0.04)
    assert found.stderr == pytest.approx(0.05)
    assert found.p == pytest.approx(2 * (1 - NormalDist().cdf(2)))
    assert unpaired(0.5, None, 0.4, 0.04).p is None
    assert pytest.approx(1.959964, abs=1e-6) == NORMAL


def test_holm_goes_down_until_one_fails() -> None:
    assert LEVEL == 0.95
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.04]) == [True]
    assert holm([0.04, None]) == [True, False]
    assert holm([0.04, 0.6]) == [False, False]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_between_bonferroni_and_no_correction(probabilities: list[float]) -> None:
    for p, rejected in zip(probabilities, holm(list(probabilities)), strict=True):
        assert rejected or p > (1 - LEVEL) / len(probabilities)
        assert not rejected or p <= 1 - LEVEL
