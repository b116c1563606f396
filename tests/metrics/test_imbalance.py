"""Figures in which every class counts the same, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from uda.metrics import SIGMA, balanced_parts, balancedness, class_accuracies, class_mean, frequency_groups


def test_accuracy_class_by_class() -> None:
    found = class_accuracies([0, 0, 0, 0, 2, 2, -1], [0, 0, 0, 1, 2, 0, 0], 4)
    assert found[[0, 2]].tolist() == [0.75, 0.5]
    assert np.isnan(found[[1, 3]]).all()
    assert class_mean(found) == 0.625
    assert class_mean([np.nan]) is None
    assert class_mean([]) is None


def test_groups_end_at_100_and_20_images() -> None:
    groups = frequency_groups([101, 100, 20, 19])
    assert {name: members.tolist() for name, members in groups.items()} == {
        "many": [True, False, False, False],
        "medium": [False, True, True, False],
        "few": [False, False, False, True],
    }


def test_what_each_image_adds_by_hand() -> None:
    # Four images, three of class 0 (two right) and one of class 5 (right): N ÷ (K·n) = 4/6 and 4/2.
    parts = balanced_parts([True, True, False, True], [0, 0, 0, 5])
    assert parts.tolist() == pytest.approx([2 / 3, 2 / 3, 0, 2])
    assert parts.mean() == pytest.approx((2 / 3 + 1) / 2)
    assert balanced_parts([], []).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_their_mean_is_scikit_learns_balanced_accuracy(pairs: list[tuple[int, int]]) -> None:
    true, pred = np.array(pairs).T
    wanted = np.mean([(pred[true == c] == c).mean() for c in np.unique(true)])
    assert balanced_parts(true == pred, true).mean() == pytest.approx(wanted)
    assert class_mean(class_accuracies(true, pred, 4)) == pytest.approx(wanted)
    if set(pred) <= set(true) and len(set(true)) > 1:  # scikit-learn warns of others
        assert balanced_accuracy_score(true, pred) == pytest.approx(wanted)


def test_the_scale_of_balancedness_is_the_one_that_is_documented() -> None:
    assert balancedness([0.9, 0.9 - SIGMA], SIGMA) == pytest.approx(np.exp(-1))
    assert SIGMA == 0.2
