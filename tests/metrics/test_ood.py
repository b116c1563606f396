import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from uda.metrics import aupr, auroc, auroc_interval, fpr_at_tpr, macro_auroc, ood_metrics, oscr

# Few distinct values, so that ties abound.
scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=25)
known = st.lists(st.tuples(st.booleans(), st.integers(-4, 4).map(float)), min_size=1, max_size=25)
RISING = [lambda x: 3 * x - 7, np.exp, lambda x: x**3, np.arctan]


def stacked(negatives, positives):
    return np.r_[np.zeros(len(negatives)), np.ones(len(positives))], np.r_[negatives, positives]


def swept_oscr(correct, known_scores, unknown_scores):
    """The definition itself: walk the threshold over every score, join the points by straight lines."""
    correct, known_scores, unknown_scores = map(np.asarray, (correct, known_scores, unknown_scores))
    xs, ys = [0.0], [0.0]
    for t in np.unique(np.r_[known_scores, unknown_scores]):
        xs.append((unknown_scores <= t).mean())
        ys.append((correct & (known_scores <= t)).mean())
    return np.trapezoid(ys, xs) if hasattr(np, "trapezoid") else np.trapz(ys, xs)


def test_auroc_by_hand():
    # Pairs (known, unknown): .3 beats .1 and .2, ties .3; .1 ties .1 and loses two: (2.5 + .5) / 6.
    assert auroc([0.1, 0.2, 0.3], [0.3, 0.1]) == pytest.approx(3 / 6)
    assert auroc([0, 1], [2, 3]) == 1.0
    assert auroc([2, 3], [0, 1]) == 0.0
    assert auroc([1, 1], [1]) == 0.5


def test_scores_outside_the_unit_interval_and_infinite_ones_are_ranked():
    assert auroc([-100, 5], [7, 900]) == 1.0
    assert auroc([-np.inf, 1], [np.inf, 1]) == pytest.approx(3.5 / 4)
    assert aupr([0, 1], [np.inf, 3]) == 1.0


@given(scores, scores)
def test_auroc_equals_scikit_learn(a, b):
    assert auroc(a, b) == pytest.approx(roc_auc_score(*stacked(a, b)))


@given(scores, scores)
def test_auroc_of_swapped_arguments_is_the_complement(a, b):
    assert auroc(a, b) + auroc(b, a) == pytest.approx(1.0)


@given(known, scores, st.sampled_from(RISING))
def test_monotone_rescaling_changes_nothing(pairs, unknown, rise):
    correct, scored = (np.array(column) for column in zip(*pairs, strict=True))
    unknown = np.array(unknown)
    assert auroc(rise(scored), rise(unknown)) == auroc(scored, unknown)
    assert oscr(correct, rise(scored), rise(unknown)) == oscr(correct, scored, unknown)
    assert fpr_at_tpr(rise(scored), rise(unknown)) == fpr_at_tpr(scored, unknown)
    assert aupr(rise(scored), rise(unknown)) == aupr(scored, unknown)


def test_oscr_by_hand():
    # Right at .1 and .3, wrong at .2; unknown at .25 and .4. Of the 3 × 2 pairs, .1 is below both and .3 below one.
    assert oscr([True, False, True], [0.1, 0.2, 0.3], [0.25, 0.4]) == pytest.approx(3 / 6)


def test_oscr_keeps_predictions_with_their_scores():
    # Sorting only the scores would give the same figure to both.
    assert oscr([True, False], [0.1, 0.9], [0.5]) == 0.5
    assert oscr([True, False], [0.9, 0.1], [0.5]) == 0.0


def test_oscr_of_perfect_separation_is_closed_accuracy():
    assert oscr([1, 1, 0, 1], [1, 2, 3, 4], [5, 6]) == 0.75


def test_oscr_without_a_right_image_is_zero():
    assert oscr([False, False], [0.1, 0.2], [0.3]) == 0.0


@given(known, scores)
def test_oscr_equals_the_swept_curve(pairs, unknown):
    correct, scored = (np.array(column) for column in zip(*pairs, strict=True))
    assert oscr(correct, scored, unknown) == pytest.approx(swept_oscr(correct, scored, unknown))
    assert oscr(correct, scored, unknown) <= correct.mean() + 1e-12


