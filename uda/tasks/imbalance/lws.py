"""LWS: the classifier stays, and every class learns one number."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.tasks.imbalance.method import Stage, TwoStages
from uda.tasks.supervised import Sample


class ScaledLinear(nn.Linear):
    """A linear classifier whose logits are multiplied class by class."""

    def __init__(self, dim: int, classes: int):
        super().__init__(dim, classes)
        self.scales = nn.Parameter(torch.ones(classes))

    def plain(self, features: Tensor) -> Tensor:
        """Return the logits before scaling."""
        return F.linear(features, self.weight, self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return self.scales * self.plain(features)


class LWS(TwoStages):
    """Learnable weight scaling (Kang et al., ICLR 2020, section 4.2, equation 6): a scale a class, from 1.

    In the second stage the classifier's directions rest too; the scales alone learn, from class-balanced images. SGD,
    as published, follows their gradient; AdamW moves a number by about the learning rate a step, so that scales hardly
    leave 1 in a short second stage.
    """

    name: ClassVar[str] = "lws"
    classifier: ScaledLinear

    def __init__(self, encoder: Encoder, counts: Tensor, *, stage2: Stage = 0.25):
        super().__init__(encoder, counts, stage2=stage2)
        self.classifier = ScaledLinear(encoder.dim, len(counts))

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the cross-entropy of the first stage, in which scales do not learn."""
        return {"classification": F.cross_entropy(self.classifier.plain(features).float(), sample.labels)}

    def begin_second(self) -> list[nn.Parameter]:
        """Keep the classifier as it is."""
        return []

    def second(self, features: Tensor, sample: Sample) -> Tensor:
        """Return the cross-entropy of scaled logits; nothing but the scales has a gradient."""
        logits = self.classifier.scales * self.classifier.plain(features).detach()
        return F.cross_entropy(logits.float(), sample.labels)
