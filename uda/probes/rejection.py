"""Where to draw the line between known and unknown, from unlabelled unknown-scores.

A rule takes the scores (N,) of the target images (higher means more unknown) and the threshold that the method's paper
fixes beforehand, and returns the one to use: an image is unknown where its score exceeds it. No rule sees a label.
"""

from collections.abc import Callable

import numpy as np

from uda.errors import unknown_name

Rule = Callable[[np.ndarray, float], float]


def fixed(scores: np.ndarray, published: float) -> float:
    """Return the threshold of the method's paper, whatever the scores."""
    return published


def otsu(scores: np.ndarray, published: float, bins: int = 256) -> float:
    """Return the threshold with the largest between-class variance (Otsu, IEEE Trans. SMC 1979, equation 14).

    The largest score, which rejects nothing, where they differ by no more than rounding.
    """
    if np.ptp(scores) <= bins * np.spacing(np.abs(scores).max()):
        return float(scores.max())
    counts, edges = np.histogram(scores, bins=bins)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * centers)
    usable = (below > 0) & (above > 0)
    if not usable.any():
        return float(edges[-1])
    mean_below = total / np.maximum(below, 1)
    mean_above = (total[-1] - total) / np.maximum(above, 1)
    variance = np.where(usable, below * above * (mean_below - mean_above) ** 2, -1.0)
    best = np.flatnonzero(variance >= variance.max() * (1 - 1e-12))  # a gap is a plateau: take its middle
    return float((edges[best[0] + 1] + edges[best[-1] + 1]) / 2)


def otsu_or_none(scores: np.ndarray, published: float, floor: float = 1.3) -> float:
    """Return Otsu's threshold, or one that rejects nothing where the upper side is not unsure enough to be unknown.

    Otsu cuts any set of scores in two, also those of a target without unknown images. Here the mean score above the
    cut has to reach `floor` times the published threshold. Where that is half the largest entropy, 1.3 means 65 % of
    it; it was chosen halfway between what adaptations with and without unknown images gave, on the pairs that
    `benchmarks/README.md` names. A published threshold of zero (UniOT's: its scores are relative to their mean) leaves
    nothing to compare with, and Otsu's threshold stands. Where everything is unknown no rule sees that: the unsure are
    split too.
    """
    threshold = otsu(scores, published)
    above = scores[scores > threshold]
    if len(above) and above.mean() >= floor * published:
        return threshold
    return max(2 * published, float(scores.max()))


RULES: dict[str, Rule] = {"fixed": fixed, "otsu": otsu, "otsu_or_none": otsu_or_none}


def find_rule(name: str) -> Rule:
    """Return the rule of that name; UserError with the nearest ones otherwise."""
    if name not in RULES:
        raise unknown_name("rejection rule", name, RULES, "choose one with `--set rejection=NAME`")
    return RULES[name]
