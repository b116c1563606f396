from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from uda.metrics import (
    accuracy_interval,
    bootstrap_ci,
    h_score,
    paired_difference,
    smallest_detectable_difference,
    summarize,
)

figures = st.lists(st.floats(0, 1), min_size=2, max_size=8)


def test_summary_by_hand():
    # Mean 2, deviations −1 0 1: std √(2/2) = 1; t(.975, 2) = 4.30265, over √3.
    found = summarize([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.std) == (3, 2.0, 1.0)
    assert found.ci95 == pytest.approx(4.30265 / 3**0.5, abs=1e-5)


def test_one_seed_has_no_spread():
    found = summarize([0.7])
    assert (found.n, found.mean, found.std, found.ci95) == (1, 0.7, None, None)


def test_an_undefined_seed_leaves_all_undefined():
    assert summarize([0.5, None, 0.6]).mean is None
    assert summarize([0.5, None, 0.6]).n == 3
    assert summarize([]).mean is None


def test_seeds_that_agree_have_no_spread_at_all():
    found = summarize([0.1 + 0.2, 0.3, 0.3])  # 0.1 + 0.2 is 0.30000000000000004
    assert found.std == 0.0
    assert found.ci95 == 0.0


@given(figures)
def test_summary_is_the_t_interval_of_scipy(values):
    found = summarize(values)
    if found.std > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert found.mean - found.ci95 == pytest.approx(low)
        assert found.mean + found.ci95 == pytest.approx(high)


def test_paired_difference_by_hand():
    # Differences 1 2 3: mean 2, std 1, t = 2 / (1/√3) = 3.4641, p = 0.0742 with 2 degrees of freedom.
    found = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.std) == (3, 2.0, 1.0)
    assert found.ci95 == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-5)
    assert found.p_value == pytest.approx(0.0742, abs=1e-4)
    assert found.smallest_detectable == pytest.approx(3.26404, abs=1e-5)


@given(figures, st.integers(0, 1000))
def test_paired_difference_agrees_with_scipy_and_turns_with_its_arms(a, seed):
    b = np.random.default_rng(seed).uniform(size=len(a))
    found, turned = paired_difference(a, b), paired_difference(b, a)
    test = stats.ttest_rel(a, b)
    assert found.p_value == pytest.approx(test.pvalue)
    assert found.ci95 == pytest.approx(tuple(test.confidence_interval()))
    assert turned.mean == -found.mean
    assert turned.ci95 == pytest.approx((-found.ci95[1], -found.ci95[0]))
    assert turned.smallest_detectable == pytest.approx(found.smallest_detectable)


@given(figures, st.integers(0, 1000))
def test_the_interval_leaves_zero_out_exactly_when_p_is_below_five_percent(a, seed):
    found = paired_difference(a, np.random.default_rng(seed).uniform(size=len(a)))
    low, high = found.ci95
    assert (low > 0 or high < 0) == (found.p_value < 0.05)


def test_one_pair_shows_nothing_but_its_difference():
    found = paired_difference([0.75], [0.5])
    assert found.mean == 0.25
    assert (found.std, found.ci95, found.p_value, found.smallest_detectable) == (None, None, None, None)


def test_differences_that_do_not_vary_claim_no_power():
    found = paired_difference([0.3, 0.4, 0.7], [0.1, 0.2, 0.5])  # all .2, up to rounding
    assert found.std == 0.0
    assert found.ci95 == (found.mean, found.mean)
    assert found.p_value is None
    assert found.smallest_detectable is None


def test_paired_arms_need_the_same_seeds():
    with pytest.raises(ValueError, match="there are 2 and 3"):
        paired_difference([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="there are 0 and 0"):
        paired_difference([], [])
    with pytest.raises(ValueError, match="a must be one list of finite numbers"):
        paired_difference([float("nan")], [1.0])


@pytest.mark.parametrize("wanted", [0.1, 0.8])  # at .1 a significant result of the wrong sign counts as well
@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
def test_smallest_detectable_has_the_power_it_says(n, wanted):
    # The power by its own integral: given the chi-squared variance v the test is one of a normal variable.
    shift = smallest_detectable_difference(n, std=1.0, power=wanted) * n**0.5
    critical = stats.t.ppf(0.975, n - 1)

    def found(v):
        border = critical * np.sqrt(v / (n - 1))
        return (stats.norm.sf(border - shift) + stats.norm.cdf(-border - shift)) * stats.chi2.pdf(v, n - 1)

    power = integrate.quad(found, 0, 1, limit=200)[0] + integrate.quad(found, 1, np.inf, limit=200)[0]
    assert power == pytest.approx(wanted, abs=1e-6)


def test_smallest_detectable_by_simulation():
    d = smallest_detectable_difference(5, std=0.02)
    draws = np.random.default_rng(0).normal(d, 0.02, size=(20000, 5))
    t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / 5**0.5)
    assert (np.abs(t) > stats.t.ppf(0.975, 4)).mean() == pytest.approx(0.8, abs=0.01)


def test_smallest_detectable_scales_with_the_spread_and_falls_with_seeds():
    values = [smallest_detectable_difference(n, 1.0) for n in range(2, 40)]
    assert all(later < earlier for earlier, later in pairwise(values))
    assert smallest_detectable_difference(4, 0.5) == pytest.approx(0.5 * smallest_detectable_difference(4, 1.0))
    # For many pairs (z.975 + z.8) / √n = (1.95996 + 0.84162) / 100.
    assert smallest_detectable_difference(10_000, 1.0) == pytest.approx(0.0280158, abs=1e-5)
    with pytest.raises(ValueError, match="n of at least 2"):
        smallest_detectable_difference(1, 1.0)


