"""Losses for classes of unequal sizes, as pure functions: logits (B, C), labels (B,), classes' counts (C,)."""

import torch.nn.functional as F
from torch import Tensor


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Return the weight of each class, (C,) float: (1 − β) / (1 − β^n), then scaled so that they sum to C.

    counts: (C,) images of each class, at least 1. β = 0 weights all alike, β → 1 by 1 ÷ n (Cui et al., "Class-balanced
    loss based on effective number of samples", CVPR 2019, equation 10).
    """
    weights = (1 - beta) / (1 - beta ** counts.double())
    return (weights * len(counts) / weights.sum()).float()


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over images of the weight of its class (C,) times its cross-entropy.

    The mean is over B, not over the weights in the batch (torch's own), so that a batch of rare classes counts more.
    """
    return (weights[labels] * F.cross_entropy(logits, labels, reduction="none")).mean()


def ldam_margins(counts: Tensor, most: float) -> Tensor:
    """Return the margin of each class, (C,) float, proportional to n^(−1/4), the rarest class's being `most`.

    Cao et al., "Learning imbalanced datasets with label-distribution-aware margin loss", NeurIPS 2019, equation 11.
    """
    margins = counts.double() ** -0.25
    return (margins * most / margins.max()).float()


def ldam(cosines: Tensor, labels: Tensor, margins: Tensor, scale: float, weights: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of scale · (cosine − margin of the true class, there alone), weighted if asked.

    cosines: (B, C) of features and class vectors (Cao et al., NeurIPS 2019, equation 13, with the scale of their code).
    A weighted one is divided by the weights in the batch, as in their code, and so stays as large as it was without.
    """
    held_back = F.one_hot(labels, cosines.shape[1]) * margins[labels, None]
    return F.cross_entropy(scale * (cosines - held_back), labels, weight=weights)


def logit_adjusted(logits: Tensor, labels: Tensor, counts: Tensor, tau: float) -> Tensor:
    """Return the cross-entropy of logits + τ · log(share of the class in training).

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10; the plain logits then answer as if
    all classes were equally frequent.
    """
    shares = counts / counts.sum()
    return F.cross_entropy(logits + tau * shares.log(), labels)
