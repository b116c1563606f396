import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from uda.metrics import (
    adaptive_calibration_error,
    brier_score,
    calibration_intervals,
    calibration_metrics,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)

FIGURES = (expected_calibration_error, adaptive_calibration_error, brier_score, negative_log_likelihood)
P = [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]
Y = [0, 1, 1, 1]

rows = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(-1, 2)), min_size=1, max_size=40)


def probabilities(drawn):
    counts = np.array([[a + 1, b + 1, 5] for a, b, _ in drawn], dtype=float)
    return counts / counts.sum(axis=1, keepdims=True), np.array([label for *_, label in drawn])


def test_expected_calibration_error_by_hand():
    # Two bins: all confidences .9 .8 .6 .7 lie in (.5, 1]: |3/4 − .75| = 0.
    assert expected_calibration_error(P, Y, bins=2) == pytest.approx(0.0, abs=1e-12)
    # Four bins: (.5, .75] holds .6 .7, both right: |1 − .65|; (.75, 1] holds .9 .8, one right: |.5 − .85|.
    assert expected_calibration_error(P, Y, bins=4) == pytest.approx(0.35)


def test_fifteen_bins_are_the_default():
    assert expected_calibration_error(P, Y) == expected_calibration_error(P, Y, bins=15)
    # .9 .8 .6 .7 fall into different fifteenths: the mean of .1 .8 .4 .3.
    assert expected_calibration_error(P, Y) == pytest.approx(0.4)


def test_adaptive_calibration_error_by_hand():
    # Two groups of two: .6 .7 both right |1 − .65|, .8 .9 one right |.5 − .85|.
    assert adaptive_calibration_error(P, Y, bins=2) == pytest.approx(0.35)
    # One group: |3/4 − .75|.
    assert adaptive_calibration_error(P, Y, bins=1) == pytest.approx(0.0, abs=1e-12)


def test_reliability_bins_of_equal_width():
    bins = reliability_bins(P, Y, bins=4)
    assert [b.count for b in bins] == [0, 0, 2, 2]
    assert [b.lower for b in bins] == [0, 0.25, 0.5, 0.75]
    assert bins[0].accuracy is None
    assert bins[0].confidence is None
    assert bins[3].accuracy == 0.5
    assert bins[3].confidence == pytest.approx(0.85)


def test_a_confidence_on_a_border_belongs_to_the_lower_bin():
    assert [b.count for b in reliability_bins([[0.5, 0.5], [1.0, 0.0]], [0, 0], bins=2)] == [1, 1]


def test_adaptive_bins_keep_equal_confidences_together():
    bins = reliability_bins([[1.0, 0.0]] * 3 + [[0.6, 0.4]], [0, 0, 1, 0], bins=2, adaptive=True)
    assert [(b.lower, b.upper, b.count) for b in bins] == [(0.6, 1.0, 4)]
    bins = reliability_bins([[1.0, 0.0]] * 2 + [[0.6, 0.4]] * 2, [0, 0, 1, 0], bins=2, adaptive=True)
    assert [(b.lower, b.upper, b.count) for b in bins] == [(0.6, 0.6, 2), (1.0, 1.0, 2)]


@given(st.integers(1, 60), st.integers(1, 20))
def test_adaptive_bins_differ_by_at_most_one_image(n, bins):
    confidence = np.linspace(0.55, 0.95, n)
    found = reliability_bins(np.c_[confidence, 1 - confidence], np.zeros(n), bins, adaptive=True)
    counts = [b.count for b in found]
    assert sum(counts) == n
    assert max(counts) - min(counts) <= 1


def test_brier_score_by_hand():
    # Two classes: 2·(1 − p(label))²: .02, 1.28, .32, .18.
    assert brier_score(P, Y) == pytest.approx(1.8 / 4)
    assert brier_score([[0.0, 1.0]], [0]) == 2.0


def test_negative_log_likelihood_by_hand():
    assert negative_log_likelihood(P, Y) == pytest.approx(-np.log(0.9 * 0.2 * 0.6 * 0.7) / 4)


def test_a_probability_of_zero_costs_a_finite_amount():
    assert negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(87.3365, abs=1e-3)  # −log 2⁻¹²⁶


@given(rows)
def test_brier_and_likelihood_equal_scikit_learn(drawn):
    p, y = probabilities(drawn)
    if (y < 0).all():
        assert brier_score(p, y) is None
        return
    seen = y >= 0
    assert negative_log_likelihood(p, y) == pytest.approx(log_loss(y[seen], p[seen], labels=[0, 1, 2]))
    one = p[:, 0]  # scikit-learn's binary score counts one of the two equal squares
    binary = brier_score(np.c_[1 - one, one], np.where(seen, y == 0, -1))
    assert binary == pytest.approx(2 * brier_score_loss((y == 0)[seen], one[seen], pos_label=True))


