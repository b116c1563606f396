"""Losses of adversarial domain adaptation: domains are told apart, each image with its weight."""

import math

import torch.nn.functional as F
from torch import Tensor

from uda.ssl.functional.adaptation import entropy
from uda.ssl.functional.precision import precise


def domain_adversarial(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of telling the domains apart, the mean over the source plus the mean over the target.

    Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, section 4.2; with weights You et al.,
    "Universal domain adaptation", CVPR 2019, equations 2 (none) and 3.

    source, target: (B,) logits of "this is a source image"; weights: (B,), which carry no gradient.
    """
    on_source, on_target = F.softplus(-precise(source)), F.softplus(precise(target))
    if source_weights is not None:
        on_source = source_weights.detach() * on_source
    if target_weights is not None:
        on_target = target_weights.detach() * on_target
    return on_source.mean() + on_target.mean()


def transferability(domain_logits: Tensor, logits: Tensor) -> Tensor:
    """Return how much an image seems to be of a common class, w_t = P(source) − H / log K, in [−1, 1].

    You et al., CVPR 2019, equation 8; the source's weight is its negative, equation 7: among target images those that
    look like source images and are classified with confidence are common, among source images it is the other way
    round.

    domain_logits: (B,) of "this is a source image"; logits: (B, K) over the classes → (B,).
    """
    return precise(domain_logits).sigmoid() - entropy(precise(logits)) / math.log(max(2, logits.shape[-1]))


def rescaled_weights(weights: Tensor) -> Tensor:
    """Return weights (B,) moved to [0, 1] by their least and largest and divided by their mean; equal ones become 0."""
    least, largest = weights.aminmax()
    unit = (weights - least) / (largest - least).clamp_min(1e-12)
    return unit / unit.mean().clamp_min(1e-12)
