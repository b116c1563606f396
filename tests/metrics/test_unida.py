import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, recall_score

from uda.metrics import (
    UNIDA_METRICS,
    class_recalls,
    closed_accuracy,
    h3_score,
    h_score,
    known_accuracy,
    per_class_accuracy,
    private_nmi,
    unida_metrics,
    universal_score,
    unknown_accuracy,
)

# Known classes 0 and 1, unknown 2. Recalls: class 0 3/4, class 1 1/2, unknown 1/2.
TRUE = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
PRED = [0, 0, 0, 1, 1, 2, 2, 2, 0, 1]
UNKNOWN = 2

pairs = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=40)


def columns(rows):
    true, pred = np.array(rows).T
    return true, pred


def test_recalls_by_hand():
    assert class_recalls(TRUE, PRED) == {0: 0.75, 1: 0.5, 2: 0.5}


def test_accuracies_by_hand():
    assert known_accuracy(TRUE, PRED, UNKNOWN) == 0.625  # (3/4 + 1/2) / 2; by images it would be 4/6
    assert unknown_accuracy(TRUE, PRED, UNKNOWN) == 0.5
    assert per_class_accuracy(TRUE, PRED, UNKNOWN) == pytest.approx(1.75 / 3)  # (3/4 + 1/2 + 1/2) / 3


def test_h_score_by_hand():
    assert h_score(TRUE, PRED, UNKNOWN) == pytest.approx(2 * 0.625 * 0.5 / 1.125)


def test_h3_score_by_hand():
    # 3 / (1/0.625 + 1/0.5 + 1/0.8) = 3 / (1.6 + 2 + 1.25)
    assert h3_score(TRUE, PRED, UNKNOWN, nmi=0.8) == pytest.approx(3 / 4.85)
    assert h3_score(TRUE, PRED, UNKNOWN, nmi=0.0) == 0.0
    assert h3_score(TRUE, PRED, UNKNOWN, nmi=None) is None


def test_closed_accuracy_weighs_images_and_not_classes():
    # Right among the six known: 4 of class 0, none of class 1: 4/6 by images (the class mean would be 1/2).
    assert closed_accuracy(TRUE, [0, 0, 0, 0, 0, 0, 1, 1, 0, 1], UNKNOWN) == pytest.approx(4 / 6)


def test_nothing_rejected_gives_zero_and_not_a_division_by_zero():
    assert h_score([0, 1, 2], [0, 1, 0], UNKNOWN) == 0.0
    assert h_score([0, 1, 2], [1, 0, 0], UNKNOWN) == 0.0  # both parts are 0


def test_without_unknown_images():
    true, pred = [0, 0, 1, 1], [0, 2, 1, 1]
    assert unknown_accuracy(true, pred, UNKNOWN) is None
    assert h_score(true, pred, UNKNOWN) is None
    assert h3_score(true, pred, UNKNOWN, nmi=0.5) is None
    assert per_class_accuracy(true, pred, UNKNOWN) == 0.75  # two classes are present, not three
    assert universal_score(true, pred, UNKNOWN) == 0.75  # the rejection is an error


def test_without_known_images():
    assert known_accuracy([2, 2], [2, 0], UNKNOWN) is None
    assert h_score([2, 2], [2, 0], UNKNOWN) is None
    assert closed_accuracy([2, 2], [1, 0], UNKNOWN) is None
    assert universal_score([2, 2], [2, 0], UNKNOWN) is None
    assert per_class_accuracy([2, 2], [2, 0], UNKNOWN) == 0.5


def test_unlabelled_images_are_left_out():
    assert h_score([*TRUE, -1, -1], [*PRED, 0, 2], UNKNOWN) == h_score(TRUE, PRED, UNKNOWN)
    assert closed_accuracy([0, -1], [0, 1], UNKNOWN) == 1.0


def test_unknown_may_be_minus_one():
    true, pred = np.array(TRUE), np.array(PRED)
    swapped = h_score(np.where(true == 2, -1, true), np.where(pred == 2, -1, pred), -1)
    assert swapped == h_score(TRUE, PRED, UNKNOWN)


def test_takes_tensors_and_gives_floats():
    value = h_score(torch.tensor(TRUE), torch.tensor(PRED), UNKNOWN)
    assert type(value) is float
    assert value == h_score(TRUE, PRED, UNKNOWN)


def test_lengths_and_kinds_are_checked():
    with pytest.raises(ValueError, match="y_true 2, y_pred 1"):
        h_score([0, 1], [0], UNKNOWN)
    with pytest.raises(ValueError, match="y_pred must hold whole numbers"):
        h_score([0, 1], [0.2, 0.8], UNKNOWN)
    with pytest.raises(ValueError, match="y_true must have one dimension"):
        h_score([[0, 1]], [0, 1], UNKNOWN)


@given(pairs)
def test_h_score_lies_between_its_parts(rows):
    true, pred = columns(rows)
    parts = known_accuracy(true, pred, 3), unknown_accuracy(true, pred, 3)
    h = h_score(true, pred, 3)
    if None in parts:
        assert h is None
    else:
        assert min(parts) - 1e-12 <= h <= max(parts) + 1e-12
        assert h <= np.mean(parts) + 1e-12


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    for figure in (h_score, known_accuracy, unknown_accuracy, per_class_accuracy, universal_score, closed_accuracy):
        assert figure(*columns(rows), 3) == figure(*columns(shuffled), 3)


