import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.probes.unknown_share import unknown_share


def clusters(n_clusters: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Tight clusters along the axes: features and the cluster of each row."""
    number = np.repeat(np.arange(n_clusters), each)
    noise = np.random.default_rng(0).normal(0, 0.01, (len(number), n_clusters))
    return np.eye(n_clusters)[number] + noise, number


def test_the_estimate_is_the_share_that_was_rejected() -> None:
    features, number = clusters(6, 10)
    found = unknown_share(features, number < 2, n_classes=2)
    assert found.estimate == pytest.approx(1 / 3)
    assert found.low < 1 / 3 < found.high


def test_the_interval_is_that_of_whole_clusters() -> None:
    # Six clusters of equal size, two of them rejected: a resample's share is Binomial(6, 1/3) / 6. P(0) = (2/3)^6 =
    # .088, P(≥ 5) = 13/729 = .018, P(≥ 4) = 73/729 = .100: the 2.5 % quantile is 0 and the 97.5 % quantile is 4/6.
    features, number = clusters(6, 50)
    found = unknown_share(features, number < 2, n_classes=2, resamples=20000)
    assert (found.low, found.high) == (0.0, pytest.approx(4 / 6))


def test_more_images_of_the_same_clusters_do_not_narrow_it() -> None:
    few, many = (unknown_share(*_halves(each), n_classes=2) for each in (5, 100))
    assert many.high - many.low == pytest.approx(few.high - few.low, abs=0.05)


def _halves(each: int) -> tuple[np.ndarray, np.ndarray]:
    features, number = clusters(6, each)
    return features, number < 3


@pytest.mark.parametrize("everything", [False, True])
def test_where_all_agree_the_exact_bound_stands_in(everything: bool) -> None:
    features, number = clusters(6, 10)
    found = unknown_share(features, np.full(len(number), everything), n_classes=2)
    bound = 1 - 0.05 ** (1 / 6)  # .393
    expected = (1 - bound, 1.0) if everything else (0.0, bound)
    assert (found.low, found.high) == pytest.approx(expected)


def test_fewer_different_images_than_clusters() -> None:
    found = unknown_share(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([True, True, False]), n_classes=9)
    assert found.estimate == pytest.approx(2 / 3)


@settings(max_examples=20)
@given(st.integers(0, 2**63 - 1), st.integers(0, 30))
def test_the_interval_holds_the_estimate(seed: int, rejected: int) -> None:
    features, _ = clusters(6, 5)
    found = unknown_share(features, np.arange(30) < rejected, n_classes=1, seed=seed, resamples=300)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_of_very_many_images_a_sample_is_clustered_but_all_are_counted() -> None:
    features, number = clusters(4, 2000)
    rejected = (number == 3) | (np.arange(8000) == 0)
    found = unknown_share(features, rejected, n_classes=1, resamples=100)
    assert found.estimate == 2001 / 8000
