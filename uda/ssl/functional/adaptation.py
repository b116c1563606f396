"""Losses of domain adaptation: entropies of answers lowered or driven apart, and one class against the rest."""

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.ssl.functional.precision import precise


def entropy(logits: Tensor, eps: float = 0.0) -> Tensor:
    """Return the entropy of softmax(logits) along the last dimension, −Σ p·log(p + eps), in nats: (..., K) → (...)."""
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    # p·log p → 0 for p → 0; log_softmax of a masked (−inf) logit would give 0 · −inf.
    log_p = (p + eps).log() if eps else log_p.clamp_min(torch.finfo(log_p.dtype).min)
    return -(p * log_p).sum(-1)


def entropy_separation(logits: Tensor, rho: float, margin: float, eps: float = 0.0) -> Tensor:
    """Return −mean(max(|H − rho|, margin)): entropies are driven away from rho once they are `margin` away from it.

    DANCE, equation 6, in the form of its code (the paper has 0 in place of the constant −margin, with the same
    gradient).
    logits: (B, K) already divided by the temperature; rho is log(K)/2 in the paper; H in nats;
    `eps` as in `neighborhood_clustering`.
    """
    return -(entropy(logits, eps) - rho).abs().clamp_min(margin).mean()


def hard_negative_one_vs_all(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of −log p(y|x) − min over k ≠ y of log(1 − p(k|x)): own class, and the nearest other one.

    Saito and Saenko, "OVANet: One-vs-all network for universal domain adaptation", ICCV 2021, section 3.1.

    logits: (B, K), one binary classifier a class; labels: (B,).
    """
    logits = precise(logits)
    own = logits.gather(1, labels[:, None])[:, 0]
    hardest = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (F.softplus(-own) + F.softplus(hardest)).mean()


def open_set_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of binary classifiers, the mean over images and classes, in nats.

    OVANet, section 3.2, whose equation sums over the classes where its code takes the mean. logits: (B, K).
    """
    logits = precise(logits)
    p = logits.sigmoid()
    return (p * F.softplus(-logits) + (1 - p) * F.softplus(logits)).mean()
