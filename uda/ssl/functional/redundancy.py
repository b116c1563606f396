"""Losses that keep embeddings from collapsing by their statistics over the batch, without negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.ssl.functional.precision import precise


def barlow_twins(a: Tensor, b: Tensor, lambd: float = 0.0051) -> Tensor:
    """Return Σᵢ (1 − Cᵢᵢ)² + lambd · Σᵢ≠ⱼ Cᵢⱼ², C the cross-correlation of two views over the batch.

    Zbontar et al., "Barlow Twins: self-supervised learning via redundancy reduction", ICML 2021, equations 1 and 2.

    a, b: (B, D) raw embeddings of two views, row i of both from image i. Each column is standardized by its mean and
    biased variance (batch normalization with its eps of 1e-5), and the products are divided by B. Computed in float32
    at least. ValueError where the shapes differ.
    """
    _check(a, b)
    with torch.autocast(a.device.type, enabled=False):
        correlation = _standardized(a).T @ _standardized(b) / len(a)
        off_target = correlation - torch.eye(len(correlation), dtype=correlation.dtype, device=correlation.device)
        # λ · all + (1 − λ) · diagonal: the off-diagonal sum is never made by a subtraction
        return lambd * off_target.square().sum() + (1 - lambd) * off_target.diagonal().square().sum()


def vicreg(a: Tensor, b: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> Tensor:
    """Return the weighted sum of the distance of two views, the lack of spread and the covariance of dimensions.

    Bardes, Ponce and LeCun, "VICReg: variance-invariance-covariance regularization", ICLR 2022, equations 1 to 6.

    a, b: (B, D) raw embeddings of two views. Invariance: mean squared difference over all B · D numbers. Variance:
    mean over dimensions of max(0, 1 − √(Var + 1e-4)), unbiased, averaged over the two views. Covariance: sum of squared
    off-diagonal covariances ÷ D, summed over the two views. Computed in float32 at least. ValueError where the shapes
    differ.
    """
    _check(a, b)
    with torch.autocast(a.device.type, enabled=False):
        a, b = precise(a), precise(b)
        spread = (_lack_of_spread(a) + _lack_of_spread(b)) / 2
        shared = _off_diagonal_covariance(a) + _off_diagonal_covariance(b)
        return invariance * F.mse_loss(a, b) + variance * spread + covariance * shared


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.dim() != 2 or len(a) < 2:
        raise ValueError(
            f"two views want equal shapes (B, D) with B of at least 2, not {tuple(a.shape)} and {tuple(b.shape)}"
        )


def _standardized(x: Tensor) -> Tensor:
    """Mean 0 and biased variance 1 over the batch, (B, D) → (B, D)."""
    return F.batch_norm(precise(x), None, None, training=True)


def _lack_of_spread(x: Tensor) -> Tensor:
    """Mean hinge of the standard deviations at 1, (B, D) → ()."""
    return F.relu(1 - (x.var(0) + 1e-4).sqrt()).mean()


def _off_diagonal_covariance(x: Tensor) -> Tensor:
    """Sum of squared covariances of different dimensions ÷ D, (B, D) → ()."""
    x = x - x.mean(0)
    covariance = x.T @ x / (len(x) - 1)
    return (covariance - covariance.diagonal().diag_embed()).square().sum() / x.shape[1]
