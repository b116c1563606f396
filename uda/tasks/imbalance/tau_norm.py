"""τ-normalization: class vectors of rare classes are short, so lengths are taken out of the answer."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from uda.nn.encoder import Encoder
from uda.ranges import NotNegative
from uda.tasks.imbalance.method import Method


def tau_normalized(weight: Tensor, tau: float) -> Tensor:
    """Return class vectors (C, D), each divided by its length to the power of τ: 0 leaves them, 1 makes them unit."""
    return weight / weight.norm(dim=1, keepdim=True).clamp_min(1e-12) ** tau


class TauNormalized(nn.Linear):
    """A linear classifier that answers by τ-normalized class vectors and without its bias; it learns as any other."""

    def __init__(self, dim: int, classes: int, tau: float):
        super().__init__(dim, classes)
        self.tau = tau

    def forward(self, features: Tensor) -> Tensor:
        """Return the plain logits while training, the normalized ones when asked."""
        return super().forward(features) if self.training else F.linear(features, tau_normalized(self.weight, self.tau))


class TauNorm(Method):
    """Kang et al., ICLR 2020, section 4.2, equation 5: cross-entropy, then the lengths of the class vectors changed.

    Nothing is learned for it, so there is no second stage. tau: theirs is chosen on a balanced validation set; here it
    is 1 unless it is given, and never chosen by images that are tested on.
    """

    name: ClassVar[str] = "tau_norm"

    def __init__(self, encoder: Encoder, counts: Tensor, *, tau: NotNegative = 1.0):
        super().__init__(encoder, counts)
        self.classifier = TauNormalized(encoder.dim, len(counts), tau)
