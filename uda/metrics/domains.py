"""How far two domains lie apart, by how well a classifier tells them apart."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.svm import LinearSVC

from uda.metrics.arrays import as_matrix

_FOLDS = 5
_Z = 1.959963984540054  # standard normal quantile of .975


@dataclass(frozen=True)
class ProxyADistance:
    """value: 2(1 − 2ε) in [0, 2]; ci95: its interval (low, high); error: ε, the balanced held-out error in [0, 1].

    All are None where a domain has fewer than two images.
    """

    value: float | None
    ci95: tuple[float, float] | None
    error: float | None


def proxy_a_distance(source: ArrayLike, target: ArrayLike, seed: int = 0) -> ProxyADistance:
    """Return the proxy A-distance of two domains: 0 where they cannot be told apart, 2 where always.

    source: (N, D), target: (M, D) features. 2(1 − 2ε), clipped to [0, 2] (Ben-David et al., "Analysis of
    representations for domain adaptation", NeurIPS 2006), where ε is the error of a linear SVM that tells the domains
    apart (as in Glorot et al., ICML 2011, and Ganin et al., JMLR 2016). Here every image is held out once, in five
    folds drawn by `seed`; both domains weigh the same however many images they have; and C is 1 on features brought to
    zero mean, unit variance and then a mean squared length of 1, so that nothing is chosen on what measures. ci95 joins
    Wilson's intervals of the two domains' errors (Newcombe's square-and-add, 1998) and leaves out that folds share
    training images. Classes that one domain alone has count as distance too.
    """
    a, b = as_matrix(source, "source"), as_matrix(target, "target")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"source and target must be as wide as each other, not {a.shape[1]} and {b.shape[1]}")
    if min(len(a), len(b)) < 2:
        return ProxyADistance(None, None, None)
    x, is_target = _standardized(np.concatenate([a, b])), np.repeat([False, True], [len(a), len(b)])
    wrong = _held_out_errors(x, is_target, seed)
    rates = [_wilson(int(part.sum()), len(part)) for part in (wrong[~is_target], wrong[is_target])]
    error = (rates[0][0] + rates[1][0]) / 2
    low, high = (math.hypot(*(rate[0] - rate[side] for rate in rates)) / 2 for side in (1, 2))
    return ProxyADistance(_distance(error), (_distance(error + high), _distance(error - low)), error)


def _distance(error: float) -> float:
    return min(2.0, max(0.0, 2 * (1 - 2 * error)))


def _standardized(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=0)
    std = x.std(axis=0)
    varies = std > 1e-12 * max(1.0, float(std.max(initial=0.0)))
    return x[:, varies] / std[varies] / math.sqrt(max(1, int(varies.sum())))


def _held_out_errors(x: np.ndarray, is_target: np.ndarray, seed: int) -> np.ndarray:
    """Return for every row (N,) whether a machine that has not seen it takes it for the other domain's."""
    if not x.shape[1]:  # nothing varies: every answer is "source"
        return is_target
    rng = np.random.default_rng(seed)
    folds = min(_FOLDS, int(is_target.sum()), int((~is_target).sum()))
    fold = np.empty(len(x), dtype=np.int64)
    for side in (~is_target, is_target):
        fold[side] = rng.permutation(int(side.sum())) % folds
    wrong = np.empty(len(x), dtype=bool)
    for number in range(folds):
        held = fold == number
        # The primal problem is solved by a method that draws nothing at random.
        machine = LinearSVC(C=1.0, dual=False, class_weight="balanced").fit(x[~held], is_target[~held])
        wrong[held] = machine.predict(x[held]) != is_target[held]
    return wrong


def _wilson(k: int, n: int) -> tuple[float, float, float]:
    """Return k / n and Wilson's 95 % interval of it (JASA 1927)."""
    p, z2 = k / n, _Z**2
    center, half = (p + z2 / (2 * n)) / (1 + z2 / n), _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return p, max(0.0, center - half), min(1.0, center + half)
