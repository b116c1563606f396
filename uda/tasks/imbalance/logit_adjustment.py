"""Logit adjustment: the loss is told how frequent classes are, so that the answer need not be."""

from typing import ClassVar

from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ranges import NotNegative
from uda.tasks.imbalance.loss import logit_adjusted
from uda.tasks.imbalance.method import Method
from uda.tasks.supervised import Sample


class LogitAdjustment(Method):
    """Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 5: the adjusted loss, τ = 1."""

    name: ClassVar[str] = "logit_adjustment"

    def __init__(self, encoder: Encoder, counts: Tensor, *, tau: NotNegative = 1.0):
        super().__init__(encoder, counts)
        self.tau = tau

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the cross-entropy of adjusted logits; answers are by the plain ones."""
        logits = self.classifier(features).float()
        return {"classification": logit_adjusted(logits, sample.labels, self.counts, self.tau)}
