"""Labels made wrong on purpose, to measure what a training makes of them."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import softmax
from scipy.stats import truncnorm

from uda.errors import UserError, unknown_name
from uda.random import derived_seed, uniform

Kind = Literal["symmetric", "uniform", "asymmetric", "instance"]

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR10_PAIRS = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
_SPREAD = 0.1  # standard deviation of the flip rates of images (Xia et al., algorithm 2)


def noisy_labels(
    labels: ArrayLike,
    n_classes: int,
    kind: Kind,
    rate: float,
    seed: int,
    features: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    partners: Sequence[int] | None = None,
) -> np.ndarray:
    """Return labels (N,) int64 of which an expected share `rate` has been redrawn; what is −1 (unlabelled) stays.

    labels: (N,) in 0 … n_classes − 1, or negative. Which image is hit is a hash of (seed, its place): the rate is met
    in expectation, not exactly, and but for `instance` a larger rate hits the images of a smaller one and others. A
    rate of 0 changes nothing.

    symmetric: the new label is any of the *other* classes, so that a share `rate` is wrong.
    uniform: it is any class, the true one included (Hendrycks et al., NeurIPS 2018), so rate · (1 − 1/K) is wrong.
    asymmetric: it is the class's partner. partners: (n_classes,) of each class, itself for one that keeps its labels;
    None: with CIFAR-10's class_names those of Patrini et al. (CVPR 2017): truck → automobile, bird → airplane, deer →
    horse, cat ↔ dog, all others kept (so half of `rate` is wrong in all); else c → c + 1 mod K.
    instance: depends on features (N, D), any numbers of the image, which the literature standardizes (Xia et al.,
    NeurIPS 2020, algorithm 2). Each image has a flip rate from a normal of mean `rate` and standard deviation 0.1, cut
    off to [0, 1], and its new label the softmax over the other classes of its features times a random matrix of its
    true class. The expected rate is the mean of that cut-off normal: `rate` but near 0 and 1.

    Raises UserError for a kind that does not exist, a rate outside of [0, 1], fewer than 2 classes or missing features,
    ValueError for labels beyond the classes and arrays that do not fit.
    """
    truth = np.asarray(labels).astype(np.int64)
    _check(truth, n_classes, kind, rate)
    noisy, known = truth.copy(), np.flatnonzero(truth >= 0)
    if rate == 0 or not len(known):
        return noisy
    hit, draw = uniform(seed, 0, torch.from_numpy(known), "label noise", 2).numpy().astype(np.float64).T
    own = truth[known]
    if kind == "instance":
        rates = truncnorm.ppf(hit, -rate / _SPREAD, (1 - rate) / _SPREAD, loc=rate, scale=_SPREAD)
        noisy[known] = _by_features(own, n_classes, rates, _rows(features, truth)[known], draw, seed)
        return noisy
    if kind == "symmetric":
        wrong = (own + 1 + np.floor(draw * (n_classes - 1)).astype(np.int64)) % n_classes
    elif kind == "uniform":
        wrong = np.floor(draw * n_classes).astype(np.int64)
    else:
        wrong = _partners(n_classes, class_names, partners)[own]
    noisy[known] = np.where(hit < rate, wrong, own)
    return noisy


def _by_features(
    own: np.ndarray, n_classes: int, rates: np.ndarray, features: np.ndarray, draw: np.ndarray, seed: int
) -> np.ndarray:
    """Return labels (N,) drawn by each image's flip rate and the projection of its features, class by class."""
    generator = np.random.default_rng(derived_seed(seed, 0, "label noise/projection"))
    noisy = own.copy()
    for c in range(n_classes):  # one matrix (D, K) at a time; all are drawn, so that each is the same whatever is there
        projection = generator.standard_normal((features.shape[1], n_classes))
        rows = np.flatnonzero(own == c)
        scores = features[rows] @ projection
        scores[:, c] = -np.inf
        shares = rates[rows, None] * softmax(scores, axis=1)
        shares[:, c] = 1 - rates[rows]
        passed = shares.cumsum(axis=1)
        noisy[rows] = (passed <= draw[rows, None] * passed[:, -1:]).sum(axis=1)
    return noisy


def _partners(n_classes: int, class_names: Sequence[str] | None, given: Sequence[int] | None) -> np.ndarray:
    """Return the class (K,) that each class is mistaken for."""
    if given is not None:
        partners = np.asarray(given, dtype=np.int64)
        if partners.shape != (n_classes,) or partners.min() < 0 or partners.max() >= n_classes:
            raise ValueError(f"partners must name one of {n_classes} classes for each of them")
        return partners
    if class_names is not None and len(class_names) != n_classes:
        raise ValueError(f"{len(class_names)} class names for {n_classes} classes")
    if class_names is not None and sorted(class_names) == sorted(_CIFAR10):
        names = list(class_names)
        return np.array([names.index(_CIFAR10_PAIRS.get(name, name)) for name in names])
    return (np.arange(n_classes) + 1) % n_classes


def _rows(features: ArrayLike | None, labels: np.ndarray) -> np.ndarray:
    if features is None:
        raise UserError("label noise of the kind 'instance' depends on features: give them, or choose symmetric")
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(labels):
        raise ValueError(f"features must have the shape ({len(labels)}, D), not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("features hold a number that is not finite")
    return rows


def _check(labels: np.ndarray, n_classes: int, kind: str, rate: float) -> None:
    if kind not in get_args(Kind):
        raise unknown_name("kind of label noise", kind, get_args(Kind), "they are in uda/datasets/label_noise.py")
    if not 0 <= rate <= 1:
        raise UserError(f"label noise at a rate of {rate}: give a share between 0 and 1")
    if n_classes < 2:
        raise UserError(f"label noise among {n_classes} classes: there must be at least 2 to confuse")
    if labels.ndim != 1:
        raise ValueError(f"labels must have one dimension, not the shape {labels.shape}")
    if len(labels) and labels.max() >= n_classes:
        raise ValueError(f"labels go up to {labels.max()}, but there are only {n_classes} classes")
