"""Rotation prediction."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ssl.objective import Info, Loss, Need, Objective, Views


def rotate_four_ways(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return all four rotations of every image and how many quarter turns each has had.

    (B, C, S, S) → (4B, C, S, S), upright quarter first, and (4B,) int64 in 0 … 3 (counter-clockwise turns).
    """
    turned = torch.cat([torch.rot90(images, k, dims=(2, 3)) for k in range(4)])
    return turned, torch.arange(4, device=images.device).repeat_interleave(len(images))


class Rotation(Objective):
    """Predict which of four rotations an image has had (Gidaris et al., ICLR 2018, section 3)."""

    name: ClassVar[str] = "rotation"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(self, encoder: Encoder, info: Info):
        super().__init__(encoder, info)
        self.head = nn.Linear(encoder.dim, 4)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """All four rotations of the task's own view; the upright quarter is shared with the supervised loss."""
        images, turns = rotate_four_ways(self.info.augment(batch, clock))
        return Views(images, targets=turns, plain=slice(0, len(batch)))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the turns, mean over the 4B views."""
        assert views.targets is not None  # this class made them
        logits = self.head(features)
        accuracy = (logits.argmax(1) == views.targets).float().mean().detach()
        return Loss(F.cross_entropy(logits, views.targets), accuracy=accuracy, chance=math.log(4))
