"""Balanced assignments to prototypes or clusters, and the loss of predicting one view's from another's."""

import math

import torch
from torch import Tensor

from uda.ssl.functional.precision import precise

_TOLERANCE = 0.01  # Σ|c/c′ − 1|; the published code stops at 0.1, where near ties still depend on the implementation
_MOST_ITERATIONS = 2000


def swav(scores: Tensor, codes: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the mean cross-entropy from codes to softmax(scores ÷ temperature), in one direction.

    Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments" (SwAV), NeurIPS 2020,
    equation 2.

    scores: (B, K) products of one view's features with the prototypes; codes: (B, K) of another view of the same
    images, rows summing to 1, which carry no gradient.
    """
    if scores.shape != codes.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and codes {tuple(codes.shape)} want the same shape (B, K)")
    return -(codes.detach() * (precise(scores) / temperature).log_softmax(1)).sum(1).mean()


def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Return soft codes that share the batch equally among the prototypes, (B, K) → (B, K).

    SwAV, section 3.1, equations 3 to 5 (Cuturi, NeurIPS 2013).

    scores: (B, K) products with the prototypes; epsilon: weight of the entropy. Columns and rows are normalized in turn
    in the log domain, where no score under- or overflows. Rows sum to 1; columns sum to B ÷ K the more exactly the more
    iterations there are. The codes carry no gradient.
    """
    if iterations < 1:
        raise ValueError(f"sinkhorn wants at least one iteration, not {iterations}")
    log_codes = precise(scores.detach()) / epsilon
    for _ in range(iterations):
        log_codes = log_codes - log_codes.logsumexp(0, keepdim=True)
        log_codes = log_codes - log_codes.logsumexp(1, keepdim=True)
    return log_codes.exp()


@torch.no_grad()
def self_label(log_probs: Tensor, lambd: float = 10.0) -> Tensor:
    """Return the likeliest labels under the constraint that all labels are used equally, (N, K) → (N,) int64.

    Asano, Rupprecht and Vedaldi, "Self-labelling via simultaneous clustering and representation learning", ICLR 2020,
    section 3.1: the row-wise argmax of the optimal transport plan with cost −log_probs, uniform marginals and entropic
    regularization 1 ÷ lambd. Computed in float64 until Σ|c/c′ − 1|, the relative change of the images' scaling factors
    in one iteration, is below 0.01: by POT on the CPU, by the same iteration in torch on other devices.

    log_probs: (N, K) log-probabilities of N images over K labels, on any device. The labels are as balanced as the
    plan is sharp: equal counts in the limit of a large lambd.
    """
    log_probs = log_probs.double()
    plan = transport_plan_by_pot if log_probs.device.type == "cpu" else transport_plan
    return plan(log_probs, lambd).argmax(1)


def transport_plan(log_probs: Tensor, lambd: float) -> Tensor:
    """Return the plan of `self_label`, (N, K) float64: rows sum to 1 ÷ N, columns to about 1 ÷ K; on any device."""
    n, k = log_probs.shape
    kernel = lambd * log_probs
    rows = kernel.new_full((n,), -math.log(n))
    for iteration in range(1, _MOST_ITERATIONS + 1):
        columns = -math.log(k) - (kernel + rows[:, None]).logsumexp(0)
        before, rows = rows, -math.log(n) - (kernel + columns).logsumexp(1)
        # reading the change stops the device, so it is looked at every tenth time
        if iteration % 10 == 0 and (before - rows).expm1().abs().sum() < _TOLERANCE:
            break
    return (kernel + rows[:, None] + columns).exp()


def transport_plan_by_pot(log_probs: Tensor, lambd: float) -> Tensor:
    """Return the plan of `self_label`, (N, K) float64, by POT's Sinkhorn algorithm in the log domain."""
    import ot  # it looks for every array library there is, which takes seconds

    n, k = log_probs.shape
    return ot.sinkhorn(
        log_probs.new_full((n,), 1 / n),
        log_probs.new_full((k,), 1 / k),
        -log_probs,
        reg=1 / lambd,
        method="sinkhorn_log",
        # POT looks at the columns' Euclidean error. Their absolute error bounds that of the rows after the next update,
        # which is Σ|c/c′ − 1| ÷ N.
        stopThr=_TOLERANCE / (n * math.sqrt(k)),
        numItermax=_MOST_ITERATIONS,
        warn=False,
    )
