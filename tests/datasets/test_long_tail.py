"""Long tails: their sizes, by hand and as published, and which images make them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.datasets.long_tail import KINDS, tail_counts, tail_rows, tail_shape
from uda.errors import UserError


def test_sizes_are_those_of_the_published_cifar10_tail() -> None:
    # Cao et al., NeurIPS 2019: CIFAR-10 at ratio 100 has 12,406 training images; 5000 · 0.01^(i/9), cut off.
    counts = tail_counts(np.full(10, 5000), 100, "exponential")
    assert counts.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert counts.sum() == 12406
    assert tail_counts(np.full(100, 500), 100, "exponential").sum() == 10847  # CIFAR-100


def test_shapes_by_hand() -> None:
    assert tail_shape(3, 100, "exponential").tolist() == pytest.approx([1, 0.1, 0.01])
    assert tail_shape(4, 10, "step").tolist() == [1, 1, 0.1, 0.1]
    assert tail_shape(5, 10, "step").tolist() == [1, 1, 1, 0.1, 0.1]
    assert tail_shape(1, 10, "exponential").tolist() == [1]
    assert tail_counts(np.full(2, 30), 10, "exponential").tolist() == [30, 3]  # 0.1 · 30 is 3, whatever binary says


def test_the_largest_class_is_as_large_as_all_others_allow() -> None:
    # Shares 1, 0.1, 0.01: 20 of the second would allow 200 of the first, the third's 1 allows 100.
    assert tail_counts(np.array([150, 20, 1]), 100, "exponential").tolist() == [100, 10, 1]
    assert tail_counts(np.array([7, 3, 5]), 1, "step").tolist() == [3, 3, 3]  # ratio 1 is balanced


@pytest.mark.parametrize(("counts", "ratio", "words"), [([30, 30], 31, "30 or less"), ([5, 0], 2, "no image")])
def test_a_class_without_images_is_refused(counts: list[int], ratio: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tail_counts(np.array(counts), ratio, "exponential")
    with pytest.raises(UserError, match="1 or more"):
        tail_shape(3, 0.5, "step")


@given(st.integers(2, 6), st.integers(8, 30), st.floats(1, 8), st.sampled_from(KINDS), st.integers(0, 9), st.booleans())
def test_rows_make_the_tail_and_nothing_else(
    classes: int, each: int, ratio: float, kind: str, seed: int, shuffled: bool
) -> None:
    labels = np.repeat(np.arange(classes), each)
    labels = np.insert(labels[np.random.default_rng(seed).permutation(len(labels))], 3, -1)
    rows = tail_rows(labels, ratio, kind, seed, shuffled)  # type: ignore[arg-type]
    assert (np.diff(rows) > 0).all()
    assert (labels[rows] >= 0).all()
    found = np.bincount(labels[rows], minlength=classes)
    wanted = tail_counts(np.full(classes, each), ratio, kind)  # type: ignore[arg-type]
    assert sorted(found) == sorted(wanted)
    assert shuffled or found.tolist() == wanted.tolist()
    smaller = tail_rows(labels, max(1.0, ratio / 2), kind, seed, shuffled)  # type: ignore[arg-type]
    assert set(rows) <= set(smaller)


def test_the_seed_decides_which_images_and_the_shuffled_order() -> None:
    labels = np.tile(np.arange(10), 40)
    first, again, other = (tail_rows(labels, 10, "exponential", seed) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()
    orders = [np.argsort(-np.bincount(labels[tail_rows(labels, 10, "exponential", s, True)])) for s in range(4)]
    assert len({tuple(order) for order in orders}) == 4
