"""RSC: what the classifier leans on most is taken away, so that it learns from the rest too."""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.tasks.dg.method import Method, Sample

Part = Annotated[float, Field(gt=0, lt=1)]


class RSC(Method):
    """Huang et al., "Self-challenging improves cross-domain generalization", ECCV 2020, on pooled features.

    The channels with the largest gradient of the true class's logit are muted, in those images whose true class loses
    most by it. This is the channel-wise form, as DomainBed has it; the paper also mutes places of the map. features,
    batch: shares of channels and of images, a third each as published.
    """

    name: ClassVar[str] = "rsc"

    def __init__(self, encoder: Encoder, n_classes: int, *, features: Part = 1 / 3, batch: Part = 1 / 3):
        super().__init__(encoder, n_classes)
        self.features, self.batch = features, batch

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the cross-entropy of the features that are left."""
        # For autocast keeps copies of weights: if these are made without a gradient, they have none below either.
        weight, bias = self.classifier.weight.detach(), self.classifier.bias.detach()
        with torch.no_grad():
            # The head is linear, so the gradient of a logit by the features is the row of its class.
            kept = kept_channels(weight[sample.labels], self.features)
            before, after = (
                F.linear(part, weight, bias).float().softmax(1).gather(1, sample.labels[:, None])[:, 0]
                for part in (features, features * kept)
            )
            muted = challenged(before - after, self.batch)
        kept = kept | ~muted[:, None]
        return {"classification": F.cross_entropy(self.classifier(features * kept).float(), sample.labels)}


def kept_channels(gradients: Tensor, share: float) -> Tensor:
    """Return which channels stay, (B, D) bool: those below the (1 − share) quantile of their image's gradients."""
    gradients = gradients.float()
    return gradients < gradients.quantile(1 - share, dim=1, keepdim=True)


def challenged(losses: Tensor, share: float) -> Tensor:
    """Return which images are muted, (B,) bool: those at or above the (1 − share) quantile of what they would lose."""
    return losses >= losses.quantile(1 - share)
