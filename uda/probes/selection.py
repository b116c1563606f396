"""Which evaluation of a run to keep, without target labels: validators, which score a model by what it says.

A validator takes `Evidence` and returns a score, higher is better, or None where it is undefined. All are in an
unknown-aware form, for the published ones know no rejection: each docstring says how rejected images enter. A model
that rejects every target image has no score. None of them is proof against a model that calls everything one class.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import xlogy
from sklearn.linear_model import LogisticRegression

from uda.errors import unknown_name
from uda.metrics import l2_normalize
from uda.probes.answer import Answer
from uda.random import permutation

LAST = "last"
"""The default: no selection, the last step's weights."""

COLUMN = "selection_"
"""How the columns of `history.csv` with validators' scores begin."""

SHARE = 0.55
"""Share of the first image in a mixture of two (MixVal's published value)."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a model without target labels; no field holds one.

    target:        the answer about target images, at the threshold that the rejection rule found on them.
    mixed:         about P images each mixed of two of those, at the same threshold; mixed_labels (P, 2) are what the
                   model says of the two, 0 … K (K for unknown), that with the larger share first. See `mixing_pairs`.
    source:        about M held-out source images, at the same threshold; source_labels (M,) are their true classes.
    """

    target: Answer
    mixed: Answer | None = None
    mixed_labels: np.ndarray | None = None
    source: Answer | None = None
    source_labels: np.ndarray | None = None

    @property
    def accepted(self) -> np.ndarray:
        """Which target images were taken for known ones, (N,) bool."""
        return self.target.scores <= self.target.threshold

    @cached_property
    def held_out_risks(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Importance weights and errors (0 or 1) of the held-out source images, (M,) each; None where undefined.

        A weight is how much denser accepted target images lie at the image's features than held-out source images. An
        error is a wrong class or a rejection, for every source image is known.
        """
        if self.source is None or self.source_labels is None or not len(self.source_labels) or not self.accepted.any():
            return None
        weights = density_ratio(self.source.features, self.target.features[self.accepted])
        return weights, (self.source.predictions != self.source_labels).astype(np.float64)


def soft_answers(answer: Answer) -> np.ndarray:
    """Return distributions over K + 1 classes, the last one `unknown`, (N, K + 1).

    `unknown` gets a half at the threshold, 0 at the lowest score and 1 at the highest, linear between; the known
    classes share the rest as they did.
    """
    if math.isinf(answer.threshold):  # nothing is rejected, or everything
        unknown = (answer.scores > answer.threshold).astype(np.float64)
    else:
        above = answer.scores - answer.threshold
        reach = np.where(above > 0, above.max(initial=0.0), -above.min(initial=0.0))
        unknown = (1 + above / np.where(reach > 0, reach, 1.0)) / 2
    return np.concatenate([answer.probabilities * (1 - unknown)[:, None], unknown[:, None]], axis=1)


def density_ratio(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return target density ÷ source density at the source's features, from a classifier of the two domains, (M,).

    source: (M, D), target: (N, D), L2-normalized inside. A logistic regression gives p(target | x) ÷ p(source | x),
    times M ÷ N for the sizes of the samples (as DEV does, there with a small network).
    """
    x = l2_normalize(np.concatenate([source, target]).astype(np.float64))
    is_target = np.arange(len(x)) >= len(source)
    log_odds = LogisticRegression(max_iter=1000).fit(x, is_target).decision_function(x[: len(source)])
    return np.exp(log_odds) * len(source) / len(target)


def mixing_pairs(labels: np.ndarray, n_classes: int, most: int = 500) -> np.ndarray:
    """Return rows of images to be mixed two by two, (P, 2) int64: at most `most` within a class, and as many between.

    labels: (N,) what the model says, 0 … K−1, or K = n_classes for unknown. An image is the first of at most one pair
    of each kind. Within: two images with the same answer, `unknown` too. Between: two known classes.
    """
    order = permutation(len(labels), 0, 0, "mixing pairs")[:most]
    order = order[np.argsort(labels[order], kind="stable")]
    classes, counts = np.unique(labels[order], return_counts=True)
    within = [
        np.stack([rows, np.roll(rows, -1)], axis=1) for c in classes if len(rows := order[labels[order] == c]) > 1
    ]
    known = order[labels[order] < n_classes]
    # Known images stand class by class: one class's length further on, another class begins.
    partner = np.roll(known, -int(counts[classes < n_classes].max(initial=0)))
    between = np.stack([known, partner], axis=1)[labels[known] != labels[partner]]
    return np.concatenate([*within, between])


def entropy(evidence: Evidence) -> float | None:
    """Return minus the mean entropy of the answers, in nats (Morerio et al., ICLR 2018); at most 0, undecided is lower.

    Unknown-aware: the answers are those of `soft_answers`, so that an image is decided where one class and a score far
    below the threshold say so, or a score far above it.
    """
    if not evidence.accepted.any():
        return None
    answers = soft_answers(evidence.target)
    return float(xlogy(answers, answers).sum(1).mean())


def snd(evidence: Evidence, temperature: float = 0.05) -> float | None:
    """Return the soft neighborhood density: how many other images share an image's answer (Saito et al., ICCV 2021).

    It is the mean entropy, in nats, of each image's softmax over cosine similarities with the others ÷ temperature.
    None with fewer than two images or where none is accepted.
    Unknown-aware: answers are those of `soft_answers`, so that rejected images are neighbors of each other.
    """
    if not evidence.accepted.any() or len(evidence.target.scores) < 2:
        return None
    answers = l2_normalize(soft_answers(evidence.target))
    logits = answers @ answers.T / temperature
    np.fill_diagonal(logits, -np.inf)
    logits -= logits.max(1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(1, keepdims=True)
    return float(-xlogy(shares, shares).sum(1).mean())


def mixval(evidence: Evidence) -> float | None:
    """Return how consistently images mixed of two are given the answer of the one with the larger share.

    MixVal (Hu et al., NeurIPS 2023) mixes images of one pseudo-class, which probes how dense neighborhoods are, and of
    two, which probes the boundary; it ranks models by either and averages the ranks. Here, where each evaluation has a
    score of its own, it is the mean of the two shares of consistent mixtures, in [0, 1].
    Unknown-aware: `unknown` is a pseudo-class of its own, mixtures within which must be rejected again, as those within
    a known class must be accepted again. Between classes only accepted images are mixed, and what is asked is which
    known class comes first: such a mixture may well look unknown. None where fewer than two classes are accepted.
    """
    if evidence.mixed is None or evidence.mixed_labels is None:
        return None
    first, second = evidence.mixed_labels.T
    within = first == second
    if within.all() or not within.any():
        return None
    same = evidence.mixed.predictions[within] == first[within]
    across = evidence.mixed.closed[~within] == first[~within]
    return float((same.mean() + across.mean()) / 2)


def iwv(evidence: Evidence) -> float | None:
    """Return minus the importance-weighted error of held-out source images (Sugiyama et al., JMLR 2007).

    Unknown-aware: the importance of a source image is its density ratio to accepted target images alone, so that
    unknown ones pull no weight to the classes that they resemble; a rejected source image is an error.
    None where no source images are held out.
    """
    if evidence.held_out_risks is None:
        return None
    weights, errors = evidence.held_out_risks
    return 0.0 - float((weights * errors).mean())


def dev(evidence: Evidence) -> float | None:
    """Return minus the risk of deep embedded validation (You et al., ICML 2019), unknown-aware as `iwv`.

    None where fewer than two source images are held out.
    """
    if evidence.held_out_risks is None or len(evidence.held_out_risks[0]) < 2:
        return None
    return 0.0 - controlled_risk(*evidence.held_out_risks)


def controlled_risk(weights: np.ndarray, errors: np.ndarray) -> float:
    """Return mean(w·e) + η·mean(w) − η with η = −Cov(w·e, w) ÷ Var(w): a weighted error of less variance (DEV).

    weights, errors: (M,), M ≥ 2. The true mean of the weights is 1, so the added terms change no expectation. η = 0
    where the weights do not vary.
    """
    weighted = weights * errors
    covariance = np.cov(weighted, weights)
    eta = -covariance[0, 1] / covariance[1, 1] if covariance[1, 1] > 0 else 0.0
    return float(weighted.mean() + eta * (weights.mean() - 1))


Validator = Callable[[Evidence], float | None]

VALIDATORS: dict[str, Validator] = {"entropy": entropy, "snd": snd, "mixval": mixval, "iwv": iwv, "dev": dev}

NEED_HELD_OUT = ("iwv", "dev")
"""The validators that ask about source images that were not trained on."""

NEED_NONE = tuple(name for name in (LAST, *VALIDATORS) if name not in NEED_HELD_OUT)


def find_validator(name: str) -> Validator:
    """Return the validator of that name; UserError with the nearest ones otherwise."""
    if name not in VALIDATORS:
        raise unknown_name("selection rule", name, [LAST, *VALIDATORS], "choose one with `--set selection=NAME`")
    return VALIDATORS[name]


def validate(evidence: Evidence) -> dict[str, float | None]:
    """Return every validator's score under the name of its column in `history.csv`."""
    return {COLUMN + name: validator(evidence) for name, validator in VALIDATORS.items()}


def best_step(scores: Mapping[int, float]) -> int | None:
    """Return the step with the highest score, of several the latest; None where there is none."""
    return max(scores, key=lambda step: (scores[step], step), default=None)
