"""How well features tell classes apart: each labelled image is named by a probe that has not learned from it."""

import numpy as np
import torch
from torch import Tensor

from uda.probes.linear import fit_linear
from uda.random import permutation

FOLDS = 5


def fold_of(labels: np.ndarray, folds: int = FOLDS, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the fold of each image, (N,) in 0 … folds − 1, every class spread over them as evenly as it can be.

    groups: (N,), those of which no fold divides one; a group counts for its most frequent class.
    """
    if groups is None:
        return _place_in_class(labels, "folds") % folds
    names, place = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(counts, (place, labels), 1)
    return (_place_in_class(counts.argmax(axis=1), "folds") % folds)[place]


def even_rows(labels: np.ndarray) -> np.ndarray | None:
    """Return rows (M,), ascending, of as many images of every class as the rarest one has, the same in every run.

    labels: (N,). All rows, where classes are of equal size; None where a class has a single image.
    """
    counts = np.bincount(labels)
    least = counts[counts > 0].min(initial=len(labels))
    return np.flatnonzero(_place_in_class(labels, "even rows") < least) if least > 1 else None


def _place_in_class(labels: np.ndarray, purpose: str) -> np.ndarray:
    """Return the place of each image in a random order of its class, (N,) from 0."""
    order = permutation(len(labels), 0, 0, purpose)
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    places = np.empty(len(labels), dtype=np.int64)
    places[order] = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[order]]
    return places


def cross_fitted(
    features: Tensor, labels: np.ndarray, n_classes: int, folds: int = FOLDS, groups: np.ndarray | None = None
) -> np.ndarray | None:
    """Return the class that a linear probe names for each image, (N,), fitted on the images of the other folds.

    features: (N, D), labels: (N,). Every class has about the same share in what each probe learns from, so that classes
    of equal size are treated alike. groups: (N,), none of which is learned from and asked about. None where fewer than
    two classes have a second image (or group) to learn from.
    """
    of = fold_of(labels, folds, groups)
    if sum(len(np.unique(of[labels == label])) > 1 for label in np.unique(labels)) < 2:
        return None
    named = np.empty(len(labels), dtype=np.int64)
    for number in np.unique(of):
        own = of == number
        probe = fit_linear(features[torch.from_numpy(~own)], labels[~own], n_classes)
        named[own] = probe.predict(features[torch.from_numpy(own)]).cpu().numpy()
    return named
