"""A linear support vector machine on frozen features, its C chosen by cross-validation on the training features."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from uda.errors import UserError
from uda.probes.features import checked, finite
from uda.probes.low_label import LabelBudget, labelled_rows
from uda.random import hash_bits

COSTS = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
_FALLBACK = 1.0  # where every class has one image, none can be held out
_FOLDS = 3
_PATIENCE = 3  # values of C without gain after which larger ones, the slow ones, are not tried
_SEARCHED = 2000  # images that choose C


@dataclass(frozen=True)
class SvmProbe:
    """One linear machine against the rest for each class: scores = features · weightᵀ + bias, the largest wins.

    weight: (C, D), bias: (C,) float64 on the CPU; a class without training images has the bias −inf. Features are
    L2-normalized first if `normalize`. cost is the C that was used, cross_validated the (C, accuracy) pairs it was
    chosen from, and converged says whether the last fit did.
    """

    weight: Tensor
    bias: Tensor
    normalize: bool
    cost: float
    cross_validated: tuple[tuple[float, float], ...]
    converged: bool

    def scores(self, features: Tensor) -> Tensor:
        """(N, D) → signed margins (N, C) float64 on the CPU."""
        x = finite(features).cpu().double()
        return (F.normalize(x, dim=1) if self.normalize else x) @ self.weight.T + self.bias

    def predict(self, features: Tensor) -> Tensor:
        """(N, D) → classes (N,) int64 on the CPU."""
        return self.scores(features).argmax(dim=1)


def fit_svm(
    features: Tensor,
    labels: Tensor | np.ndarray,
    n_classes: int,
    cost: float | None = None,
    normalize: bool = True,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> SvmProbe:
    """Return a linear SVM (squared hinge, one against the rest) on features (N, D) with labels (N,).

    Without `cost` its C is the one of `COSTS` with the best accuracy in 3-fold cross-validation on at most 2,000 of
    these features, as many of each class, with C scaled so that the balance of penalty and loss is that of all N; the
    smallest of equals. The search goes upward and ends after three values without gain. Folds depend on `seed` alone;
    groups: (N,) int64, which no fold divides.
    The primal problem is solved (Newton's method with a trust region), which is deterministic and converges at large C
    too. CPU, one thread. Raises UserError for fewer than two classes, a C that is not positive, or features that are
    not finite.
    """
    x_all, y_all = checked(features, labels, n_classes)
    x_all, y = x_all.cpu().double(), y_all.cpu().numpy()
    x = (F.normalize(x_all, dim=1) if normalize else x_all).numpy()
    present = len(np.unique(y))
    if present < 2:
        raise UserError("a linear SVM needs images of at least 2 classes to train on; check the folder or --labels")
    if cost is not None and not cost > 0:
        raise UserError(f"a linear SVM with C={cost}: give a positive number, such as 1")
    searched: list[tuple[float, float]] = []
    if cost is None:
        cost, searched = _choose(x, y, present, seed, groups)
    machine, converged = _fit(x, y, cost)
    weight, bias = (
        torch.zeros(n_classes, x.shape[1], dtype=torch.float64),
        torch.full((n_classes,), -torch.inf).double(),
    )
    sign = 1.0 if present > 2 else np.array([[-1.0], [1.0]])  # of two classes scikit-learn keeps one machine
    weight[machine.classes_] = torch.from_numpy(sign * machine.coef_)
    bias[machine.classes_] = torch.from_numpy(np.ravel(sign * machine.intercept_))
    return SvmProbe(weight, bias, normalize, cost, tuple(searched), converged)


def _choose(
    x: np.ndarray, y: np.ndarray, present: int, seed: int, groups: np.ndarray | None
) -> tuple[float, list[tuple[float, float]]]:
    """Return the best C, and the accuracy of every one that was tried."""
    rows = labelled_rows(y, LabelBudget(count=min(len(y), max(_SEARCHED, _FOLDS * present))), seed)
    scale = len(y) / len(rows)
    x, y = x[rows], y[rows]
    fold = _folds(y, seed) if groups is None else _group_folds(y, groups[rows], seed)
    tested = fold >= 0
    if not tested.any():
        return _FALLBACK, []
    searched: list[tuple[float, float]] = []
    best, since = (-1.0, _FALLBACK), 0
    for cost in COSTS:
        right = np.zeros(len(y), dtype=bool)
        for number in np.unique(fold[tested]):
            held = fold == number
            machine, _ = _fit(x[~held], y[~held], cost * scale)
            right[held] = machine.predict(x[held]) == y[held]
        accuracy = float(right[tested].mean())
        searched.append((cost, accuracy))
        best, since = ((accuracy, cost), 0) if accuracy > best[0] else (best, since + 1)
        if since == _PATIENCE:
            break
    return best[1], searched


def _folds(y: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold of each row (N,), an equal share of each class in each; −1 for the only image of its class."""
    draw = hash_bits(seed, 0, torch.arange(len(y)), "svm folds", 1)[:, 0].numpy()
    order = np.lexsort((draw, y))
    _, start, count = np.unique(y[order], return_index=True, return_counts=True)
    rank = np.arange(len(y)) - np.repeat(start, count)
    fold = np.empty(len(y), dtype=np.int64)
    fold[order] = np.where(np.repeat(count, count) > 1, rank % _FOLDS, -1)
    return fold


def _group_folds(y: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold of each row (N,) where groups (N,) are not divided: a group of every class to each in turn.

    A group counts for its most frequent class; −1 for the only group of one, and for a fold that holds all of a class.
    """
    names, place = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(y.max()) + 1), dtype=np.int64)
    np.add.at(counts, (place, y), 1)
    fold: np.ndarray = _folds(counts.argmax(axis=1), seed)[place]
    for number in range(_FOLDS):
        if len(np.unique(y[fold != number])) < len(np.unique(y)):
            fold[fold == number] = -1
    return fold


def _fit(x: np.ndarray, y: np.ndarray, cost: float) -> tuple[LinearSVC, bool]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine = LinearSVC(C=cost, dual=False, max_iter=2000).fit(x, y)
    return machine, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
