"""Class-balanced loss: cross-entropy weighted by the effective number of images of a class."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.tasks.imbalance.loss import effective_number_weights, weighted_cross_entropy
from uda.tasks.imbalance.method import Method
from uda.tasks.supervised import Sample

Beta = Annotated[float, Field(ge=0, lt=1)]


class ClassBalanced(Method):
    """Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019, with softmax cross-entropy."""

    name: ClassVar[str] = "class_balanced"
    weights: Tensor

    def __init__(self, encoder: Encoder, counts: Tensor, *, beta: Beta = 0.9999):
        super().__init__(encoder, counts)
        self.register_buffer("weights", effective_number_weights(counts, beta), persistent=False)

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the weighted cross-entropy."""
        logits = self.classifier(features).float()
        return {"classification": weighted_cross_entropy(logits, sample.labels, self.weights)}
