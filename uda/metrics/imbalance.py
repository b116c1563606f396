"""Figures of long-tailed classification: classes count the same, however many images there are of them."""

import numpy as np
from numpy.typing import ArrayLike

from uda.metrics.arrays import as_labels, check_lengths
from uda.metrics.unida import class_recalls

MANY, FEW = 100, 20
"""Training images above which a class is one of many, and below which one of few (Liu et al., CVPR 2019, section 5)."""

SIGMA = 0.2
"""The scale of our balancedness: classes whose accuracies are 20 points apart count 1/e. The value is our own, so
figures compare with each other and not with published ones."""


def class_accuracies(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int) -> np.ndarray:
    """Return the accuracy on each class, (C,), NaN where a class has no image.

    y_true, y_pred: (N,) class indices; images with a negative true label are left out.
    """
    found = np.full(n_classes, np.nan)
    for number, recall in class_recalls(y_true, y_pred).items():
        found[number] = recall
    return found


def frequency_groups(counts: ArrayLike) -> dict[str, np.ndarray]:
    """Return which classes, (C,) bool, have many (> 100), medium (20 … 100) and few (< 20) training images.

    counts: (C,) training images of each class. After Liu et al., "Large-scale long-tailed recognition in an open
    world", CVPR 2019.
    """
    n = as_labels(counts, "counts")
    return {"many": n > MANY, "medium": (n >= FEW) & (n <= MANY), "few": n < FEW}


def class_mean(accuracies: ArrayLike) -> float | None:
    """Return the mean of accuracies (C,), of NaN among them those that are none; None where there is no other."""
    values = np.asarray(accuracies, dtype=np.float64)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def balanced_parts(right: ArrayLike, y_true: ArrayLike) -> np.ndarray:
    """Return for each image what it adds, (N,), so that the mean over images is the mean accuracy over classes.

    right: (N,) bool; y_true: (N,) class indices. An image of a class with n of the N images, of K classes present,
    counts N ÷ (K·n) where it is right: 1 in a balanced set.
    """
    correct, labels = np.asarray(right, dtype=np.float64), as_labels(y_true, "y_true")
    check_lengths(right=correct, y_true=labels)
    classes, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return correct * len(labels) / (max(1, len(classes)) * sizes[place])
