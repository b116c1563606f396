"""Validators: scores of a model that need no target label."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.errors import UserError
from uda.probes.answer import Answer
from uda.probes.selection import (
    VALIDATORS,
    Evidence,
    best_step,
    controlled_risk,
    density_ratio,
    dev,
    entropy,
    find_validator,
    iwv,
    mixing_pairs,
    mixval,
    snd,
    soft_answers,
    validate,
)


def said(probabilities: object, scores: object = None, threshold: float = math.inf, features: object = None) -> Answer:
    given = np.asarray(probabilities, dtype=float)
    n = len(given)
    return Answer(
        np.zeros((n, 2)) if features is None else np.asarray(features, dtype=float),
        given,
        np.zeros(n) if scores is None else np.asarray(scores, dtype=float),
        threshold,
    )


def anything(seed: int = 0, n: int = 40, k: int = 4) -> Evidence:
    """Evidence with every field, all from one generator."""
    rng = np.random.default_rng(seed)

    def answer(count: int) -> Answer:
        return said(rng.dirichlet(np.ones(k), count), rng.random(count), 0.6, rng.normal(size=(count, 5)))

    target = answer(n)
    pairs = mixing_pairs(target.predictions, k)
    return Evidence(target, answer(len(pairs)), target.predictions[pairs], answer(30), rng.integers(0, k, 30))


def test_soft_answers_by_hand() -> None:
    # threshold 1; scores from 0 to 3: unknown gets 0 at 0, ½·½ at ½, ½ at 1, ½ + ½·½ at 2, 1 at 3
    answers = soft_answers(said([[0.8, 0.2]] * 5, [0, 0.5, 1, 2, 3], threshold=1))
    unknown = np.array([0, 0.25, 0.5, 0.75, 1])
    assert answers == pytest.approx(np.stack([0.8 * (1 - unknown), 0.2 * (1 - unknown), unknown], axis=1))


@pytest.mark.parametrize(("threshold", "unknown"), [(math.inf, 0.0), (-math.inf, 1.0), (2.0, 0.5)])
def test_soft_answers_where_nothing_decides(threshold: float, unknown: float) -> None:
    # everything accepted, everything rejected, every score at the threshold
    assert soft_answers(said([[1.0, 0.0]] * 3, [2, 2, 2], threshold))[:, -1].tolist() == [unknown] * 3


def test_entropy_by_hand() -> None:
    # unknown gets 0, ½, 1: entropies of (½, ½, 0), (½, 0, ½) and (0, 0, 1) are log 2, log 2 and 0
    evidence = Evidence(said([[0.5, 0.5], [1, 0], [0.5, 0.5]], [0, 1, 2], threshold=1))
    assert entropy(evidence) == pytest.approx(-2 / 3 * math.log(2))


def test_a_rejection_near_the_threshold_is_less_decided_than_one_far_above() -> None:
    near, far = (Evidence(said([[1, 0]] * 3, [0, score, 4], threshold=1)) for score in (1.5, 4))
    assert (entropy(near) or 0) < (entropy(far) or 0)


def test_snd_by_hand() -> None:
    # Two images of one class, one of another, at temperature 1. The first two have cosines 1 and 0 with the others:
    # softmax (.7311, .2689), entropy .5822; the third has 0 and 0: log 2. Mean (2·.5822 + .6931) ÷ 3 = .61918.
    evidence = Evidence(said([[1, 0], [1, 0], [0, 1]]))
    assert snd(evidence, temperature=1.0) == pytest.approx(0.61918, abs=1e-5)


def test_snd_takes_rejected_images_for_one_class() -> None:
    # Four accepted images of one class, and four rejected ones whatever their best known class: each has three others
    # that share its answer, log 3.
    probabilities = [[1, 0]] * 4 + [[1, 0], [0, 1], [0.5, 0.5], [0.2, 0.8]]
    assert snd(Evidence(said(probabilities, [0] * 4 + [2] * 4, threshold=1))) == pytest.approx(math.log(3), abs=1e-6)


def mixed(predicted: object, labels: object, rejected: object, k: int = 3) -> Evidence:
    """Mixtures with a best known class and whether they are rejected."""
    answer = said(np.eye(k)[np.asarray(predicted)], np.asarray(rejected, dtype=float), threshold=0.5)
    return Evidence(said(np.eye(k)), answer, np.asarray(labels))


def test_mixval_by_hand() -> None:
    # Within (3 = unknown): class 0 kept, class 1 rejected, unknown rejected, unknown accepted: 2 of 4 consistent.
    # Between: 0 first and 0 said, though rejected; 1 first and 2 said; 2 first and 2 said: 2 of 3.
    evidence = mixed(
        predicted=[0, 1, 1, 2, 0, 2, 2],
        labels=[[0, 0], [1, 1], [3, 3], [3, 3], [0, 1], [1, 2], [2, 0]],
        rejected=[0, 1, 1, 0, 1, 0, 0],
    )
    assert mixval(evidence) == pytest.approx((2 / 4 + 2 / 3) / 2)


def test_mixval_needs_two_accepted_classes_and_two_images_of_one() -> None:
    assert mixval(mixed([0, 0], [[0, 0], [3, 3]], [0, 1])) is None
    assert mixval(mixed([0, 0], [[0, 1], [1, 0]], [0, 0])) is None
    assert mixval(Evidence(said(np.eye(3)))) is None


def test_a_controlled_risk_by_hand() -> None:
    # w = 1, 2, 3, e = 0, 1, 1: w·e = 0, 2, 3 with mean 5/3. Deviations −5/3, 1/3, 4/3 and −1, 0, 1: covariance
    # (5/3 + 4/3) ÷ 2 = 1.5, variance of w 1, η = −1.5. 5/3 − 1.5·(2 − 1) = 1/6.
    assert controlled_risk(np.array([1.0, 2, 3]), np.array([0.0, 1, 1])) == pytest.approx(1 / 6)
    assert controlled_risk(np.ones(4), np.array([0.0, 1, 0, 0])) == 0.25  # nothing to control with


@given(st.lists(st.tuples(st.floats(0.1, 3), st.booleans()), min_size=3, max_size=20))
def test_a_controlled_risk_is_least_squares_at_weight_one(pairs: list[tuple[float, bool]]) -> None:
    # An oracle: the control variate is the regression line of w·e on w, read at w = 1.
    weights, errors = np.array([w for w, _ in pairs]), np.array([e for _, e in pairs], dtype=float)
    if np.ptp(weights) < 1e-2:
        return
    slope, intercept = np.polyfit(weights, weights * errors, 1)
    assert controlled_risk(weights, errors) == pytest.approx(slope + intercept, abs=1e-6)


def test_density_ratios_of_equal_samples_are_one() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    assert density_ratio(x, np.concatenate([x, x])) == pytest.approx(np.ones(30), abs=1e-3)


def held_out(source_at: object, labels: object, target_at: object, target_scores: object) -> Evidence:
    """A model that calls everything class 0; features are corners of a cube."""
    source, target = np.eye(3)[np.asarray(source_at)], np.eye(3)[np.asarray(target_at)]
    zero = np.tile([1.0, 0.0], (len(source), 1))
    answer = said(zero, threshold=0.5, features=source)
    about = said(np.tile([1.0, 0.0], (len(target), 1)), target_scores, 0.5, target)
    return Evidence(about, source=answer, source_labels=np.asarray(labels))


def test_errors_count_by_how_much_their_place_is_visited_in_the_target() -> None:
    # 20 source images at each of two corners, those at the second named wrong.
    places, labels = [0] * 20 + [1] * 20, [0] * 20 + [1] * 20
    near, far = (held_out(places, labels, [corner] * 30 + [1 - corner] * 10, [0] * 40) for corner in (1, 0))
    weights = near.held_out_risks
    assert weights is not None
    assert weights[0][20] > 1 > weights[0][0]
    assert weights[0].mean() == pytest.approx(1, abs=0.05)
    for validator in (iwv, dev):
        assert (validator(near) or 0) < (validator(far) or 0)
    # Of equal weights the plain error is left, a half.
    even = held_out(places, labels, places, [0] * 40)
    assert iwv(even) == pytest.approx(-0.5, abs=1e-3)
    assert dev(even) == pytest.approx(-0.5, abs=1e-3)


def test_rejected_target_images_draw_no_weight() -> None:
    places, labels = [0] * 20 + [1] * 20, [0] * 20 + [1] * 20
    known = [0] * 20
    alone = held_out(places, labels, known, [0] * 20)
    beside = held_out(places, labels, known + [1] * 20, [0] * 20 + [1] * 20)  # unknown ones at the second corner
    assert iwv(beside) == iwv(alone)
    accepted = held_out(places, labels, known + [1] * 20, [0] * 40)
    assert (iwv(accepted) or 0) < (iwv(beside) or 0)


def test_a_rejected_source_image_is_an_error() -> None:
    evidence = held_out([0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0])
    assert iwv(evidence) == 0.0
    assert evidence.source is not None
    rejecting = replace(evidence, source=replace(evidence.source, scores=np.array([1.0, 1, 0, 0])))
    assert iwv(rejecting) == pytest.approx(-0.5, abs=1e-3)


def test_undefined_is_none() -> None:
    whole = anything()
    rejecting = replace(whole, target=replace(whole.target, threshold=-1.0))
    assert entropy(rejecting) is None
    assert snd(rejecting) is None
    assert iwv(rejecting) is None
    assert dev(rejecting) is None
    assert iwv(Evidence(whole.target)) is None
    assert dev(Evidence(whole.target)) is None
    one = Evidence(said([[1, 0]]), source=said([[1, 0]]), source_labels=np.array([0]))
    assert snd(one) is None
    assert dev(one) is None


def test_perfect_clusters_score_higher_than_mixed_ones() -> None:
    # 40 images: one class each for sure, against ten pairs of classes that share four images each.
    perfect = Evidence(said(np.eye(5)[np.arange(40) % 5]))
    pairs = [(a, b) for a in range(5) for b in range(a)]
    muddled = Evidence(said(np.array([(np.eye(5)[a] + np.eye(5)[b]) / 2 for a, b in pairs * 4])))
    assert entropy(perfect) == 0.0
    assert entropy(muddled) == pytest.approx(-math.log(2))
    assert snd(perfect) == pytest.approx(math.log(7))  # each of 40 has 7 like it
    assert snd(muddled) == pytest.approx(math.log(3), abs=0.02)  # 3 like it, and far ones that share half
    steady, unsteady = (mixed([0, 1, second], [[0, 0], [1, 0], [2, 1]], [0, 0, 0]) for second in (2, 1))
    assert (mixval(steady) or 0) > (mixval(unsteady) or 0)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    evidence = anything(seed)
    rng = np.random.default_rng(seed)

    assert evidence.mixed is not None
    assert evidence.mixed_labels is not None
    assert evidence.source is not None
    assert evidence.source_labels is not None
    by_mixture, by_source = rng.permutation(len(evidence.mixed_labels)), rng.permutation(30)
    other = Evidence(
        evidence.target.at(rng.permutation(40)),
        evidence.mixed.at(by_mixture),
        evidence.mixed_labels[by_mixture],
        evidence.source.at(by_source),
        evidence.source_labels[by_source],
    )
    found, again = validate(evidence), validate(other)
    assert None not in found.values()
    for name, score in found.items():
        assert again[name] == pytest.approx(score, rel=1e-3, abs=1e-3)  # the logistic regression stops early


def test_there_is_no_place_for_target_labels() -> None:
    assert {field.name for field in fields(Evidence)} == {"target", "mixed", "mixed_labels", "source", "source_labels"}


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 60))
def test_pairs_to_mix(labels: list[int], most: int) -> None:
    given_labels = np.array(labels, dtype=np.int64)
    pairs = mixing_pairs(given_labels, n_classes=4, most=most)
    assert pairs.shape == (len(pairs), 2)
    assert pairs.dtype == np.int64
    assert (pairs[:, 0] != pairs[:, 1]).all()
    said_of = given_labels[pairs].reshape(-1, 2)
    within = said_of[:, 0] == said_of[:, 1]
    assert (said_of[~within] < 4).all()  # between known classes only
    for kind in (within, ~within):
        assert kind.sum() <= most
        assert len(set(pairs[kind, 0].tolist())) == kind.sum()
    if most == 60:  # all take part
        sizes = np.bincount(given_labels, minlength=5)
        assert within.sum() == sizes[sizes > 1].sum()
        assert (~within).any() == ((sizes[:4] > 0).sum() > 1)


def test_the_best_step_is_the_latest_of_equals() -> None:
    assert best_step({10: 0.5, 20: 0.9, 30: 0.9, 40: 0.1}) == 30
    assert best_step({}) is None


def test_validators_by_name() -> None:
    for name, validator in VALIDATORS.items():
        assert find_validator(name) is validator
    with pytest.raises(UserError, match=r"unknown selection rule 'sdn': did you mean snd\? .*last.*--set selection="):
        find_validator("sdn")
