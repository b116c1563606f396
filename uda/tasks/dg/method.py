"""What a method of domain generalization is: a classifier, and a loss on labelled images of several domains."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import uniform


@dataclass(frozen=True)
class Sample:
    """What is known of the images of a step: labels, domains and rows in the table, each (B,) int64."""

    labels: Tensor
    domains: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> "Sample":
        """Return some of the images, by a mask (B,) or by their places (M,)."""
        return Sample(self.labels[rows], self.domains[rows], self.index[rows])


class Method(nn.Module):
    """A linear classifier with cross-entropy on all source domains together; subclasses add what generalizes better.

    The options of a method are its constructor's keyword arguments; recipes set them by those names.
    """

    name: ClassVar[str]
    fewest_domains: ClassVar[int] = 1
    """Source domains below which it has nothing to do."""
    shares_pass: ClassVar[bool] = True
    """Whether the features of an objective's plain images will do: not where it changes what the encoder computes."""

    def __init__(self, encoder: Encoder, n_classes: int):
        super().__init__()
        self.classifier = nn.Linear(encoder.dim, n_classes)

    def encode(self, encoder: Encoder, views: Tensor, sample: Sample, clock: Clock) -> Tensor:
        """Return the features (B, D) of the images' own views (B, 3, S, S)."""
        return encoder(views)

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the weighted loss terms of features (B, D), B ≥ 1."""
        return {"classification": F.cross_entropy(self.classifier(features).float(), sample.labels)}


def partners(sample: Sample, clock: Clock, purpose: str) -> Tensor:
    """Return for each image the place of another one in the batch, of another domain where there is one, (B,) int64.

    Uniform among those; a function of seed, step and rows alone. An image by itself is its own partner.
    """
    n = len(sample)
    scores = uniform(clock.seed, clock.step, sample.index, purpose, n)
    itself = torch.eye(n, dtype=torch.bool, device=scores.device)
    same = sample.domains[:, None] == sample.domains[None]
    alone = same.all(dim=1, keepdim=True)
    return scores.masked_fill(torch.where(alone, itself, same), -1.0).argmax(dim=1)
