"""IRM: one classifier that is the best of every domain at once."""

from typing import ClassVar

import torch
from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ranges import Fraction, NotNegative
from uda.tasks.dg.method import Method, Sample


class IRM(Method):
    """Arjovsky et al., "Invariant risk minimization", 2019: IRMv1, in DomainBed's form.

    weight: of the penalty; it is 1 over the first `warmup` of the run (DomainBed: 500 of 5,000 steps), where a high one
    would keep the features from forming. Unlike DomainBed, the optimizer is not restarted when the weight jumps.
    """

    name: ClassVar[str] = "irm"
    fewest_domains: ClassVar[int] = 2

    def __init__(self, encoder: Encoder, n_classes: int, *, weight: NotNegative = 100.0, warmup: Fraction = 0.1):
        super().__init__(encoder, n_classes)
        self.weight, self.warmup = weight, warmup

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return cross-entropy, and the mean penalty over the domains of the batch."""
        weight = self.weight if clock.progress >= self.warmup else min(1.0, self.weight)
        logits = self.classifier(features).float()
        penalties = [
            irm_penalty(logits[of_domain], sample.labels[of_domain])
            for of_domain in (sample.domains == domain for domain in sample.domains.unique())
        ]
        return super().forward(features, sample, clock) | {"invariance": weight * torch.stack(penalties).mean()}


def irm_penalty(logits: Tensor, labels: Tensor) -> Tensor:
    """Return an unbiased estimate of the squared gradient of the risk by a dummy scale s = 1 on the logits.

    logits: (B, K), labels: (B,) of one domain. The gradient of CE(s · z, y) at s = 1 is Σ p·z − z_y; it is taken as the
    product of its means over even and odd images (Arjovsky et al., section 3.2 and appendix D), 0 for a single image.
    """
    if len(labels) < 2:
        return logits.sum() * 0
    slopes = (logits.softmax(1) * logits).sum(1) - logits.gather(1, labels[:, None])[:, 0]
    return slopes[::2].mean() * slopes[1::2].mean()
