"""Mixup: images of two domains laid over each other, and their labels likewise."""

from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import derived_seed
from uda.ranges import Positive
from uda.tasks.dg.method import Method, Sample, partners


class Mixup(Method):
    """Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018, between domains as in DomainBed.

    One share λ ~ Beta(α, α) a step; each image is mixed with one of another domain, where there is one.
    """

    name: ClassVar[str] = "mixup"
    shares_pass: ClassVar[bool] = False

    def __init__(self, encoder: Encoder, n_classes: int, *, alpha: Positive = 0.2):
        super().__init__(encoder, n_classes)
        self.alpha = alpha

    def share(self, clock: Clock) -> float:
        """Return the λ of a step."""
        generator = np.random.default_rng(derived_seed(clock.seed, clock.step, "mixup share"))
        return float(generator.beta(self.alpha, self.alpha))

    def encode(self, encoder: Encoder, views: Tensor, sample: Sample, clock: Clock) -> Tensor:
        """Encode λ · image + (1 − λ) · partner."""
        return encoder(mixed(views, partners(sample, clock, "mixup"), self.share(clock)))

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return λ · cross-entropy with the image's label + (1 − λ) · that with its partner's."""
        logits, share = self.classifier(features).float(), self.share(clock)
        theirs = sample.labels[partners(sample, clock, "mixup")]
        loss = share * F.cross_entropy(logits, sample.labels) + (1 - share) * F.cross_entropy(logits, theirs)
        return {"classification": loss}


def mixed(images: Tensor, partner: Tensor, share: float) -> Tensor:
    """Return share · image + (1 − share) · its partner: (B, …) and (B,) → (B, …)."""
    return share * images + (1 - share) * images[partner]
