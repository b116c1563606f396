from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.errors import UserError
from uda.probes.rejection import RULES, find_rule, fixed, otsu, otsu_or_none

scores = st.lists(st.floats(0, 3, allow_nan=False), min_size=2, max_size=60)


def test_the_fixed_rule_takes_the_published_threshold_whatever_the_scores() -> None:
    assert fixed(np.array([9.0, 0.1]), 0.7) == 0.7


def test_otsu_lies_in_the_middle_of_the_gap() -> None:
    # Two values: every cut between them has the same between-class variance, and the middle of the gap is 0.5.
    assert otsu(np.array([0.0, 0.0, 0.0, 1.0, 1.0]), 0.7) == pytest.approx(0.5, abs=1 / 256)


def test_otsu_maximizes_the_variance_between_both_sides() -> None:
    values = np.concatenate(
        [np.random.default_rng(0).normal(0.3, 0.1, 300), np.random.default_rng(1).normal(1.5, 0.2, 100)]
    )

    def between(threshold: float) -> float:
        low, high = values[values <= threshold], values[values > threshold]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    chosen = between(otsu(values, 0.7))
    # brute force over all cuts between neighboring values; a histogram of 256 bins comes within a percent of it
    ordered = np.sort(values)
    best = max(between((a + b) / 2) for a, b in pairwise(ordered) if a < b)
    assert chosen >= 0.99 * best


def test_equal_scores_are_all_kept() -> None:
    values = np.full(7, 0.4)
    assert not (values > otsu(values, 0.7)).any()


@given(scores)
def test_otsu_lies_between_the_extremes(values: list[float]) -> None:
    array = np.array(values)
    assert array.min() - 1e-9 <= otsu(array, 0.7) <= array.max() + 0.5  # a single value's histogram is one unit wide


@given(scores, st.sampled_from([0.5, 2.0, 4.0]))
def test_otsu_scales_with_the_scores(values: list[float], factor: float) -> None:
    # powers of two change no digit of a score, so every image falls into the same bin
    array = np.array(values)
    if np.ptp(array) > 1e-6:
        assert otsu(array * factor, 0.7) == pytest.approx(otsu(array, 0.7) * factor)


def test_nothing_is_rejected_where_the_upper_side_is_hardly_unsure() -> None:
    # Otsu cuts at 0.2; the mean above is 0.4. With a published threshold of 0.3 it would have to be 1.3 · 0.3 = 0.39,
    # with 0.31 it would have to be 0.403. Twice the published threshold is the largest entropy there can be.
    values = np.array([0.0, 0.0, 0.0, 0.4, 0.4])
    assert otsu_or_none(values, 0.3) == otsu(values, 0.3)
    assert otsu_or_none(values, 0.31) == 0.62
    assert otsu_or_none(np.array([0.0, 0.0, 0.7]), 0.6) == 1.2
    assert otsu_or_none(np.full(5, 0.8), 0.3) == 0.8  # nothing to cut, and above what can be


@pytest.mark.parametrize("values", [[0.3, 0.3], [0.0, 5e-324], [1e300, np.nextafter(1e300, np.inf)]])
def test_scores_that_differ_by_rounding_are_not_cut(values: list[float]) -> None:
    assert otsu(np.array(values), 0.5) == values[1]


@given(scores, st.floats(0.01, 3))
def test_a_rule_rejects_as_otsu_does_or_nothing(values: list[float], published: float) -> None:
    array = np.array(values)
    chosen = otsu_or_none(array, published)
    assert chosen == otsu(array, published) or not (array > chosen).any()


@pytest.mark.parametrize("name", RULES)
def test_a_rule_gives_a_finite_threshold(name: str) -> None:
    assert np.isfinite(RULES[name](np.array([0.1, 0.2, 0.9]), 0.5))


def test_an_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown rejection rule 'otso': did you mean otsu"):
        find_rule("otso")
