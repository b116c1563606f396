"""Distances of two sets of images, by hand and against torch-fidelity's own on the same features."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.metrics import (
    effective_classes,
    frechet_distance,
    generation,
    kernel_distance,
    kid,
    kid_interval,
    precision_recall,
)


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def drawn(n: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)) + shift


def test_frechet_distance_by_hand() -> None:
    # means 1 and 7, variances (n − 1) 2 and 18: 36 + 2 + 18 − 2·√36 = 44
    assert frechet_distance(column(0, 2), column(4, 10)) == pytest.approx(44)
    # in two dimensions that vary together: Σ₁ = 2·[[1, 1], [1, 1]], Σ₂ = 4·Σ₁, so the root of Σ₁Σ₂ is 2·Σ₁:
    # means (1, 1) and (2, 2) give 2; traces 4 + 16 − 2·8 = 4
    assert frechet_distance([[0, 0], [2, 2]], [[0, 0], [4, 4]]) == pytest.approx(6)


def test_frechet_distance_is_zero_to_itself_whatever_the_order() -> None:
    x = drawn(9, 12, 0)  # fewer images than dimensions: the covariance has no inverse
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_by_hand() -> None:
    # kernel (xy + 1)³ in one dimension. Real 0, 1: k(0, 1) = 1. Generated 1, 2: k(1, 2) = 27.
    # Across: k(0, 1) + k(0, 2) + k(1, 1) + k(1, 2) = 1 + 1 + 8 + 27 = 37, mean 9.25. 1 + 27 − 18.5 = 9.5
    assert kernel_distance(column(0, 1), column(1, 2)) == pytest.approx(9.5)
    # two dimensions halve the product: k((2, 0), (1, 5)) = (2/2 + 1)³ = 8, and k(0, ·) = 1
    # within: k((2,0), (0,0)) = 1 and k((1,5), (0,0)) = 1; across: 8 + 1 + 1 + 1 = 11. 1 + 1 − 2·11/4 = −3.5
    assert kernel_distance([[2, 0], [0, 0]], [[1, 5], [0, 0]]) == pytest.approx(-3.5)


def test_the_interval_is_of_disjoint_parts() -> None:
    # real images all 0, generated ones all 1: every part has 1 + 8 − 2·1 = 7, so nothing varies
    found = kid_interval(np.zeros((20, 1)), np.ones((23, 1)))
    assert found is not None
    assert found.mean == pytest.approx(7)
    assert found.ci95 == pytest.approx((7, 7))
    # 0, 0, 1, 1 on both sides in two parts of two, each image once: the parts are 00 and 11, or 01 twice.
    # Alike: (0 + 0)/2, for 8 + 8 - 16 = 0; crosswise 7; 01 against 01: 1 + 1 - 2·11/4 = -3.5; 00, 11 against 01: 0
    few = kid_interval(column(0, 0, 1, 1), column(0, 0, 1, 1), parts=2)
    assert few is not None
    assert min(abs(few.mean - possible) for possible in (0, 7, -3.5)) < 1e-9


def test_the_interval_holds_zero_for_images_of_one_kind() -> None:
    inside = 0
    for seed in range(200):
        found = kid_interval(drawn(60, 3, 2 * seed), drawn(60, 3, 2 * seed + 1))
        assert found is not None
        assert found.ci95 is not None
        inside += found.ci95[0] <= 0 <= found.ci95[1]
    assert 180 <= inside <= 199  # 190 on average, standard deviation 3.1


def test_the_interval_leaves_zero_out_for_images_of_another_kind() -> None:
    found = kid_interval(drawn(100, 3, 0), drawn(100, 3, 1, shift=1.0))
    assert found is not None
    assert found.ci95 is not None
    assert found.ci95[0] > 0


def test_too_few_images_have_no_figure() -> None:
    one, many = np.zeros((1, 2)), drawn(30, 2, 0)
    assert frechet_distance(one, many) is None
    assert kernel_distance(many, one) is None
    assert kid(many, many, size=31) is None
    assert kid_interval(many, drawn(19, 2, 1)) is None
    assert precision_recall(many, drawn(3, 2, 1)) == (None, None)
    assert effective_classes([], 3) is None


def test_features_of_two_extractors_are_refused() -> None:
    with pytest.raises(ValueError, match="one width"):
        frechet_distance(drawn(3, 2, 0), drawn(3, 4, 0))


def test_precision_and_recall_by_hand() -> None:
    # One neighbor. Real 0, 1, 2, 10 reach 1, 1, 1, 8; generated 3, 5, 30, 31 reach 2, 2, 1, 1.
    # Generated within real balls: 3 (edge of 2's), 5 (of 10's). Real within generated ones: 1 (edge of 3's), 2.
    # precision 2 of 4; recall 2 of 4. With 30 moved to 11 it lies in 10's ball and, reaching 6, covers 10
    real, fake = column(0, 1, 2, 10), column(3, 5, 30, 31)
    assert precision_recall(real, fake, neighbors=1) == (0.5, 0.5)
    assert precision_recall(real, column(3, 5, 11, 31), neighbors=1) == (0.75, 0.75)


@given(st.integers(0, 1000), st.integers(5, 12))
def test_precision_is_recall_with_the_sides_exchanged(seed: int, n: int) -> None:
    x, y = drawn(n, 2, seed), drawn(n + 2, 2, seed + 1, shift=0.5)
    precision, recall = precision_recall(x, y)
    assert precision_recall(y, x) == (recall, precision)


def test_distances_of_all_images_are_never_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(1000, 2, 0), drawn(1000, 2, 1)
    whole = precision_recall(x, y)
    monkeypatch.setattr(generation, "_BLOCK", 50)
    tracemalloc.start()
    in_blocks = precision_recall(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert in_blocks == whole
    assert peak < 1000 * 1000 * 8 / 2  # bytes of half of one matrix of distances


def test_effective_classes_by_hand() -> None:
    assert effective_classes([0, 1, 2, 3], 9) == pytest.approx(4)
    assert effective_classes([5, 5], 9) == pytest.approx(1)
    # a half, a quarter, a quarter: entropy 1.5 ln 2
    assert effective_classes([0, 0, 1, 2], 3) == pytest.approx(2**1.5)


# torch-fidelity on the same features


def test_torch_fidelity_has_the_same_frechet_distance() -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.metric_fid", reason="the extra gan brings torch-fidelity")
    x, y = drawn(80, 16, 0), 1.5 * drawn(70, 16, 1, shift=0.2)
    statistics = [theirs.fid_features_to_statistics(torch.from_numpy(side)) for side in (y, x)]
    known = theirs.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(x, y) == pytest.approx(known, rel=1e-9)


def test_torch_fidelity_has_the_same_kernel_distance() -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.metric_kid", reason="the extra gan brings torch-fidelity")
    x, y = drawn(50, 16, 0), drawn(60, 16, 1, shift=0.2)
    options = {"kid_subsets": 7, "kid_subset_size": 40, "rng_seed": 2020, "verbose": False}
    known = theirs.kid_features_to_metric(torch.from_numpy(y), torch.from_numpy(x), **options)
    found = kid(x, y, subsets=7, size=40)
    assert found is not None
    assert found.mean == pytest.approx(known["kernel_inception_distance_mean"], rel=1e-9)
    assert found.std == pytest.approx(known["kernel_inception_distance_std"], rel=1e-9)


def test_torch_fidelity_has_the_same_precision_and_recall() -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.metric_prc", reason="the extra gan brings torch-fidelity")
    x, y = drawn(50, 3, 0), drawn(60, 3, 1, shift=1.0)
    known = theirs.calculate_precision_recall_full(torch.from_numpy(y), torch.from_numpy(x))
    assert precision_recall(x, y) == pytest.approx(known, abs=1e-6)
    assert 0 < known[0] < 1
    assert 0 < known[1] < 1