def test_bootstrap_of_a_mean_is_near_its_normal_interval():
    values = np.random.default_rng(1).normal(5.0, 2.0, size=400)
    found = bootstrap_ci(lambda rows: values[rows].mean(), 400, n_resamples=2000, seed=3)
    half = 1.96 * values.std() / 20
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)
    assert found.n_resamples == 2000


def test_bootstrap_repeats_by_seed():
    values = np.arange(20.0)

    def interval(seed):
        return bootstrap_ci(lambda rows: values[rows].mean(), 20, 100, seed)

    assert interval(0) == interval(0)
    assert interval(0) != interval(1)


def test_bootstrap_draws_all_images_and_no_others():
    seen = []
    bootstrap_ci(lambda rows: float(seen.append(rows) or 0), 7, 200)
    assert seen[0].tolist() == list(range(7))  # the estimate
    assert all(len(rows) == 7 for rows in seen)
    assert set(np.concatenate(seen[1:])) == set(range(7))


def test_groups_are_drawn_whole():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    seen = []
    bootstrap_ci(lambda rows: float(seen.append(rows) or 0), 6, 200, groups=groups)
    for rows in seen[1:]:
        times = np.bincount(rows, minlength=6)
        for group in "abc":
            assert len(set(times[groups == group])) == 1  # every member as often as the others
        assert sum(times[[0, 1, 3]]) == 3  # as many groups as there are
    assert {len(rows) for rows in seen[1:]} > {6}


def test_groups_widen_the_interval_of_images_that_go_together():
    values = np.repeat(np.random.default_rng(0).normal(size=20), 25)
    groups = np.repeat(np.arange(20), 25)

    def width(**grouped):
        found = bootstrap_ci(lambda rows: values[rows].mean(), 500, 500, **grouped)
        return found.high - found.low

    # Twenty independent values, not five hundred: wider by √25.
    assert width(groups=groups) / width() == pytest.approx(5, rel=0.25)


def test_groups_of_one_image_are_the_plain_bootstrap():
    values = np.arange(30.0)
    plain = bootstrap_ci(lambda rows: values[rows].mean(), 30, 50)
    assert bootstrap_ci(lambda rows: values[rows].mean(), 30, 50, groups=np.arange(30)) == plain


def test_undefined_resamples_are_left_out_and_counted():
    true, pred = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])  # one unknown image: many resamples lack it
    found = bootstrap_ci(lambda rows: h_score(true[rows], pred[rows], unknown=1), 4, 400)
    assert found.estimate == pytest.approx(2 * (2 / 3) / (5 / 3))
    assert found.n_resamples / 400 == pytest.approx(0.680, abs=0.07)  # 1 − (3/4)⁴ without it − (1/4)⁴ it alone
    assert 0 <= found.low <= found.high <= 1


def test_an_undefined_statistic_has_no_interval():
    found = bootstrap_ci(lambda rows: None, 4, 10)
    assert (found.estimate, found.low, found.high, found.n_resamples) == (None, None, None, 0)


def test_what_the_bootstrap_refuses():
    with pytest.raises(ValueError, match="at least one image"):
        bootstrap_ci(lambda rows: 0.0, 0)
    with pytest.raises(ValueError, match="one group for each of the 4 images"):
        bootstrap_ci(lambda rows: 0.0, 4, groups=[0, 1])


def test_the_interval_is_the_bootstraps():
    labels = np.arange(400) % 4
    predictions = np.where(np.arange(400) % 10 < 3, (labels + 1) % 4, labels)
    quick = accuracy_interval(predictions, labels)
    slow = bootstrap_ci(lambda rows: float((predictions == labels)[rows].mean()), 400, 4000)
    assert quick.estimate == slow.estimate == pytest.approx(0.7)
    # 0.7 ± 1.96·√(0.7·0.3/400) = 0.7 ± 0.0449
    assert (quick.low, quick.high) == (pytest.approx(0.655, abs=0.006), pytest.approx(0.745, abs=0.006))
    assert (slow.low, slow.high) == (pytest.approx(quick.low, abs=0.006), pytest.approx(quick.high, abs=0.006))


def test_groups_that_agree_within_widen_the_interval():
    groups = np.repeat(np.arange(20), 20)
    labels = np.zeros(400, dtype=np.int64)
    predictions = (groups % 2).astype(np.int64)
    alone, together = accuracy_interval(predictions, labels), accuracy_interval(predictions, labels, groups, 1000)
    assert alone.low is not None
    assert together.low is not None
    # standard errors √(¼/400) = 0.025 and √(¼/20) = 0.112
    assert 0.5 - alone.low == pytest.approx(1.96 * 0.025, abs=0.01)
    assert 0.5 - together.low == pytest.approx(1.96 * 0.112, abs=0.05)


def test_an_interval_without_images_is_undefined_and_without_errors_has_no_width():
    assert accuracy_interval(np.array([]), np.array([])).estimate is None
    sure = accuracy_interval(np.ones(5), np.ones(5))
    assert (sure.estimate, sure.low, sure.high) == (1, 1, 1)
    with pytest.raises(ValueError, match="must pair up"):
        accuracy_interval(np.ones(5), np.ones(4))
