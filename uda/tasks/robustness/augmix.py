"""AugMix: mixtures of simple operations, and answers that shall not depend on them."""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ranges import Count, NotNegative
from uda.ssl.augmix import augmix
from uda.ssl.functional import jensen_shannon
from uda.tasks.robustness.method import Method
from uda.tasks.supervised import Sample

Severity = Annotated[float, Field(ge=0.1, le=10)]


class AugMix(Method):
    """Hendrycks et al., "AugMix", ICLR 2020: the class of the clean view, and one answer for it and two mixtures.

    weight: of the Jensen–Shannon divergence, 12 as published; severity: of the operations, of 10; width: chains.
    """

    name: ClassVar[str] = "augmix"
    shares_pass: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        n_classes: int,
        *,
        weight: NotNegative = 12.0,
        severity: Severity = 3.0,
        width: Count = 3,
    ):
        super().__init__(encoder, n_classes)
        self.weight, self.severity, self.width = weight, severity, width

    def encode(self, encoder: Encoder, views: Tensor, sample: Sample, clock: Clock) -> Tensor:
        """Encode the clean views and two mixtures of each in one pass: (B, 3, S, S) → (3B, D)."""
        mixed = [
            augmix(views, clock.seed, clock.step, sample.index, name, width=self.width, severity=self.severity)
            for name in ("augmix a", "augmix b")
        ]
        return encoder(torch.cat([views, *mixed]))

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the cross-entropy of the clean views and the weighted divergence of all three (equation 1)."""
        logits = self.classifier(features).float().chunk(3)
        return {
            "classification": F.cross_entropy(logits[0], sample.labels),
            "consistency": self.weight * jensen_shannon(logits),
        }
