import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from uda.probes.discovery import discover


def blobs(sizes: list[int], dim: int = 32, noise: float = 0.15, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features around orthogonal directions, one a class, and their classes; lengths differ."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.eye(dim)[labels] + noise * rng.normal(size=(len(labels), dim)) / np.sqrt(dim) * 3
    order = rng.permutation(len(labels))
    return (rows * rng.uniform(0.5, 5, (len(labels), 1)))[order].astype(np.float32), labels[order]


@pytest.mark.parametrize("sizes", [[30, 20], [12, 40, 25], [10, 20, 30, 40, 50, 15]])
def test_groups_are_the_classes_and_the_largest_comes_first(sizes: list[int]) -> None:
    features, labels = blobs(sizes)
    found = discover(features)
    assert normalized_mutual_info_score(labels, found.group) == pytest.approx(1)
    assert found.sizes.tolist() == sorted(sizes, reverse=True)
    assert found.silhouette is not None
    assert found.silhouette > 0.3


@pytest.mark.parametrize("seed", range(5))
def test_one_class_is_not_divided(seed: int) -> None:
    features, _ = blobs([80], seed=seed)
    found = discover(features)
    assert found.sizes.tolist() == [80]
    assert found.silhouette is None


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_a_few_images_are_one_group(count: int) -> None:
    found = discover(np.random.default_rng(0).normal(size=(count, 8)))
    assert found.group.tolist() == [0] * count
    assert sorted(found.rank.tolist()) == list(range(count))
    assert found.silhouette is None


def test_copies_of_one_image_are_one_group() -> None:
    found = discover(np.ones((40, 8)))
    assert found.sizes.tolist() == [40]
    assert found.distance == pytest.approx(np.zeros(40), abs=1e-12)
    assert discover(np.zeros((40, 8))).sizes.tolist() == [40]  # features that have died


def test_two_images_many_times_each() -> None:
    rows = np.repeat(np.eye(8)[:2], [12, 18], axis=0)
    assert discover(rows).group.tolist() == [1] * 12 + [0] * 18


def test_distances_by_hand() -> None:
    # Nine along the first axis and three at 60° from it: too few to be divided. The mean direction of all twelve is
    # (9 + 3/2, 3·√3/2) / 12, at atan(2.598 / 10.5) = 13.9°: 1 − cos 13.9° = .0293 and 1 − cos 46.1° = .3066.
    rows = np.array([[1.0, 0.0]] * 9 + [[0.5, np.sqrt(3) / 2]] * 3)
    found = discover(rows, most=1)
    assert found.distance[:9] == pytest.approx(np.full(9, 0.0293), abs=1e-4)
    assert found.distance[9:] == pytest.approx(np.full(3, 0.3066), abs=1e-4)
    assert found.members(0).tolist()[:3] == [0, 1, 2]  # the nearest first, ties in their order
    assert found.members(0).tolist()[9:] == [9, 10, 11]


@given(st.integers(0, 60), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=40)
def test_every_image_has_a_place(count: int, dim: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    found = discover(rows)
    assert found.sizes.sum() == count
    assert (np.diff(found.sizes) <= 0).all()
    assert ((found.distance >= 0) & (found.distance <= 2)).all()
    for group in range(len(found.sizes)):
        members = found.members(group)
        assert (np.diff(found.distance[members]) >= 0).all()
        assert found.rank[members].tolist() == list(range(len(members)))
    again = discover(7 * rows)  # only the direction counts
    assert (again.group == found.group).all()


def test_the_order_of_images_does_not_change_the_groups() -> None:
    features, _ = blobs([30, 20, 15])
    order = np.random.default_rng(1).permutation(65)
    assert (discover(features[order]).group == discover(features).group[order]).all()


def test_many_images_take_a_bounded_time_and_the_same_groups() -> None:
    features, labels = blobs([9000, 6000, 5000], dim=64)
    start = time.process_time()
    found = discover(features, sample=300)
    assert time.process_time() - start < 3
    assert normalized_mutual_info_score(labels, found.group) > 0.99


def test_no_more_groups_than_asked_for() -> None:
    features, _ = blobs([20] * 6)
    assert len(discover(features, most=3).sizes) <= 3


def test_features_of_no_use_are_refused() -> None:
    for rows in (np.ones(4), np.array([[1.0, np.nan]])):
        with pytest.raises(ValueError, match=r"finite and of two dimensions \(M, D\)"):
            discover(rows)