@given(known, scores, st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(pairs, unknown, random):
    shuffled = random.sample(pairs, len(pairs))
    (c1, s1), (c2, s2) = (zip(*rows, strict=True) for rows in (pairs, shuffled))
    assert oscr(c1, s1, unknown) == oscr(c2, s2, unknown)
    assert auroc(s1, unknown) == auroc(s2, unknown)
    assert fpr_at_tpr(s1, unknown) == fpr_at_tpr(s2, unknown)
    assert aupr(s1, unknown) == aupr(s2, unknown)


def test_aupr_by_hand():
    # Finding unknown from the top: .9 out (precision 1), .8 in, .7 out (2/3): (1 + 2/3) / 2.
    assert aupr([0.8], [0.9, 0.7]) == pytest.approx(5 / 6)
    # Finding known from the bottom: .7 out, then .8 in at precision 1/2.
    assert aupr([0.8], [0.9, 0.7], positive="in") == pytest.approx(1 / 2)


@given(scores, scores)
def test_aupr_equals_scikit_learn_on_the_scores_themselves(a, b):
    assert aupr(a, b) == pytest.approx(average_precision_score(*stacked(a, b)))
    assert aupr(a, b, positive="in") == pytest.approx(average_precision_score(*stacked(-np.array(b), -np.array(a))))


def test_fpr_by_hand_in_both_conventions():
    inside, outside = [1, 2, 3, 4], [2.5, 3.5, 5, 6]
    # To find all unknown the threshold is 2.5: 3 and 4 are false alarms. To find 3 of 4 it is 3.5: only 4 is.
    assert fpr_at_tpr(inside, outside, tpr=1.0) == 0.5
    assert fpr_at_tpr(inside, outside, tpr=0.75) == 0.25
    # To keep all known the threshold is 4: 2.5 and 3.5 pass for known. To keep 2 of 4 it is 2: none does.
    assert fpr_at_tpr(inside, outside, tpr=1.0, positive="in") == 0.5
    assert fpr_at_tpr(inside, outside, tpr=0.5, positive="in") == 0.0


def test_the_two_conventions_differ():
    inside, outside = [0, 0, 0, 9], [1, 1, 1, 1]
    assert fpr_at_tpr(inside, outside) == 0.25
    assert fpr_at_tpr(inside, outside, positive="in") == 1.0


def test_fpr_counts_ties_as_found():
    assert fpr_at_tpr([1, 1, 0], [1, 1]) == pytest.approx(2 / 3)
    assert fpr_at_tpr([1, 1], [1, 1, 2], positive="in") == pytest.approx(2 / 3)


def test_all_figures_by_name():
    # The pair in which the conventions differ. Of the 16 pairs unknown wins 12. From the top: one known, then the four
    # unknown, 4 of 5; from the bottom: three known, then the four unknown, the last known making it 4 of 8.
    figures = ood_metrics([0, 0, 0, 9], [1, 1, 1, 1])
    expected = {"auroc": 12 / 16, "aupr_in": 7 / 8, "aupr_out": 4 / 5, "fpr95_in": 1.0, "fpr95_out": 0.25}
    assert figures == pytest.approx(expected)
    assert set(ood_metrics([], [1.0]).values()) == {None}


@given(scores, scores)
def test_swapping_sides_and_signs_swaps_the_conventions(a, b):
    first, second = ood_metrics(a, b), ood_metrics(-np.array(b), -np.array(a))
    swapped = {"auroc": "auroc", "aupr_in": "aupr_out", "fpr95_in": "fpr95_out"}
    for one, other in swapped.items():
        assert first[one] == pytest.approx(second[other])
        assert first[other] == pytest.approx(second[one])


def test_a_rate_that_floating_point_overshoots():
    # 0.55 × 100 = 55.00000000000001: fifty-five positives are enough, so the threshold is 46 and not 45.
    assert fpr_at_tpr([45.5], np.arange(1, 101), tpr=0.55) == 0.0


@given(scores, scores, st.sampled_from([0.05, 0.5, 0.8, 0.95, 1.0]))
def test_fpr_equals_the_roc_curve_of_scikit_learn(a, b, tpr):
    fprs, tprs, _ = roc_curve(*stacked(a, b), drop_intermediate=False)
    assert fpr_at_tpr(a, b, tpr) == pytest.approx(fprs[tprs >= tpr - 1e-9].min())
    fprs, tprs, _ = roc_curve(*stacked(-np.array(b), -np.array(a)), drop_intermediate=False)
    assert fpr_at_tpr(a, b, tpr, positive="in") == pytest.approx(fprs[tprs >= tpr - 1e-9].min())


def test_an_empty_side_is_undefined():
    for figure in (auroc, aupr, fpr_at_tpr):
        assert figure([], [1.0]) is None
        assert figure([1.0], []) is None
    assert oscr([], [], [1.0]) is None
    assert oscr([True], [1.0], []) is None


def test_the_interval_of_an_auroc_resamples_both_sides():
    rng = np.random.default_rng(0)
    low_scores, high_scores = rng.normal(0, 1, 80), rng.normal(1, 1, 120)
    found = auroc_interval(low_scores, high_scores, n_resamples=400, seed=1)
    assert found.estimate == auroc(low_scores, high_scores)
    assert found.low < found.estimate < found.high
    # Hanley and McNeil (Radiology 1982): with A = 0.76 and these numbers the standard error is about 0.034.
    assert (found.high - found.low) / 3.92 == pytest.approx(0.034, abs=0.007)
    assert auroc_interval(low_scores, high_scores, n_resamples=400, seed=1) == found
    assert auroc_interval([], [1.0]).estimate is None
    separate = auroc_interval([0.0, 0.1], [1.0, 2.0])
    assert (separate.low, separate.high) == (1.0, 1.0)


def test_the_interval_of_copies_that_are_drawn_together_is_that_of_the_originals():
    rng = np.random.default_rng(0)
    low_scores, high_scores = rng.normal(0, 1, 40), rng.normal(1, 1, 30)
    groups = {"known_groups": np.repeat(np.arange(40), 3), "unknown_groups": np.repeat(np.arange(30), 2)}
    copied = np.repeat(low_scores, 3), np.repeat(high_scores, 2)
    assert auroc_interval(*copied, **groups) == auroc_interval(low_scores, high_scores)
    assert auroc_interval(*copied).high < auroc_interval(*copied, **groups).high
    with pytest.raises(ValueError, match="one group for each of the 120 images"):
        auroc_interval(*copied, known_groups=np.arange(40))


def test_takes_tensors():
    assert auroc(torch.tensor([0.1, 0.2]), torch.tensor([0.3])) == 1.0
    assert oscr(torch.tensor([True, False]), torch.tensor([0.1, 0.2]), torch.tensor([0.3])) == 0.5


def test_what_is_refused():
    with pytest.raises(ValueError, match="unknown_scores holds NaN"):
        auroc([0.0], [float("nan")])
    with pytest.raises(ValueError, match="known_correct 1, known_scores 2"):
        oscr([True], [0.1, 0.2], [0.3])
    with pytest.raises(ValueError, match="truth values"):
        oscr([0, 3], [0.1, 0.2], [0.3])
    with pytest.raises(ValueError, match="tpr must be above 0"):
        fpr_at_tpr([0.0], [1.0], tpr=95)
    with pytest.raises(ValueError, match="'in' or 'out'"):
        fpr_at_tpr([0.0], [1.0], positive="id")


# macro AUROC


def test_macro_auroc_by_hand() -> None:
    # Class 0 against the rest: its two images (0.8, 0.4) win 2 + 1 of 4 comparisons with 0.1 and 0.5, 3/4. Class 1:
    # 0.7 beats all three others, 1. Class 2: 0.4 beats 0.1 and 0.2 and ties with 0.4, 2.5/3.
    scores = [[0.8, 0.1, 0.1], [0.4, 0.2, 0.4], [0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]
    assert macro_auroc(scores, [0, 0, 1, 2]) == pytest.approx((3 / 4 + 1 + 2.5 / 3) / 3)
    assert macro_auroc(scores, [0, 0, 1, -1]) == pytest.approx((1 + 1) / 2)  # class 2 has no image, one has no label


def test_macro_auroc_is_undefined_for_one_class_or_none() -> None:
    assert macro_auroc([[0.5, 0.5]], [0]) is None
    assert macro_auroc(np.empty((0, 2)), []) is None
    with pytest.raises(ValueError, match="only 2 columns"):
        macro_auroc([[0.5, 0.5]], [2])


@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(8, 40))
def test_macro_auroc_is_scikit_learns(seed: int, classes: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n)])
    scores = rng.integers(1, 6, (len(labels), classes)).astype(float)  # with ties
    scores /= scores.sum(1, keepdims=True)
    truth = labels[:, None] == np.arange(classes)
    assert macro_auroc(scores, labels) == pytest.approx(roc_auc_score(truth, scores, average="macro"))
