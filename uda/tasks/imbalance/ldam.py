"""LDAM-DRW: larger margins for rarer classes, and weights late in the run."""

from typing import ClassVar

from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import CosineClassifier
from uda.ranges import Fraction, Positive
from uda.tasks.imbalance.class_balanced import Beta
from uda.tasks.imbalance.loss import effective_number_weights, ldam, ldam_margins
from uda.tasks.imbalance.method import Method
from uda.tasks.supervised import Sample


class LDAM(Method):
    """Cao et al., NeurIPS 2019: a cosine classifier, margins as n^(−1/4), and deferred re-weighting.

    margin: of the rarest class; scale: of the cosines; from the share `defer` of the run on (epoch 160 of 200) classes
    are weighted by their effective number of images with β = beta. The learning rate is to fall there too.
    """

    name: ClassVar[str] = "ldam"
    margins: Tensor
    weights: Tensor

    def __init__(
        self,
        encoder: Encoder,
        counts: Tensor,
        *,
        margin: Positive = 0.5,
        scale: Positive = 30.0,
        defer: Fraction = 0.8,
        beta: Beta = 0.9999,
    ):
        super().__init__(encoder, counts)
        # It takes the linear classifier's place, for the same use.
        self.register_module("classifier", CosineClassifier(encoder.dim, len(counts), temperature=1 / scale))
        self.scale, self.defer = scale, defer
        self.register_buffer("margins", ldam_margins(counts, margin), persistent=False)
        self.register_buffer("weights", effective_number_weights(counts, beta), persistent=False)

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the loss with margins, weighted once the run is that far."""
        cosines = self.classifier(features).float() / self.scale
        weights = self.weights if clock.progress >= self.defer else None
        return {"classification": ldam(cosines, sample.labels, self.margins, self.scale, weights)}
