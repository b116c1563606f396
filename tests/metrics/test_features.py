import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.metrics import alignment, balancedness, effective_rank, features, l2_normalize, uniformity


def random_features(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_alignment_by_hand():
    # Unit vectors at right angles are √2 apart, the second pair coincides: (2 + 0) / 2 squared, √2 / 2 not.
    a, b = [[1.0, 0.0], [0.0, 3.0]], [[0.0, 2.0], [0.0, 1.0]]
    assert alignment(a, b) == pytest.approx(1.0)
    assert alignment(a, b, alpha=1) == pytest.approx(math.sqrt(2) / 2)


def test_uniformity_by_hand():
    # Squared distances between (1,0), (0,1), (−1,0): 2, 2, 4.
    x = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    assert uniformity(x) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))
    assert uniformity(x, t=1) == pytest.approx(math.log((2 * math.exp(-2) + math.exp(-4)) / 3))


def test_uniformity_of_collapsed_features_is_zero():
    assert uniformity([[1.0, 2.0]] * 5) == pytest.approx(0.0, abs=1e-12)


def test_uniformity_equals_all_pairwise_distances_over_block_borders(monkeypatch):
    x = random_features(53, 6)
    expected = torch.pdist(F.normalize(torch.tensor(x), dim=1)).pow(2).mul(-2).exp().mean().log().item()
    assert uniformity(x) == pytest.approx(expected)
    for block in (1, 7, 26, 52, 53):
        monkeypatch.setattr(features, "_BLOCK", block)
        assert uniformity(x) == pytest.approx(expected)


@settings(max_examples=30)
@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 1000))
def test_feature_figures_ignore_order_and_rotation(n, d, seed):
    x, y = random_features(n, d, seed), random_features(n, d, seed + 1)
    turn = np.linalg.qr(random_features(d, d, seed + 2))[0]
    order = np.random.default_rng(seed).permutation(n)
    for figure in (uniformity, effective_rank):
        assert figure(x[order]) == pytest.approx(figure(x))
        assert figure(x @ turn) == pytest.approx(figure(x))
    assert alignment(x[order], y[order]) == pytest.approx(alignment(x, y))
    assert alignment(x @ turn, y @ turn) == pytest.approx(alignment(x, y))
    assert alignment(5 * x, y) == pytest.approx(alignment(x, y))
    assert uniformity(5 * x) == pytest.approx(uniformity(x))
    assert 0 <= alignment(x, y) <= 4 + 1e-12
    assert -8 - 1e-12 <= uniformity(x) <= 1e-12  # squared distances lie in [0, 4], t is 2


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_effective_rank_is_at_most_the_rank(n, d, seed):
    assert 1 - 1e-9 <= effective_rank(random_features(n, d, seed)) <= min(n, d) + 1e-9


def test_effective_rank_by_hand():
    assert effective_rank(np.eye(4)) == pytest.approx(4.0)
    assert effective_rank([[1.0, 2.0], [2.0, 4.0]]) == pytest.approx(1.0)
    # Singular values 3 and 1: p = 3/4, 1/4.
    assert effective_rank([[3.0, 0.0], [0.0, 1.0]]) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) + 0.25 * math.log(4))
    )
    assert effective_rank([[300.0, 0.0], [0.0, 100.0]]) == pytest.approx(effective_rank([[3.0, 0.0], [0.0, 1.0]]))


def test_balancedness_by_hand():
    # Pairs differ by .1, .3, .2; sigma .1: (e⁻¹ + e⁻³ + e⁻²) / 3.
    expected = (math.exp(-1) + math.exp(-3) + math.exp(-2)) / 3
    assert balancedness([0.5, 0.6, 0.8], sigma=0.1) == pytest.approx(expected)
    assert balancedness([50, 60, 80], sigma=10) == pytest.approx(expected)  # percent, sigma in percent


def test_balancedness_relates_to_the_mean_over_ordered_pairs_as_documented():
    a, sigma = np.array([0.2, 0.5, 0.9, 0.4]), 0.3
    everything = np.exp(-np.abs(a[:, None] - a[None]) / sigma).mean()
    assert (1 + 3 * balancedness(a, sigma)) / 4 == pytest.approx(everything)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10), st.floats(0.01, 10), st.randoms(use_true_random=False))
def test_balancedness_is_one_only_for_equal_classes_and_ignores_their_order(a, sigma, random):
    value = balancedness(a, sigma)
    assert 0 <= value <= 1
    assert value == pytest.approx(balancedness(random.sample(a, len(a)), sigma))
    assert balancedness([a[0]] * len(a), sigma) == 1.0
    assert balancedness(a, 2 * sigma) >= value


def test_too_little_is_undefined():
    assert alignment(np.zeros((0, 3)), np.zeros((0, 3))) is None
    assert uniformity([[1.0, 2.0]]) is None
    assert effective_rank(np.zeros((3, 2))) is None
    assert effective_rank(np.zeros((0, 2))) is None
    assert balancedness([0.5], sigma=1.0) is None


def test_a_row_of_zeros_stays_zeros():
    assert l2_normalize(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0.0, 0.0], [0.6, 0.8]]


def test_takes_tensors():
    x = torch.tensor(random_features(9, 4), dtype=torch.float32)
    assert type(effective_rank(x)) is float
    assert alignment(x, x) == 0.0


def test_what_is_refused():
    with pytest.raises(ValueError, match="pair row by row"):
        alignment(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="not finite"):
        uniformity([[np.inf, 0.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="two dimensions"):
        effective_rank([1.0, 2.0])
    with pytest.raises(ValueError, match="sigma must be positive"):
        balancedness([0.1, 0.2], sigma=0)
