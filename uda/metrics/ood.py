"""Telling known from unknown by a score; scores are unknown-scores everywhere: higher means more unknown."""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from uda.metrics.arrays import as_labels, as_matrix, as_scores, check_lengths
from uda.metrics.statistics import BootstrapInterval, drawing

Positive = Literal["in", "out"]


def auroc(known_scores: ArrayLike, unknown_scores: ArrayLike) -> float | None:
    """Return the probability that an unknown image scores above a known one, a tie counting one half.

    Both arguments are unknown-scores, (N,) and (M,). This is the area under the ROC curve by its rank form
    (Mann and Whitney, 1947), so any monotone rescaling of the scores leaves it as it is. None if either is empty.
    """
    known, unknown = as_scores(known_scores, "known_scores"), as_scores(unknown_scores, "unknown_scores")
    if not len(known) or not len(unknown):
        return None
    ranks = rankdata(np.concatenate([known, unknown]))
    wins = ranks[len(known) :].sum() - len(unknown) * (len(unknown) + 1) / 2
    return float(wins / (len(known) * len(unknown)))


def macro_auroc(probabilities: ArrayLike, labels: ArrayLike) -> float | None:
    """Return the mean over classes of the area under the ROC curve of that class against all others.

    probabilities: (N, C), whose column c ranks the images by how much they look of class c (any scores do); labels:
    (N,) class indices, negative where unlabelled (left out). A class without images, or without others to be told from,
    has no such area and is left out of the mean (Hand and Till, 2001, discuss the alternatives); None where all are.
    """
    scores, truth = as_matrix(probabilities, "probabilities"), as_labels(labels, "labels")
    check_lengths(probabilities=scores, labels=truth)
    if len(truth) and truth.max() >= scores.shape[1]:
        raise ValueError(f"labels go up to {truth.max()}, but there are only {scores.shape[1]} columns of scores")
    scores, truth = scores[truth >= 0], truth[truth >= 0]
    ranks = rankdata(scores, axis=0) if len(scores) else scores
    areas = []
    for number in np.unique(truth):
        own = truth == number
        positives, negatives = int(own.sum()), int((~own).sum())
        if negatives:
            wins = ranks[own, number].sum() - positives * (positives + 1) / 2
            areas.append(wins / (positives * negatives))
    return float(np.mean(areas)) if areas else None


def oscr(known_correct: ArrayLike, known_scores: ArrayLike, unknown_scores: ArrayLike) -> float | None:
    """Return the area under the open-set classification rate curve (Dhamija et al., NeurIPS 2018).

    known_correct:  (N,) whether each known image's closed-set prediction is right (bool, or 0 and 1).
    known_scores:   (N,) their unknown-scores, in the same order; unknown_scores: (M,).

    An image is accepted as known when its score is at most a threshold t. The curve runs over all t through
    x = share of unknown images accepted (false positive rate), y = share of known images accepted *and* right
    (correct classification rate), from (0, 0) to (1, closed-set accuracy); images with equal scores enter together,
    joined by a straight line. Its area is exactly the closed-set accuracy times the AUROC of the rightly classified
    known images against the unknown ones, which is how it is computed. Perfect separation gives the closed-set
    accuracy. None if there is no known or no unknown image.
    """
    correct, scores = as_labels(known_correct, "known_correct"), as_scores(known_scores, "known_scores")
    unknown = as_scores(unknown_scores, "unknown_scores")
    check_lengths(known_correct=correct, known_scores=scores)
    if not np.isin(correct, (0, 1)).all():
        raise ValueError("known_correct must hold truth values, not class indices")
    if not len(correct) or not len(unknown):
        return None
    area = auroc(scores[correct == 1], unknown)
    return 0.0 if area is None else float(correct.mean() * area)


def aupr(known_scores: ArrayLike, unknown_scores: ArrayLike, positive: Positive = "out") -> float | None:
    """Return the area under the precision-recall curve as average precision (a step function, no interpolation).

    Both arguments are unknown-scores, (N,) and (M,). `positive` names the class that is to be found: "out" gives
    AUPR-out, "in" AUPR-in (there the scores count downwards). None if either is empty.
    """
    known, unknown = as_scores(known_scores, "known_scores"), as_scores(unknown_scores, "unknown_scores")
    negatives, positives = _by_convention(known, unknown, positive)
    if not len(known) or not len(unknown):
        return None
    scores = rankdata(np.concatenate([negatives, positives]), method="dense")  # infinite scores become ranks as well
    truth = np.arange(len(scores)) >= len(negatives)
    return float(average_precision_score(truth, scores))


