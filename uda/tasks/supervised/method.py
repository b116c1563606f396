"""What a supervised method is: a classifier, and a loss on features of labelled images."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import ScaledCosineClassifier


@dataclass(frozen=True)
class Sample:
    """What is known of the images of a step, each (B,) int64: labels, domains (0 where there is one), rows of all."""

    labels: Tensor
    domains: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> "Sample":
        """Return some of the images, by a mask (B,) or by their places (M,)."""
        return Sample(self.labels[rows], self.domains[rows], self.index[rows])


class Method(nn.Module):
    """A linear classifier with cross-entropy; subclasses add what generalizes better.

    The options of a method are its constructor's keyword-only arguments; recipes set them by those names.
    """

    name: ClassVar[str]
    shares_pass: ClassVar[bool] = True
    """Whether the features of an objective's plain images will do: not where it changes what the encoder computes."""

    whole_batch: ClassVar[bool] = False
    """Whether it wants all images of a batch at once, and not those that a puzzle has left in order."""

    classifier: nn.Linear | ScaledCosineClassifier

    def __init__(self, encoder: Encoder, n_classes: int):
        super().__init__()
        self.classifier = nn.Linear(encoder.dim, n_classes)

    def encode(self, encoder: Encoder, views: Tensor, sample: Sample, clock: Clock) -> Tensor:
        """Return what `forward` wants of the images' own views (B, 3, S, S): features (B, D)."""
        return encoder(views)

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the weighted loss terms of what `encode` gave, B ≥ 1."""
        return {"classification": F.cross_entropy(self.classifier(features).float(), sample.labels)}
