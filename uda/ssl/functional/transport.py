"""Entropic optimal transport between images and prototypes, and what UniOT reads from its plan."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.ssl.functional.precision import precise


class Plan(NamedTuple):
    """A transport plan: log (..., N, K), its logarithm for one copy of each row; columns (..., K), potentials.

    `plan_rows` makes rows of the same plan for images that were not in it.
    """

    log: Tensor
    columns: Tensor


@torch.no_grad()
def transport(
    scores: Tensor,
    counts: Tensor,
    masses: Tensor,
    epsilon: float = 0.01,
    kappa: float = math.inf,
    iterations: int = 50,
    start: Tensor | None = None,
) -> Plan:
    """Return the entropic transport plan Q between N rows and K columns, by Sinkhorn's algorithm in the log domain.

    Q minimizes −⟨Q, scores⟩ − epsilon·H(Q) + kappa·(KL(Q1 ‖ a) + KL(Qᵀ1 ‖ b)): unbalanced transport (Chizat et al.,
    "Scaling algorithms for unbalanced optimal transport problems", Mathematics of Computation 2018); with kappa = ∞ the
    marginals are kept, as in balanced transport (Cuturi, NeurIPS 2013).

    scores: (..., N, K), the negative cost; counts: (..., N), how often each row is there (0 leaves it out, 2 stands for
    two equal rows; fractions too), so that a = 1 ÷ Σ counts each; masses: (..., K) positive, b. Plans of a batch are
    independent. start: (..., K), potentials of the columns to start from (None: zero), such as those of the plan of a
    moment ago. The number of iterations is fixed: nothing is read back from the device. The plan carries no gradient.
    """
    kernel = (precise(scores) / epsilon).mT.contiguous()  # (..., K, N): sums along the long axis are faster
    log_counts, log_masses = precise(counts).log(), precise(masses).log()
    log_row = -log_counts.logsumexp(-1, keepdim=True)
    relaxed = _relaxation(epsilon, kappa)
    columns = torch.zeros_like(log_masses) if start is None else precise(start)
    for _ in range(iterations):
        rows = relaxed * (log_row - (kernel + columns[..., None]).logsumexp(-2))
        columns = relaxed * (log_masses - (kernel + (rows + log_counts)[..., None, :]).logsumexp(-1))
    return Plan(plan_rows(scores, columns, log_row, epsilon, kappa), columns)


def plan_rows(scores: Tensor, columns: Tensor, log_row: Tensor, epsilon: float, kappa: float) -> Tensor:
    """Return the logarithms of a plan's rows (..., N, K), given the potentials of its columns.

    scores: (..., N, K); columns: (..., K); log_row: (..., 1), logarithm of the mass that each row was to have.
    """
    logits = precise(scores) / epsilon + columns[..., None, :]
    rows = _relaxation(epsilon, kappa) * (log_row - logits.logsumexp(-1))
    return rows[..., None] + logits


def _relaxation(epsilon: float, kappa: float) -> float:
    """Return the exponent of Sinkhorn's scaling: 1 where the marginals are kept, less where they may give."""
    return 1.0 if math.isinf(kappa) else kappa / (kappa + epsilon)


class Filled(NamedTuple):
    """Rows of a transport problem: similarities (R, K), the given ones first, and how often each counts (R,)."""

    similarities: Tensor
    counts: Tensor


@torch.no_grad()
def adaptive_filling(similarities: Tensor, prototypes: Tensor, gamma: float, given: int | None = None) -> Filled:
    """Add made-up images until as many are near a source prototype as are not, so that the mean can divide them.

    Chang et al., "Unified optimal transport framework for universal domain adaptation" (UniOT), NeurIPS 2022, adaptive
    filling of the common class detection.

    similarities: (N, K) cosines of target features with the prototypes; prototypes: (K, D) with unit rows. An image
    counts as near if its largest cosine exceeds gamma. If most are near, features half-way between an image and its
    farthest prototype are added, which stand for private classes; otherwise the prototypes themselves, which stand for
    common ones. Instead of drawing at random, all candidates are added, each with the same fraction of what is missing.
    given: the first so many images are the candidates (None: all).
    """
    similarities, prototypes = precise(similarities), precise(prototypes)
    near = (similarities.amax(1) > gamma).sum().to(similarities.dtype)
    surplus = 2 * near - len(similarities)  # near ones minus the others
    similarity = similarities[:given]
    closeness = prototypes @ prototypes.T
    farthest = similarity.argmin(1)
    # cosines of the unit vector along (feature + prototype) ÷ 2, from those of the two
    length = (2 + 2 * similarity.gather(1, farthest[:, None])).clamp_min(1e-6).sqrt()
    halfway = (similarity + closeness[farthest]) / length
    return Filled(
        torch.cat([similarities, halfway, closeness]),
        torch.cat(
            [
                similarities.new_ones(len(similarities)),
                (surplus.clamp_min(0) / len(halfway)).expand(len(halfway)),
                ((-surplus).clamp_min(0) / len(closeness)).expand(len(closeness)),
            ]
        ),
    )


def swapped_prediction(logits: Tensor, neighbor_logits: Tensor, codes: Tensor, neighbor_codes: Tensor) -> Tensor:
    """Return the mean cross-entropy of each image with its neighbor's code and of the neighbor with the image's.

    UniOT, the local term of the private class discovery. logits: (B, P) over prototypes; codes: (B, P), rows summing
    to 1.
    """
    ours = F.cross_entropy(precise(logits), neighbor_codes.detach())
    theirs = F.cross_entropy(precise(neighbor_logits), codes.detach())
    return (ours + theirs) / 2
