"""CORAL: the covariances of the source domains' features brought together."""

from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ranges import NotNegative
from uda.tasks.dg.method import Method, Sample


class Coral(Method):
    """Sun and Saenko, "Deep CORAL", ECCV 2016 workshops, between every two source domains of a batch.

    weight: of the mean distance over the pairs. Domains with fewer than two images in a batch stand aside.
    """

    name: ClassVar[str] = "coral"
    fewest_domains: ClassVar[int] = 2

    def __init__(self, encoder: Encoder, n_classes: int, *, weight: NotNegative = 1.0):
        super().__init__(encoder, n_classes)
        self.weight = weight

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return cross-entropy and the distance of the covariances."""
        groups = [features[sample.domains == domain].float() for domain in sample.domains.unique()]
        pairs = [coral(a, b) for a, b in combinations([group for group in groups if len(group) > 1], 2)]
        distance = torch.stack(pairs).mean() if pairs else features.sum() * 0
        return super().forward(features, sample, clock) | {"alignment": self.weight * distance}


def coral(a: Tensor, b: Tensor) -> Tensor:
    """Return ‖C_a − C_b‖²_F ÷ (4 D²), C the unbiased covariances of features (n, D) and (m, D), n, m ≥ 2 (eq. 1)."""
    difference = torch.cov(a.T) - torch.cov(b.T)
    return difference.square().sum() / (4 * a.shape[1] ** 2)
