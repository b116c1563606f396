"""A linear classifier on frozen features: regularized logistic regression."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uda.datasets.groups import held_out_groups
from uda.errors import UserError
from uda.probes.features import checked, finite
from uda.random import hash_bits

REGULARIZATIONS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # strongest first: each fit starts from the one before
_FALLBACK = 1e-2  # where every class has one image, none can be held out
_CELLS = 1 << 25  # logits held at once


@dataclass(frozen=True)
class LinearProbe:
    """A fitted classifier on features as they are: logits = features · weightᵀ + bias.

    weight: (C, D) and bias: (C,), standardization folded in; a class without training images has the bias −inf and is
    never predicted. regularization is the λ that was used; held_out how many images chose it (0: it was not chosen).
    """

    weight: Tensor
    bias: Tensor
    regularization: float
    held_out: int = 0

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) → (N, C), on the device of the weights."""
        return finite(features).to(self.weight.device, self.weight.dtype) @ self.weight.T + self.bias

    def predict(self, features: Tensor) -> Tensor:
        """(N, D) → classes (N,) int64."""
        return self.logits(features).argmax(dim=1)

    def probabilities(self, features: Tensor) -> Tensor:
        """(N, D) → (N, C), rows sum to 1."""
        return self.logits(features).softmax(dim=1)


@torch.no_grad()
def fit_linear(
    features: Tensor,
    labels: Tensor | np.ndarray,
    n_classes: int,
    regularization: float | None = None,
    standardize: bool = True,
    seed: int = 0,
    max_iterations: int = 200,
    groups: np.ndarray | None = None,
) -> LinearProbe:
    """Return the minimizer of mean cross-entropy + λ/2 · ‖weight‖², by full-batch L-BFGS on the features' device.

    features: (N, D), labels: (N,). λ = 1 / (C·N) in scikit-learn's terms, 2 / (C·N) for two classes, where it
    has one weight vector; the bias is not regularized. Without
    `regularization` it is the one of `REGULARIZATIONS` with the highest accuracy on a held-out fifth of each class of
    *these* features (of equals the lowest loss), after which all of them are fitted; which are held out depends on
    `seed` alone; groups: (N,) int64, which are never divided there: where a class has none to spare, λ is 1e-2.
    `standardize` subtracts each dimension's mean and
    divides by its standard deviation. Raises UserError for fewer than two classes, a λ that is not positive, or
    features that are not finite.
    """
    x, y, classes = _training_set(features, labels, n_classes)
    if regularization is not None and not regularization > 0:
        raise UserError(f"a linear probe with regularization={regularization}: give a positive number, such as 1e-3")
    mean, scale = _moments(x) if standardize else (torch.zeros_like(x[0]), torch.ones_like(x[0]))
    x = (x - mean) / scale
    start = x.new_zeros(len(classes), x.shape[1] + 1)
    held = held_out_rows(y, seed, groups=groups) if regularization is None else y.new_empty(0)
    if groups is not None and len(y[held].unique()) < len(classes):
        held = held[:0]  # a few groups of some classes alone would choose at random
    chosen = _FALLBACK if regularization is None else regularization
    if len(held):
        kept = torch.ones(len(y), dtype=torch.bool, device=y.device).index_fill_(0, held, False)
        best = (-1.0, 0.0)
        warm, best_start = start, start
        for candidate in REGULARIZATIONS:
            warm = _minimize(x[kept], y[kept], candidate, warm, max_iterations)
            logits = x[held] @ warm[:, :-1].T + warm[:, -1]
            score = (float((logits.argmax(1) == y[held]).double().mean()), -float(F.cross_entropy(logits, y[held])))
            if score > best:
                best, chosen, best_start = score, candidate, warm
        start = best_start
    fitted = _minimize(x, y, chosen, start, max_iterations)
    return _folded(fitted, mean, scale, classes, n_classes, chosen, len(held))


def held_out_rows(labels: Tensor, seed: int, share: float = 0.2, groups: np.ndarray | None = None) -> Tensor:
    """Return the rows (M,) of that share of each class, at least one where a class has two images, none where one.

    groups: (N,) int64, which are never divided; None: every image stands for itself.
    """
    y = labels.cpu()
    if groups is not None:
        return torch.from_numpy(held_out_groups(y.numpy(), groups, share, seed)).to(labels.device)
    order = hash_bits(seed, 0, torch.arange(len(y)), "held out", 1)[:, 0].argsort(stable=True)
    order = order[y[order].argsort(stable=True)]
    counts = torch.bincount(y)
    quota = (counts * share + 0.5).long().clamp_min(1).minimum(counts - 1)
    rank = torch.arange(len(y)) - (counts.cumsum(0) - counts)[y[order]]
    return order[rank < quota[y[order]]].sort().values.to(labels.device)


def _training_set(features: Tensor, labels: Tensor | np.ndarray, n_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features, their labels among the classes that occur, and those classes."""
    x, y = checked(features, labels, n_classes)
    classes, y = y.unique(return_inverse=True)
    if len(classes) < 2:
        raise UserError("a linear probe needs images of at least 2 classes to train on; check the folder or --labels")
    return x, y, classes


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    scale, mean = torch.std_mean(x, dim=0, correction=0)
    # A dimension that never changes is nothing but rounding: it stays zero instead of being blown up.
    constant = scale <= 1e-6 * mean.abs()
    return mean, torch.where(constant, 1.0, scale)


def _folded(
    parameters: Tensor, mean: Tensor, scale: Tensor, classes: Tensor, n_classes: int, regularization: float, held: int
) -> LinearProbe:
    """Return the probe over all classes and plain features for parameters (classes, D + 1) on standardized ones."""
    weight = parameters.new_zeros(n_classes, len(mean))
    bias = parameters.new_full((n_classes,), -torch.inf)
    weight[classes] = parameters[:, :-1] / scale
    bias[classes] = parameters[:, -1] - weight[classes] @ mean
    return LinearProbe(weight, bias, regularization, held)


def _minimize(x: Tensor, y: Tensor, regularization: float, start: Tensor, max_iterations: int) -> Tensor:
    """Return weight and bias side by side (C, D + 1) that minimize the regularized mean cross-entropy."""
    parameters = start.clone()
    optimizer = torch.optim.LBFGS(
        [parameters],
        max_iter=max_iterations,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )
    block = max(1, _CELLS // len(start))

    def closure() -> Tensor:
        weight, bias = parameters[:, :-1], parameters[:, -1]
        loss = regularization / 2 * weight.square().sum()
        gradient = F.pad(regularization * weight, (0, 1))
        for part, labels in zip(x.split(block), y.split(block), strict=True):
            log_probabilities = torch.addmm(bias, part, weight.T).log_softmax(1)
            loss = loss + F.nll_loss(log_probabilities, labels, reduction="sum") / len(x)
            error = log_probabilities.exp_()
            error[torch.arange(len(labels), device=labels.device), labels] -= 1
            gradient[:, :-1].addmm_(error.T, part, alpha=1 / len(x))
            gradient[:, -1] += error.sum(0) / len(x)
        parameters.grad = gradient
        return loss

    optimizer.step(closure)
    return parameters
