"""Whether a classifier is as often right as it says; all on softmax probabilities, never on logits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from uda.metrics.arrays import as_labels, as_matrix, check_lengths
from uda.metrics.statistics import BootstrapInterval, bootstrap_ci

_SMALLEST = float(np.finfo(np.float32).tiny)  # a float32 softmax underflows to 0 here; its log would be infinite


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram: the images whose confidence lies in (lower, upper].

    accuracy and confidence are means over the bin's images, None if it has none.
    """

    lower: float
    upper: float
    count: int
    accuracy: float | None
    confidence: float | None


def reliability_bins(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15, adaptive: bool = False
) -> list[ReliabilityBin]:
    """Return accuracy and mean confidence of the images by confidence (the largest probability).

    probabilities: (N, C), rows sum to 1. labels: (N,) class indices, negative where unlabelled (left out).
    Bins are (lower, upper] of equal width over [0, 1], empty ones included. With `adaptive` they hold equally many
    images instead, lower and upper are the extreme confidences in them, images of equal confidence share a bin
    (so the order of the images does not matter), and empty ones are left out.
    """
    p, truth = _labelled(probabilities, labels)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if not len(p):
        return []
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    edges, member = np.linspace(0.0, 1.0, bins + 1), _bin_of(confidence, bins, adaptive)
    found = []
    for b in range(bins):
        inside = member == b
        count = int(inside.sum())
        if adaptive and count:
            lower, upper = float(confidence[inside].min()), float(confidence[inside].max())
        elif adaptive:
            continue
        else:
            lower, upper = float(edges[b]), float(edges[b + 1])
        accuracy, mean = (float(right[inside].mean()), float(confidence[inside].mean())) if count else (None, None)
        found.append(ReliabilityBin(lower, upper, count, accuracy, mean))
    return found


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float | None:
    """Return the mean over images of |accuracy − confidence| of their bin, bins of equal width (Guo et al., ICML 2017).

    probabilities: (N, C), rows sum to 1 (ValueError for logits); labels: (N,), negative where unlabelled (left out).
    None without labelled images.
    """
    return _gap(reliability_bins(probabilities, labels, bins))


def adaptive_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float | None:
    """Return the expected calibration error with bins of equally many images (Nguyen and O'Connor, EMNLP 2015).

    Arguments as for `expected_calibration_error`; images of equal confidence share a bin.
    """
    return _gap(reliability_bins(probabilities, labels, bins, adaptive=True))


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float | None:
    """Return the mean over images of Σₖ (pₖ − [k is the label])², in [0, 2] (Brier, 1950); None without labels."""
    p, truth = _labelled(probabilities, labels)
    if not len(p):
        return None
    return float(((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float | None:
    """Return the mean over images of −log p(label) in nats; None without labels.

    Probabilities below 1.2e-38, which a float32 softmax rounds to 0, count as that (87.3 nats), never as infinity.
    """
    p, truth = _labelled(probabilities, labels)
    if not len(p):
        return None
    return float(-np.log(np.maximum(p[np.arange(len(p)), truth], _SMALLEST)).mean()) + 0.0  # of certainty 0, not −0


def calibration_metrics(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> dict[str, float | None]:
    """Return every figure of this kind by name: ece, adaptive_ece, brier, nll; all None without labelled images.

    Arguments as for `expected_calibration_error`.
    """
    return {
        "ece": expected_calibration_error(probabilities, labels, bins),
        "adaptive_ece": adaptive_calibration_error(probabilities, labels, bins),
        "brier": brier_score(probabilities, labels),
        "nll": negative_log_likelihood(probabilities, labels),
    }


def calibration_intervals(
    probabilities: ArrayLike,
    labels: ArrayLike,
    bins: int = 15,
    n_resamples: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> dict[str, BootstrapInterval]:
    """Return the 95 % bootstrap interval over images, or groups of them, of every figure of `calibration_metrics`.

    Arguments as there, with at least one labelled image (ValueError otherwise); groups: (N,) as in `bootstrap_ci`.
    Images keep the bins that they have in
    the whole set. Both calibration errors are sums of absolute values, which a resample makes larger on average, so
    that an interval can lie above the figure where that is near 0.
    """
    p, truth = _labelled(probabilities, labels)
    confidence = p.max(axis=1)
    gaps = (p.argmax(axis=1) == truth) - confidence
    squares = ((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1)
    logs = -np.log(np.maximum(p[np.arange(len(p)), truth], _SMALLEST))

    def error(member: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda rows: float(np.abs(np.bincount(member[rows], gaps[rows], bins)).sum() / len(rows))

    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "ece": error(_bin_of(confidence, bins, adaptive=False)),
        "adaptive_ece": error(_bin_of(confidence, bins, adaptive=True)),
        "brier": lambda rows: float(squares[rows].mean()),
        "nll": lambda rows: float(logs[rows].mean()),
    }
    return {name: bootstrap_ci(figure, len(p), n_resamples, seed, groups) for name, figure in statistics.items()}


def _bin_of(confidence: np.ndarray, bins: int, adaptive: bool) -> np.ndarray:
    """Return the bin of each image, (N,) in 0 … bins − 1, of equal width or of equally many images."""
    if adaptive:
        return ((rankdata(confidence, method="min").astype(np.int64) - 1) * bins) // len(confidence)
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.minimum(np.searchsorted(edges[1:], confidence, side="left"), bins - 1)


def _gap(bins: list[ReliabilityBin]) -> float | None:
    filled = [
        (b.count, abs(b.accuracy - b.confidence)) for b in bins if b.accuracy is not None and b.confidence is not None
    ]
    total = sum(count for count, _ in filled)
    return sum(count * gap for count, gap in filled) / total if total else None


def _labelled(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and labels of the labelled images, checked."""
    p, truth = as_matrix(probabilities, "probabilities"), as_labels(labels, "labels")
    check_lengths(probabilities=p, labels=truth)
    # Half precision is off by up to a few thousandths; logits are off by much more.
    if len(p) and (p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-2):
        raise ValueError("probabilities must be rows that sum to 1; apply softmax to logits first")
    if len(truth) and truth.max() >= p.shape[1]:
        raise ValueError(f"labels go up to {truth.max()}, but there are only {p.shape[1]} columns of probabilities")
    return p[truth >= 0], truth[truth >= 0]
