"""Weighted nearest neighbors on frozen features: the evaluation that needs no training (Wu et al., CVPR 2018)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uda.errors import UserError
from uda.probes.features import checked, finite

_CELLS = 1 << 25  # similarities held at once: 128 MiB in float32
_UNIT = 1 << 40  # a vote of 1 in fixed point


@dataclass(frozen=True)
class Neighbors:
    """What the neighbors of N queries say: probabilities (N, C) are each class's share of the votes."""

    probabilities: Tensor

    @property
    def predictions(self) -> Tensor:
        """The classes with most votes (N,) int64, the lowest of equals."""
        return self.probabilities.argmax(dim=1)


def knn(
    queries: Tensor, bank: Tensor, labels: Tensor | np.ndarray, n_classes: int, k: int = 200, temperature: float = 0.1
) -> Neighbors:
    """Return the vote of each query's k nearest bank features by cosine similarity s, each worth exp(s / temperature).

    queries: (N, D), bank: (M, D) with labels (M,) in 0 … n_classes − 1; L2-normalized inside, computed on the bank's
    device in blocks, never N × M at once. k is cut to M. k 200 and temperature 0.1 are those of Wu et al. (CVPR 2018,
    with 0.07); DINO (Caron et al., ICCV 2021) takes k 10 to 200 and 0.07. Raises UserError for k below 1, a temperature
    that is not positive, an empty bank, or features that are not finite.
    """
    bank, labels = checked(bank, labels, n_classes)
    queries = finite(queries).to(bank.device, bank.dtype)
    if queries.shape[1] != bank.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions and the bank {bank.shape[1]}")
    return _vote(queries, bank, labels, n_classes, k, temperature, leave_one_out=False)


def knn_leave_one_out(
    features: Tensor, labels: Tensor | np.ndarray, n_classes: int, k: int = 200, temperature: float = 0.1
) -> Neighbors:
    """Return the same vote for each feature (N, D) among all the others, k cut to N − 1.

    It watches a training on its own images, without a test set. Needs at least two features; errors as `knn`.
    """
    features, labels = checked(features, labels, n_classes)
    if len(features) < 2:
        raise UserError("leave-one-out nearest neighbors need at least 2 labelled images; check the folder")
    return _vote(features, features, labels, n_classes, k, temperature, leave_one_out=True)


@torch.no_grad()
def _vote(
    queries: Tensor, bank: Tensor, labels: Tensor, n_classes: int, k: int, temperature: float, leave_one_out: bool
) -> Neighbors:
    if k < 1:
        raise UserError(f"nearest neighbors with k={k}: give a k of at least 1")
    if not temperature > 0:
        raise UserError(f"nearest neighbors with temperature={temperature}: give a positive temperature, such as 0.1")
    probabilities = torch.empty(len(queries), n_classes, dtype=bank.dtype, device=bank.device)
    for place, nearest, rows in neighbors(queries, bank, k, leave_one_out):
        # Relative to the nearest one, which changes no share and cannot overflow at a small temperature.
        weights = ((nearest - nearest[:, :1]) / temperature).exp()
        # In fixed point, because a GPU adds floats in an order that varies.
        votes = torch.zeros(len(rows), n_classes, dtype=torch.int64, device=bank.device)
        votes.scatter_add_(1, labels[rows], (weights.double() * _UNIT).round().long())
        share = votes.double() / votes.sum(dim=1, keepdim=True)
        probabilities[place] = share.to(bank.dtype)
    return Neighbors(probabilities)


@torch.no_grad()
def neighbors(
    queries: Tensor, bank: Tensor, k: int, leave_one_out: bool = False
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Give, block by block of the queries, which it is, and its k nearest of the bank by cosine, the nearest first.

    queries: (N, D), bank: (M, D), L2-normalized here; k is cut to M. Each block of n queries is (slice, cosines (n, k),
    rows of the bank (n, k)). leave_one_out: the queries are the bank, and none is its own neighbor.
    """
    k = min(k, len(bank) - leave_one_out)
    queries, bank = F.normalize(queries, dim=1), F.normalize(bank, dim=1)
    block = max(1, _CELLS // len(bank))
    for first in range(0, len(queries), block):
        similarity = queries[first : first + block] @ bank.T
        if leave_one_out:
            similarity.diagonal(first).fill_(-torch.inf)
        yield slice(first, first + block), *similarity.topk(k, dim=1)