@given(pairs)
def test_class_means_agree_with_scikit_learn(rows):
    true, pred = columns(rows)
    seen = true >= 0
    if not seen.any():
        assert per_class_accuracy(true, pred, 3) is None
        return
    present = np.unique(true[seen])
    expected = recall_score(true[seen], pred[seen], labels=present, average="macro")
    assert per_class_accuracy(true, pred, 3) == pytest.approx(expected)


def test_per_class_accuracy_is_balanced_accuracy():
    assert per_class_accuracy(TRUE, PRED, UNKNOWN) == pytest.approx(balanced_accuracy_score(TRUE, PRED))


# Two private classes in opposite directions, of very different length: normalization makes them two tight clusters.
PRIVATE_FEATURES = np.array([[1.0, 0.01], [50.0, 0.0], [-1.0, 0.01], [-50.0, 0.0], [0.0, 1.0]])


def test_nmi_of_separable_and_of_independent_clusters():
    assert private_nmi(PRIVATE_FEATURES, [0, 0, 1, 1, -1]) == pytest.approx(1.0)
    assert private_nmi(PRIVATE_FEATURES, [0, 1, 0, 1, -1]) == pytest.approx(0.0, abs=1e-12)  # labels cross the clusters


def test_nmi_by_hand():
    # Clusters {a a b}, {b b b}. H(labels) = H(1/3), H(clusters) = log 2,
    # I = Σ p log(p / (p_label p_cluster)) over (a,1) 1/3, (b,1) 1/6, (b,2) 1/2.
    features = np.array([[1, 0.01], [1, 0], [1, -0.01], [-1, 0.01], [-1, 0], [-1, -0.01]])
    labels = [0, 0, 1, 1, 1, 1]
    entropy = -(np.log(1 / 3) / 3 + np.log(2 / 3) * 2 / 3)
    mutual = np.log(2) / 3 + np.log(1 / 2) / 6 + np.log(3 / 2) / 2
    assert private_nmi(features, labels) == pytest.approx(2 * mutual / (entropy + np.log(2)))


def test_nmi_needs_two_private_classes():
    assert private_nmi(PRIVATE_FEATURES, [4, 4, -1, -1, -1]) is None
    assert private_nmi(PRIVATE_FEATURES, [-1] * 5) is None


def test_nmi_takes_a_63_bit_seed_and_repeats():
    features = np.random.default_rng(0).normal(size=(40, 8))
    labels = np.arange(40) % 4
    assert private_nmi(features, labels, seed=2**62 + 1) == private_nmi(features, labels, seed=2**62 + 1)


def all_metrics(**changes):
    given = {
        "labels": [*TRUE, -1],
        "predictions": [*PRED, 0],
        "closed_predictions": [0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1],
        "unknown_scores": [0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.7, 0.8, 0.35, 0.45, 5.0],
        "unknown": UNKNOWN,
    }
    return unida_metrics(**{**given, **changes})


def test_unida_metrics_by_hand():
    found = all_metrics(nmi=1.0)
    assert tuple(found) == UNIDA_METRICS
    assert found["known_accuracy"] == 0.625
    assert found["unknown_accuracy"] == 0.5
    assert found["h_score"] == found["universal_score"] == pytest.approx(0.625 / 1.125)
    assert found["per_class_accuracy"] == pytest.approx(1.75 / 3)
    assert found["closed_accuracy"] == pytest.approx(4 / 6)
    # Unknown .7 .8 .35 .45 each above 5, 5, 3, 4 of the known .1 .2 .3 .4 .5 .9: 17 of 24 pairs.
    assert found["auroc"] == pytest.approx(17 / 24)
    # Right known .1 .2 .3 .5 are passed 4, 4, 3, 3 times: 14 of all 24 pairs.
    assert found["oscr"] == pytest.approx(14 / 24)
    assert found["nmi"] == 1.0
    assert found["h3_score"] == pytest.approx(3 / (1.6 + 2 + 1))


def test_unida_metrics_agrees_with_its_parts_on_tensors():
    assert all_metrics(labels=torch.tensor([*TRUE, -1])) == all_metrics()


def test_without_nmi_the_oracle_figures_are_undefined():
    found = all_metrics()
    assert found["nmi"] is None
    assert found["h3_score"] is None
    assert found["h_score"] is not None


def test_unida_metrics_of_unlabelled_images_are_all_undefined():
    found = all_metrics(labels=[-1] * 11)
    assert tuple(found) == UNIDA_METRICS
    assert set(found.values()) == {None}


def test_unida_metrics_of_a_closed_target():
    found = unida_metrics([0, 0, 1, 1], [0, 2, 1, 1], [0, 0, 1, 1], [0.1, 0.9, 0.2, 0.3], unknown=2)
    undefined = {name for name, value in found.items() if value is None}
    assert undefined == {"unknown_accuracy", "h_score", "h3_score", "auroc", "oscr", "nmi"}
    assert found["closed_accuracy"] == 1.0
    assert found["universal_score"] == found["known_accuracy"] == 0.75


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [*TRUE[:-1], 3, -1]}, "labels must be 0 … 1 for known classes"),
        ({"closed_predictions": [2] * 11}, "closed_predictions reject images"),
        ({"unknown_scores": [float("nan")] * 11}, "unknown_scores holds NaN"),
        ({"predictions": PRED}, "predictions 10"),
    ],
)
def test_unida_metrics_refuses_what_contradicts_itself(changes, message):
    with pytest.raises(ValueError, match=message):
        all_metrics(**changes)
