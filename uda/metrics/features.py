"""Figures of a feature space that need no classifier, and how evenly its classes can be told apart."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import svdvals
from scipy.special import entr, logsumexp

from uda.metrics.arrays import as_matrix, as_scores

_BLOCK = 1024  # rows compared at once: memory stays at _BLOCK × N numbers


def l2_normalize(features: np.ndarray) -> np.ndarray:
    """Return the rows (N, D) divided by their Euclidean length; a row of zeros stays zeros."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1.0)


def alignment(a: ArrayLike, b: ArrayLike, alpha: float = 2.0) -> float | None:
    """Return the mean of ‖aᵢ − bᵢ‖^alpha over positive pairs; 0 is best (Wang and Isola, ICML 2020).

    a, b: (N, D) features of two views of the same images, L2-normalized inside. None without images.
    """
    x, y = as_matrix(a, "a"), as_matrix(b, "b")
    if x.shape != y.shape:
        raise ValueError(f"a and b must pair row by row, but have the shapes {x.shape} and {y.shape}")
    if not len(x):
        return None
    distances = np.linalg.norm(l2_normalize(x) - l2_normalize(y), axis=1)
    return float((distances**alpha).mean())


def uniformity(x: ArrayLike, t: float = 2.0) -> float | None:
    """Return log of the mean of exp(−t‖xᵢ − xⱼ‖²) over pairs i < j; lower is more uniform (Wang and Isola, ICML 2020).

    x: (N, D) features, L2-normalized inside. Natural log; 0 if all coincide. None with fewer than two images.
    """
    features = l2_normalize(as_matrix(x, "x"))
    n = len(features)
    if n < 2:
        return None
    squared_lengths = (features**2).sum(axis=1)
    totals = []
    for start in range(0, n - 1, _BLOCK):
        rows = slice(start, min(start + _BLOCK, n))
        squared = squared_lengths[rows, None] + squared_lengths[None, start:] - 2 * features[rows] @ features[start:].T
        later = np.triu(np.ones(squared.shape, dtype=bool), k=1)  # columns start at this block: j > i is above diagonal
        totals.append(logsumexp(-t * np.maximum(squared[later], 0.0)))
    return float(logsumexp(totals) - math.log(n * (n - 1) / 2))


def effective_rank(features: ArrayLike) -> float | None:
    """Return exp of the entropy of the singular values divided by their sum (Roy and Vetterli, EUSIPCO 2007).

    features: (N, D), taken as they are: neither centered nor normalized. Between 1 and min(N, D); the same figure is
    used to choose among self-supervised encoders without labels (RankMe, Garrido et al., ICML 2023). None if there
    are no features or all are zero.
    """
    x = as_matrix(features, "features")
    if not x.any():
        return None
    values = svdvals(x)
    return float(np.exp(entr(values / values.sum()).sum()))


def balancedness(per_class_accuracy: ArrayLike, sigma: float) -> float | None:
    """Return the mean over pairs of classes i < j of exp(−|aᵢ − aⱼ|/sigma); 1 when all are equally accurate.

    per_class_accuracy: (C,) accuracy a of a linear classifier on each class; `sigma` in the same unit (a fraction of 1
    or percent). After Kang et al., "Exploring balanced feature spaces for representation learning", ICLR 2021. A class
    is not paired with itself; the mean over all C² ordered pairs would be (1 + (C − 1)·b)/C for the value b given here.
    None with fewer than two classes.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    accuracy = as_scores(per_class_accuracy, "per_class_accuracy")
    if len(accuracy) < 2:
        return None
    i, j = np.triu_indices(len(accuracy), k=1)
    return float(np.exp(-np.abs(accuracy[i] - accuracy[j]) / sigma).mean())
