import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.errors import UserError
from uda.probes.low_label import LabelBudget, labelled_rows, parse_labels

some_labels = st.lists(st.integers(-1, 4), min_size=1, max_size=80).filter(lambda labels: max(labels) >= 0)


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        ("10%", 0.1),
        ("1 %", 0.01),
        ("100%", 1.0),
        ("0.5%", 0.005),
        ("0.1", 0.1),
        (".25", 0.25),
        ("1.0", 1.0),
        ("1e-2", 0.01),
    ],
)
def test_shares(text: str, fraction: float) -> None:
    budget = parse_labels(text)
    assert budget.count is None
    assert budget.fraction == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("text", "count"), [("40 labels", 40), ("40", 40), ("  40   labels ", 40), ("1 label", 1), ("250labels", 250)]
)
def test_counts(text: str, count: int) -> None:
    assert parse_labels(text) == LabelBudget(count=count)


@pytest.mark.parametrize("text", ["", "ten", "-10%", "10 %%", "4 per class", "nan", "inf", "0,1", "10% labels"])
def test_other_text_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UserError, match="neither a share nor a number of labels; write for example --labels 10%"):
        parse_labels(text)


@pytest.mark.parametrize("text", ["0%", "101%", "1.5", "0.0"])
def test_a_share_outside_zero_to_one_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"--labels '{text}' is not above 0 and at most 100%"):
        parse_labels(text)


def test_a_bare_one_and_no_labels_are_refused() -> None:
    with pytest.raises(UserError, match="--labels 1 could mean one label or all"):
        parse_labels("1")
    with pytest.raises(UserError, match="'0 labels' keeps no label"):
        parse_labels("0 labels")


def test_ten_percent_of_balanced_classes_is_a_tenth_of_each() -> None:
    labels = np.arange(500) % 5
    rows = labelled_rows(labels, 0.1, seed=0)
    assert np.bincount(labels[rows]).tolist() == [10] * 5
    assert np.array_equal(rows, np.unique(rows))
    assert labelled_rows(labels, 0.01, seed=0).shape == (5,)  # 1 % of 500
    assert labelled_rows(labels, 0.001, seed=0).shape == (5,)  # 0.5 images would be none: one of each class


def test_small_classes_give_all_they_have_and_the_others_make_up_for_it() -> None:
    # 60 % of 20 images are 12; the class of 2 gives both, the other two five each.
    labels = np.repeat([0, 1, 2], [2, 9, 9])
    assert np.bincount(labels[labelled_rows(labels, 0.6, seed=3)]).tolist() == [2, 5, 5]
    # 13 labels: one of the two large classes, as drawn, gives a sixth
    assert sorted(np.bincount(labels[labelled_rows(labels, LabelBudget(count=13), seed=3)]).tolist()) == [2, 5, 6]


@given(some_labels, st.floats(0.001, 1), st.integers(0, 1000))
def test_every_class_is_there_and_no_unlabelled_row(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels)
    rows = labelled_rows(array, fraction, seed)
    known = array[array >= 0]
    classes, available = np.unique(known, return_counts=True)
    counts = np.array([(array[rows] == c).sum() for c in classes])
    assert (array[rows] >= 0).all()
    assert counts.min() >= 1
    assert len(rows) == len(set(rows.tolist())) == max(len(classes), int(fraction * len(known) + 0.5))
    exhausted = counts == available
    assert (counts[~exhausted] >= counts.max() - 1).all()  # equal but for one, unless a class has no more


@given(some_labels, st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 1000))
def test_a_smaller_share_is_part_of_a_larger_one(labels: list[int], a: float, b: float, seed: int) -> None:
    small, large = (set(labelled_rows(labels, share, seed).tolist()) for share in sorted((a, b)))
    assert small <= large


def test_all_of_them_is_every_labelled_row() -> None:
    assert labelled_rows([1, -1, 0, 0, 0], 1.0, seed=9).tolist() == [0, 2, 3, 4]


def test_rows_depend_on_the_seed_alone() -> None:
    labels = np.arange(1000) % 10
    first = labelled_rows(labels, 0.1, seed=0)
    assert np.array_equal(first, labelled_rows(labels.copy(), parse_labels("10%"), seed=0))
    assert not np.array_equal(first, labelled_rows(labels, 0.1, seed=1))


def test_every_image_of_a_class_is_as_likely() -> None:
    labels = np.repeat([0, 1], 10)
    taken = np.concatenate([labelled_rows(labels, 0.2, seed) for seed in range(1000)])
    # 2 of 10 in each class: each image 200 times in 1,000, give or take four standard deviations of √(1000·0.2·0.8)
    assert np.abs(np.bincount(taken, minlength=20) - 200).max() < 4 * 12.7


def test_budgets_that_cannot_be_met() -> None:
    labels = np.arange(50) % 5
    with pytest.raises(UserError, match="asks for 51 labels, but only 50 images have one"):
        labelled_rows(labels, LabelBudget(count=51), 0)
    with pytest.raises(UserError, match="asks for 4 labels for 5 classes; ask for at least 5"):
        labelled_rows(labels, LabelBudget(count=4), 0)
    with pytest.raises(UserError, match=r"fraction of 1.5 of the labels is not in \(0, 1\]"):
        labelled_rows(labels, 1.5, 0)
    with pytest.raises(UserError, match="no image has a label to keep"):
        labelled_rows([-1, -1], 0.5, 0)