def fpr_at_tpr(
    scores_in: ArrayLike, scores_out: ArrayLike, tpr: float = 0.95, positive: Positive = "out"
) -> float | None:
    """Return the false positive rate at the strictest threshold that still finds a share `tpr` of the positives.

    scores_in, scores_out: unknown-scores of in-distribution (N,) and out-of-distribution images (M,).
    Two conventions are in use, so name the one reported. positive="out" (Hendrycks and Gimpel, ICLR 2017, and their
    later code): share of in-distribution images called unknown when at least `tpr` of the unknown ones are.
    positive="in" (ODIN and most benchmarks since): share of unknown images taken for known when at least `tpr` of
    the known ones are. Nothing is interpolated; images that tie with the threshold are on the positive side.
    None if either is empty; ValueError unless 0 < tpr ≤ 1.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must be above 0 and at most 1, not {tpr}")
    known, unknown = as_scores(scores_in, "scores_in"), as_scores(scores_out, "scores_out")
    negatives, positives = _by_convention(known, unknown, positive)
    if not len(known) or not len(unknown):
        return None
    needed = math.ceil(tpr * len(positives) - 1e-9)  # 0.55 × 100 is 55, not 55.00000000000001
    threshold = np.sort(positives)[len(positives) - max(needed, 1)]
    return float((negatives >= threshold).mean())


def ood_metrics(scores_in: ArrayLike, scores_out: ArrayLike) -> dict[str, float | None]:
    """Return every figure of this kind by name, of the unknown-scores of known (N,) and unknown images (M,).

    auroc; aupr_in, aupr_out: finding the known, finding the unknown; fpr95_in: unknown images taken for known when 95 %
    of the known are accepted (ODIN and most benchmarks since); fpr95_out: known images called unknown when 95 % of the
    unknown are found (Hendrycks and Gimpel). All are None if either is empty.
    """
    return {
        "auroc": auroc(scores_in, scores_out),
        "aupr_in": aupr(scores_in, scores_out, positive="in"),
        "aupr_out": aupr(scores_in, scores_out, positive="out"),
        "fpr95_in": fpr_at_tpr(scores_in, scores_out, positive="in"),
        "fpr95_out": fpr_at_tpr(scores_in, scores_out, positive="out"),
    }


def auroc_interval(
    known_scores: ArrayLike,
    unknown_scores: ArrayLike,
    n_resamples: int = 200,
    seed: int = 0,
    known_groups: ArrayLike | None = None,
    unknown_groups: ArrayLike | None = None,
) -> BootstrapInterval:
    """Return the AUROC with its 95 % percentile bootstrap interval; known and unknown images are each resampled alone.

    Arguments as for `auroc`; groups: (N,) and (M,), of images that are drawn together; all is None if either is empty.
    """
    known, unknown = as_scores(known_scores, "known_scores"), as_scores(unknown_scores, "unknown_scores")
    estimate = auroc(known, unknown)
    if estimate is None:
        return BootstrapInterval(None, None, None, 0)
    rng = np.random.default_rng(seed)
    draw, draw_unknown = drawing(len(known), known_groups), drawing(len(unknown), unknown_groups)
    found = [auroc(known[draw(rng)], unknown[draw_unknown(rng)]) for _ in range(n_resamples)]
    low, high = np.quantile(np.array(found, dtype=np.float64), [0.025, 0.975])
    return BootstrapInterval(estimate, float(low), float(high), n_resamples)


def _by_convention(known: np.ndarray, unknown: np.ndarray, positive: Positive) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the negatives and of the positives, turned so that positives should be high."""
    if positive not in ("in", "out"):
        raise ValueError(f"positive must be 'in' or 'out', not {positive!r}")
    return (known, unknown) if positive == "out" else (-unknown, -known)