@given(rows, st.integers(1, 20))
def test_calibration_error_is_the_weighted_gap_of_every_bin(drawn, bins):
    p, y = probabilities(drawn)
    p, y = p[y >= 0], y[y >= 0]
    total = 0.0
    for b in range(bins):
        inside = (p.max(1) > np.linspace(0, 1, bins + 1)[b]) & (p.max(1) <= np.linspace(0, 1, bins + 1)[b + 1])
        total += abs((p.argmax(1) == y)[inside].sum() - p.max(1)[inside].sum())
    found = expected_calibration_error(p, y, bins)
    assert found is None if not len(y) else found == pytest.approx(total / len(y))


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(drawn, random):
    shuffled = random.sample(drawn, len(drawn))
    for figure in FIGURES:
        one, other = figure(*probabilities(drawn)), figure(*probabilities(shuffled))
        assert one == other or one == pytest.approx(other)


def test_unlabelled_images_are_left_out():
    for figure in FIGURES:
        assert figure([*P, [0.5, 0.5]], [*Y, -1]) == pytest.approx(figure(P, Y))
        assert figure(P, [-1] * 4) is None
    assert reliability_bins(P, [-1] * 4) == []


def test_takes_float32_tensors():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * 30
    labels = torch.arange(50) % 7
    for figure in FIGURES:
        assert figure(logits.softmax(1), labels) >= 0


def test_what_is_refused():
    for figure in FIGURES:
        with pytest.raises(ValueError, match="apply softmax"):
            figure([[3.0, -1.0]], [0])
        with pytest.raises(ValueError, match="labels go up to 2"):
            figure([[0.5, 0.5]], [2])
        with pytest.raises(ValueError, match="probabilities 1, labels 2"):
            figure([[0.5, 0.5]], [0, 1])
    with pytest.raises(ValueError, match="bins must be at least 1"):
        expected_calibration_error(P, Y, bins=0)


def test_all_figures_by_name():
    # Brier: twice the squares of .1 .8 .4 .3, a mean of 2 · 0.9 / 4. NLL: the mean of −log .9 .2 .6 .7.
    figures = calibration_metrics(P, Y, bins=4)
    expected = {"ece": 0.35, "adaptive_ece": 0.4, "brier": 0.45, "nll": -np.log([0.9, 0.2, 0.6, 0.7]).mean()}
    assert figures == pytest.approx(expected)
    assert set(calibration_metrics(P, [-1] * 4).values()) == {None}


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40))
def test_intervals_are_about_the_figures_themselves(seed, n):
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.ones(4), n), rng.integers(0, 4, n)
    found = calibration_intervals(probabilities, labels, bins=5, n_resamples=20)
    figures = calibration_metrics(probabilities, labels, bins=5)
    assert {name: interval.estimate for name, interval in found.items()} == pytest.approx(figures)
    assert all(0 <= interval.low <= interval.high for interval in found.values())


def test_interval_of_two_kinds_of_images():
    # All confidences are 0.8 and half of 100 images are right: the ECE is |0.5 − 0.8|. In a resample the share right is
    # binomial with n = 100 and p = 1/2, whose 2.5 and 97.5 per cent points are 0.40 and 0.60: an ECE of 0.40 to 0.20.
    probabilities, labels = np.tile([0.8, 0.2], (100, 1)), np.arange(100) % 2
    found = calibration_intervals(probabilities, labels, n_resamples=4000)["ece"]
    assert found.estimate == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((0.20, 0.40), abs=0.011)


def test_the_interval_of_copies_that_are_drawn_together_is_that_of_the_originals():
    rng = np.random.default_rng(0)
    given, labels = rng.dirichlet(np.ones(3), 30), rng.integers(0, 3, 30)
    copied = np.repeat(given, 4, axis=0), np.repeat(labels, 4)
    alone, together = (
        calibration_intervals(given, labels),
        calibration_intervals(*copied, groups=np.repeat(np.arange(30), 4)),
    )
    for name in ("ece", "brier", "nll"):  # as many images to each bin: ties may fall to another one among copies
        assert (together[name].low, together[name].high) == pytest.approx((alone[name].low, alone[name].high))
        assert calibration_intervals(*copied)[name].high < together[name].high


def test_certain_and_right_answers_have_intervals_without_width():
    found = calibration_intervals(np.eye(3), np.arange(3), n_resamples=50)
    assert {(interval.low, interval.high) for interval in found.values()} == {(0.0, 0.0)}
