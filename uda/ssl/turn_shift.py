"""Rotation and shift prediction."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import uniform
from uda.ssl.objective import Info, Loss, Objective, Views
from uda.ssl.rotation import rotate_four_ways

CHOICES = (4, 3, 3)
"""Answers of the three heads: quarter turns; up, not, down; left, not, right."""


def shifted(images: Tensor, down: Tensor, right: Tensor, by: int) -> Tensor:
    """Move each image (N, 3, S, S) by −`by`, 0 or `by` pixels on each axis; what enters is the edge's mirror image.

    down, right: (N,) int64 in 0 … 2, 1 leaves the image where it is. by: below S.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, [by] * 4, mode="reflect").permute(0, 2, 3, 1)
    rows = torch.arange(height, device=images.device) + ((2 - down) * by)[:, None]
    columns = torch.arange(width, device=images.device) + ((2 - right) * by)[:, None]
    at = torch.arange(n, device=images.device)[:, None, None]
    return padded[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


class TurnShift(Objective):
    """Predict which of four rotations and nine shifts an image has had (Hendrycks et al., NeurIPS 2019, section 4.2).

    All four turns of the task's own view, each shifted by a quarter of the side at random on both axes.
    """

    name: ClassVar[str] = "turn_shift"
    asks_turns: ClassVar[bool] = True

    def __init__(self, encoder: Encoder, info: Info):
        super().__init__(encoder, info)
        self.heads = nn.ModuleList([nn.Linear(encoder.dim, choices) for choices in CHOICES])

    def views(self, batch: Batch, clock: Clock) -> Views:
        """(4B, 3, S, S), turn by turn; targets (4B, 3): the turn and both shifts."""
        images, turns = rotate_four_ways(self.info.augment(batch, clock))
        draws = uniform(clock.seed, clock.step, batch.index, f"turn shift/{batch.domain}", 8)
        shifts = (3 * draws).long().unflatten(1, (4, 2)).transpose(0, 1).flatten(0, 1)
        moved = shifted(images, shifts[:, 0], shifts[:, 1], images.shape[-1] // 4)
        return Views(moved, targets=torch.cat([turns[:, None], shifts], dim=1))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """The sum of the three cross-entropies, each a mean over the 4B views."""
        assert views.targets is not None  # this class made them
        answers = [head(features).float() for head in self.heads]
        losses = [F.cross_entropy(a, views.targets[:, k]) for k, a in enumerate(answers)]
        right = torch.stack([a.argmax(1) == views.targets[:, k] for k, a in enumerate(answers)]).all(0)
        chance = sum(math.log(choices) for choices in CHOICES)
        return Loss(torch.stack(losses).sum(), accuracy=right.float().mean().detach(), chance=chance)

    def every_transform(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Return all 36 transforms of views (B, 3, S, S), transform by transform, and what each is: (36, 3) int64."""
        images, _ = rotate_four_ways(views)
        n, by = len(images), views.shape[-1] // 4
        found = []
        for down in range(3):
            for right in range(3):
                at = [torch.full((n,), place, device=views.device) for place in (down, right)]
                found.append(shifted(images, at[0], at[1], by))
        steps = torch.cartesian_prod(torch.arange(3), torch.arange(3), torch.arange(4)).to(views.device)
        return torch.cat(found), steps[:, [2, 0, 1]]
