import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.datasets.sampling import ClassBalanced, Shuffled, fewest_images, held_out, shuffled, spread, stratified
from uda.errors import UserError


@given(n=st.integers(1, 60), batch_size=st.integers(1, 90), seed=st.integers(0, 100))
def test_every_row_exactly_once_an_epoch(n: int, batch_size: int, seed: int) -> None:
    sampler = Shuffled(n, batch_size, seed, "source")
    steps = -(-3 * n // batch_size)  # enough for three epochs
    batches = [sampler(step) for step in range(steps)]
    assert all(len(rows) == batch_size and rows.dtype == np.int64 for rows in batches)
    drawn = np.concatenate(batches)
    for epoch in range(3):
        assert (np.sort(drawn[epoch * n : (epoch + 1) * n]) == np.arange(n)).all()


@given(n=st.integers(1, 60), batch_size=st.integers(1, 90), steps=st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_a_step_does_not_depend_on_those_before(n: int, batch_size: int, steps: list[int]) -> None:
    sampler = Shuffled(n, batch_size, 3, "source")  # asked in any order, as after a resume
    for step in steps:
        assert (sampler(step) == shuffled(n, batch_size, 3, step, "source")).all()


def test_epochs_seeds_and_purposes_have_orders_of_their_own() -> None:
    orders = [
        shuffled(50, 50, seed, step, purpose)
        for seed, step, purpose in [(0, 0, "source"), (0, 1, "source"), (1, 0, "source"), (0, 0, "target")]
    ]
    assert len({order.tobytes() for order in orders}) == 4


def test_a_batch_may_hold_several_epochs() -> None:
    rows = shuffled(3, 8, 0, 0, "source")  # two epochs of 3 and 2 rows of the third
    assert (np.bincount(rows[:6], minlength=3) == 2).all()
    assert len(set(rows[6:])) == 2


def test_a_step_of_a_million_rows_is_cheap() -> None:
    sampler = Shuffled(1_000_000, 256, 0, "target")
    sampler(0)
    start = time.perf_counter()
    for step in range(1, 101):
        sampler(step)
    assert time.perf_counter() - start < 0.5  # 5 ms a step; to draw the permutation at each step would take 100


def test_classes_are_drawn_equally_often_whatever_their_size() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10 + [-1] * 500)
    order = np.random.default_rng(0).permutation(len(labels))
    labels = labels[order]
    sampler = ClassBalanced(labels, 300, 0, "source")
    rows = np.concatenate([sampler(step) for step in range(100)])
    counts = np.bincount(labels[rows], minlength=3)  # fails on −1, so those were never drawn
    # chi-square with 2 degrees of freedom: the 99.9% point is 13.8
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 13.8
    # within class 2 each of 10 rows 1,000 times: 9 degrees of freedom, 99.9% point 27.9
    small = np.flatnonzero(labels == 2)
    within = np.array([(rows == row).sum() for row in small])
    assert ((within - 1000) ** 2 / 1000).sum() < 27.9
    # class 0: 900 rows, 11.1 times each: 899 degrees of freedom, standard deviation √1798 = 42
    within = np.bincount(rows, minlength=len(labels))[labels == 0]
    assert ((within - within.mean()) ** 2 / within.mean()).sum() < 899 + 5 * 42


@given(labels=st.lists(st.integers(-1, 5), min_size=1, max_size=40), step=st.integers(0, 1000))
def test_class_balanced_is_a_function_of_the_step(labels: list[int], step: int) -> None:
    array = np.array(labels)
    if (array < 0).all():
        with pytest.raises(UserError, match="no labelled images to draw from for 'source'"):
            ClassBalanced(array, 4, 0, "source")
        return
    sampler = ClassBalanced(array, 16, 0, "source")
    sampler(step + 1)
    rows = sampler(step)
    assert rows.dtype == np.int64
    assert rows.shape == (16,)
    assert (array[rows] >= 0).all()
    assert (rows == ClassBalanced(array, 16, 0, "source")(step)).all()


def test_class_balanced_reaches_every_row_of_gapped_labels() -> None:
    labels = np.array([7, -1, 3, 3, 7, 7])
    rows = ClassBalanced(labels, 400, 1, "source")(0)
    assert set(rows) == {0, 2, 3, 4, 5}


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(UserError, match="no images to draw from for 'target'"):
        Shuffled(0, 4, 0, "target")
    with pytest.raises(UserError, match="batch size is 0"):
        Shuffled(4, 0, 0, "target")
    with pytest.raises(UserError, match="batch size is -1"):
        ClassBalanced(np.array([0, 1]), -1, 0, "source")


@pytest.mark.parametrize(
    ("n", "most", "rows"), [(5, 9, [0, 1, 2, 3, 4]), (5, 3, [0, 2, 4]), (101, 3, [0, 50, 100]), (0, 3, [])]
)
def test_spread_rows_reach_from_the_first_to_the_last(n: int, most: int, rows: list[int]) -> None:
    assert spread(n, most).tolist() == rows


def test_a_share_of_every_class_is_held_out() -> None:
    labels = np.array([0] * 20 + [1] * 4 + [2] + [-1] * 5)
    rows = held_out(labels, 0.25)
    # .25·20 = 5; .25·4 = 1; the only image of a class stays; unlabelled rows are not taken
    assert np.bincount(labels[rows], minlength=3).tolist() == [5, 1, 0]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert held_out(labels, 0.0).tolist() == []
    assert held_out(np.array([0, 0, 1, 1]), 0.5).tolist() == held_out(np.array([0, 0, 1, 1]), 0.5).tolist()
    assert len(held_out(np.array([0, 0, 1, 1]), 0.9)) == 2  # one of each class stays
    assert held_out(np.full(3, -1), 0.5).tolist() == []


@pytest.mark.parametrize(("share", "fewest"), [(0.5, 2), (0.3, 2), (0.2, 3), (0.1, 5), (0.01, 50)])
def test_so_many_images_a_class_are_needed_to_hold_one_out(share: float, fewest: int) -> None:
    assert fewest_images(share) == fewest
    assert [len(held_out(np.zeros(n, dtype=np.int64), share)) for n in (fewest - 1, fewest)] == [0, 1]


def test_a_sample_has_each_class_in_its_share() -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 20 + [-1] * 9)
    rows = stratified(labels, 9)
    # 4.5, 2.7, 1.8 → 4, 2, 1, and the two largest remainders: .8 and .7
    assert np.bincount(labels[rows]).tolist() == [4, 3, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert stratified(labels, 9).tolist() == rows.tolist()
    assert stratified(labels, None).tolist() == list(range(100))
    assert stratified(labels, 500).tolist() == list(range(100))


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=60), st.integers(1, 60))
def test_a_sample_has_as_many_as_asked_for_and_never_an_unlabelled_image(labels: list[int], most: int) -> None:
    given_labels = np.array(labels)
    rows = stratified(given_labels, most)
    assert len(rows) == min(most, int((given_labels >= 0).sum()))
    assert (given_labels[rows] >= 0).all()
    for number in range(5):
        exact = (given_labels == number).sum() * most / max(1, (given_labels >= 0).sum())
        assert abs((given_labels[rows] == number).sum() - exact) < 1 or most >= (given_labels >= 0).sum()
