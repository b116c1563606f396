"""Universal domain adaptation: how well known classes are named and unknown ones rejected.

Throughout, labels are class indices, `unknown` is the one index that stands for all target-private classes, and an
image whose true label is negative (and not `unknown` itself) is unlabelled and left out. A figure is undefined, None,
where the images it is about are absent: a target without private classes has no unknown accuracy, not 0/0.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from uda.metrics.arrays import as_labels, as_matrix, as_scores, check_lengths
from uda.metrics.features import l2_normalize
from uda.metrics.ood import auroc, oscr

UNIDA_METRICS = (
    "known_accuracy",
    "unknown_accuracy",
    "h_score",
    "h3_score",
    "per_class_accuracy",
    "closed_accuracy",
    "auroc",
    "oscr",
    "nmi",
    "universal_score",
)


def class_recalls(y_true: ArrayLike, y_pred: ArrayLike, unknown: int | None = None) -> dict[int, float]:
    """Return, for each class that occurs in `y_true`, the share of its images that are predicted right.

    y_true, y_pred: (N,) class indices. Negative true labels are left out, save `unknown` if that is negative.
    """
    true, pred = as_labels(y_true, "y_true"), as_labels(y_pred, "y_pred")
    check_lengths(y_true=true, y_pred=pred)
    classes = [int(c) for c in np.unique(true) if c >= 0 or c == unknown]
    return {c: float((pred[true == c] == c).mean()) for c in classes}


def known_accuracy(y_true: ArrayLike, y_pred: ArrayLike, unknown: int) -> float | None:
    """Return the mean recall over the known classes present (each class counts the same); a rejection is an error.

    The first paper to use the H-score (Fu et al., ECCV 2020) weighted by images; the class mean is today's convention.
    """
    recalls = class_recalls(y_true, y_pred, unknown)
    return _mean([recall for c, recall in recalls.items() if c != unknown])


def unknown_accuracy(y_true: ArrayLike, y_pred: ArrayLike, unknown: int) -> float | None:
    """Return the share of unknown images that are rejected; None if there is none."""
    return class_recalls(y_true, y_pred, unknown).get(unknown)


def per_class_accuracy(y_true: ArrayLike, y_pred: ArrayLike, unknown: int) -> float | None:
    """Return the mean recall over the known classes present and the one class "unknown", if that is present.

    The figure of DANCE (Saito et al., NeurIPS 2020), there called OS. An absent class is left out, not counted as 0.
    """
    return _mean(list(class_recalls(y_true, y_pred, unknown).values()))


def h_score(y_true: ArrayLike, y_pred: ArrayLike, unknown: int) -> float | None:
    """Return the harmonic mean 2au/(a+u) of known accuracy a (class mean) and unknown accuracy u.

    Source: Fu et al., ECCV 2020. 0 if both are 0; None where there is no known or no unknown image.
    """
    return _harmonic_mean([known_accuracy(y_true, y_pred, unknown), unknown_accuracy(y_true, y_pred, unknown)])


def h3_score(y_true: ArrayLike, y_pred: ArrayLike, unknown: int, nmi: float | None) -> float | None:
    """Return the harmonic mean of known accuracy, unknown accuracy and the NMI of the target-private images.

    Source: H³ of UniOT (Chang et al., NeurIPS 2022). `nmi` comes from `private_nmi`, an oracle figure, which makes
    this one too. 0 if any of the three is 0; None where any is undefined.
    """
    known, rejected = known_accuracy(y_true, y_pred, unknown), unknown_accuracy(y_true, y_pred, unknown)
    return _harmonic_mean([known, rejected, nmi])


def universal_score(y_true: ArrayLike, y_pred: ArrayLike, unknown: int) -> float | None:
    """Return the one number comparable over the four settings.

    It is the H-score where unknown images are present, else the class-mean accuracy with every rejection an error.
    """
    rejected = unknown_accuracy(y_true, y_pred, unknown)
    return known_accuracy(y_true, y_pred, unknown) if rejected is None else h_score(y_true, y_pred, unknown)


def closed_accuracy(y_true: ArrayLike, closed_pred: ArrayLike, unknown: int) -> float | None:
    """Return the share of known images named right when nothing may be rejected; None if there is none.

    closed_pred: (N,) argmax over the known classes. It is *instance* accuracy (every image counts the same), as
    OVANet and UniOT report it, and not the class mean of `known_accuracy`.
    """
    true, pred = as_labels(y_true, "y_true"), as_labels(closed_pred, "closed_pred")
    check_lengths(y_true=true, closed_pred=pred)
    known = (true >= 0) & (true != unknown)
    return float((pred == true)[known].mean()) if known.any() else None


def private_nmi(features: ArrayLike, private_labels: ArrayLike, seed: int = 0) -> float | None:
    """Return how well k-means on the features finds the target-private classes, as normalized mutual information.

    features: (N, D), L2-normalized inside. private_labels: (N,) true private class, −1 for images that are not private.
    An *oracle* figure, as published (UniOT): k-means runs on the *true* private images with the *true* number of
    classes (ten starts; mutual information divided by the arithmetic mean of the entropies), so it measures features,
    not what a user without labels could get. None with fewer than two private classes. The result depends on `seed`
    and, as k-means draws its starts by row, on the order of the images.
    """
    rows, labels = np.asarray(features), as_labels(private_labels, "private_labels")
    check_lengths(features=rows, private_labels=labels)
    x, labels = as_matrix(rows[labels >= 0], "features"), labels[labels >= 0]
    n_classes = len(np.unique(labels))
    if n_classes < 2:
        return None
    kmeans = KMeans(n_clusters=n_classes, n_init=10, random_state=seed % 2**32)  # scikit-learn takes 32 bits
    return float(normalized_mutual_info_score(labels, kmeans.fit_predict(l2_normalize(x))))


def unida_metrics(
    labels: ArrayLike,
    predictions: ArrayLike,
    closed_predictions: ArrayLike,
    unknown_scores: ArrayLike,
    unknown: int,
    nmi: float | None = None,
) -> dict[str, float | None]:
    """Return every figure of universal domain adaptation by name (`UNIDA_METRICS`), None where undefined.

    labels:             (N,) true classes 0 … K−1, `unknown` = K for target-private images, −1 if unlabelled (left out).
    predictions:        (N,) classes 0 … K−1, or `unknown` where the method rejects.
    closed_predictions: (N,) classes 0 … K−1: the prediction with rejection switched off.
    unknown_scores:     (N,) higher means more unknown; for AUROC and OSCR.
    nmi:                what `private_nmi` says, for itself and H³.
    Raises ValueError for lengths that differ and for labels that contradict each other.
    """
    true, pred = as_labels(labels, "labels"), as_labels(predictions, "predictions")
    closed, scores = as_labels(closed_predictions, "closed_predictions"), as_scores(unknown_scores, "unknown_scores")
    check_lengths(labels=true, predictions=pred, closed_predictions=closed, unknown_scores=scores)
    if unknown < 0 or (true > unknown).any():
        raise ValueError(f"labels must be 0 … {unknown - 1} for known classes, {unknown} for unknown, -1 for no label")
    if (closed == unknown).any():
        raise ValueError("closed_predictions reject images; give the argmax over the known classes alone")
    rows = true >= 0
    true, pred, closed, scores = true[rows], pred[rows], closed[rows], scores[rows]
    known = true != unknown
    return {
        "known_accuracy": known_accuracy(true, pred, unknown),
        "unknown_accuracy": unknown_accuracy(true, pred, unknown),
        "h_score": h_score(true, pred, unknown),
        "h3_score": h3_score(true, pred, unknown, nmi),
        "per_class_accuracy": per_class_accuracy(true, pred, unknown),
        "closed_accuracy": closed_accuracy(true, closed, unknown),
        "auroc": auroc(scores[known], scores[~known]),
        "oscr": oscr((closed == true)[known], scores[known], scores[~known]),
        "nmi": nmi,
        "universal_score": universal_score(true, pred, unknown),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _harmonic_mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return None
    return 0.0 if min(defined) <= 0 else len(defined) / sum(1 / value for value in defined)
