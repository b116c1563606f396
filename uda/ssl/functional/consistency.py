"""Losses that ask for the same answer to several views of an image."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from uda.ssl.functional.precision import precise


def jensen_shannon(logits: Sequence[Tensor]) -> Tensor:
    """Return the Jensen–Shannon divergence (1/V) Σᵥ KL(pᵥ ‖ M) of the views' softmaxes, M their mean; mean over images.

    Hendrycks et al., "AugMix", ICLR 2020, equation 2, where V = 3: the clean view and two augmented ones.

    logits: V tensors (B, K); all carry gradients. Exact, in nats, in [0, log V]; the published code bounds M from below
    by 1e-7. ValueError for fewer than two views.
    """
    if len(logits) < 2:
        raise ValueError(f"{len(logits)} sets of logits have no divergence; give at least two")
    log_p = torch.stack([precise(view).log_softmax(1) for view in logits])
    log_mean = log_p.logsumexp(0) - math.log(len(logits))
    return (log_p.exp() * (log_p - log_mean)).sum(2).mean()
