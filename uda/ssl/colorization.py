"""Colorization."""

import math
from typing import Annotated, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder, TimmEncoder
from uda.ssl.color import gamut_bins, rgb_to_lab
from uda.ssl.objective import AllViews, Info, Loss, Need, Objective, Views

_WIDTH = 10
"""Side of a bin of a and b; soft answers and the prior are smoothed with half of it, as published."""


class Colorization(Objective):
    """Name the colors of a gray image, as bins of Lab's a and b (Zhang et al., ECCV 2016, section 2).

    The colors are averaged to the resolution of the backbone's map and each is shared among its `neighbors` nearest
    bins (published: 5; 1 is a hard answer). Rare colors count more: weights ∝ 1/((1 − λ)·prior + λ/Q), λ =
    `uniform_share`, with the prior of all images taken before the first step; where the task does not ask for it all
    weights are 1. There are 261 bins, not the published 313 (see `uda.ssl.color.gamut_bins`).
    """

    name: ClassVar[str] = "colorization"
    needs: ClassVar[Need] = Need.PIXELS | Need.MAP
    bins: Tensor
    weights: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        neighbors: Annotated[int, Field(ge=1, le=20)] = 5,
        uniform_share: Annotated[float, Field(gt=0, le=1)] = 0.5,
    ):
        super().__init__(encoder, info)
        self.neighbors, self.uniform_share = neighbors, uniform_share
        self.register_buffer("bins", gamut_bins(_WIDTH))
        self.register_buffer("weights", torch.ones(len(self.bins)))
        channels, height, width = map_shape(encoder, info.image_size)
        self.map_size = (height, width)
        self.head = nn.Conv2d(channels, len(self.bins), kernel_size=1)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Lightness in all three channels, (B, 3, S, S); targets: a and b, (B, 2, S, S)."""
        lightness, colors = split_colors(self.info.augment(batch, clock))
        return Views(lightness, targets=colors)

    def encode(self, encoder: Encoder, views: Views) -> Tensor:
        """Return the unpooled map, (B, C, h, w)."""
        return cast(TimmEncoder, encoder).map(views.images)  # the constructor has looked

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy with the shared bins, weighted by the nearest bin: Σ weight · loss / Σ weight."""
        assert views.targets is not None  # this class made them
        logits = self.head(features).float()
        answers = F.adaptive_avg_pool2d(views.targets, logits.shape[-2:]).movedim(1, -1).flatten(0, 2)
        nearest, share = soft_bins(answers, self.bins, self.neighbors)
        flat = logits.movedim(1, -1).flatten(0, 2)
        each = -(share * flat.log_softmax(1).gather(1, nearest)).sum(1)
        weight = self.weights[nearest[:, 0]]
        accuracy = (flat.argmax(1) == nearest[:, 0]).float().mean().detach()
        return Loss((weight * each).sum() / weight.sum(), accuracy=accuracy, chance=math.log(len(self.bins)))

    def assign_due(self, clock: Clock) -> bool:
        """Once, before the first step."""
        return clock.step == 0

    def assign(self, encoder: Encoder, views: AllViews, clock: Clock) -> list[nn.Parameter]:
        """Take the prior of the colors of all images. UserError where they are all gray."""
        count, largest = torch.zeros_like(self.weights), self.weights.new_zeros(())
        for images in views():
            colors = F.adaptive_avg_pool2d(split_colors(images)[1], self.map_size).movedim(1, -1).flatten(0, 2)
            nearest, _ = soft_bins(colors, self.bins, 1)
            count += nearest[:, 0].bincount(minlength=len(count))
            largest = torch.maximum(largest, colors.abs().max())
        if largest < 1:
            raise UserError(
                "objective 'colorization' needs images in color and all of these are gray; choose another --objective, "
                "or set data.augment to one that keeps colors"
            )
        self.weights.copy_(rebalanced(count / count.sum(), self.bins, self.uniform_share))
        return []


def split_colors(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return lightness in [0, 1] in all three channels, (B, 3, H, W), and Lab's a and b, (B, 2, H, W)."""
    lab = rgb_to_lab(images.float())
    return (lab[:, :1] / 100).expand(-1, 3, -1, -1).contiguous(), lab[:, 1:]


def soft_bins(colors: Tensor, bins: Tensor, neighbors: int) -> tuple[Tensor, Tensor]:
    """Share each color among its nearest bins with the weights of a Gaussian of 5: (M, 2) → (M, K) bins and shares.

    The nearest bin comes first; shares sum to 1.
    """
    # By differences: a matrix product would be rounded to bfloat16 under autocast.
    squared = (colors[:, None, 0] - bins[:, 0]).square() + (colors[:, None, 1] - bins[:, 1]).square()
    distance, nearest = squared.topk(neighbors, dim=1, largest=False)
    return nearest, (-distance / (2 * (_WIDTH / 2) ** 2)).softmax(1)


def rebalanced(prior: Tensor, bins: Tensor, uniform_share: float) -> Tensor:
    """Return weights ∝ 1/((1 − λ)·p̃ + λ/Q) with Σ p̃ · weight = 1, where p̃ is the prior smoothed by a Gaussian of 5.

    prior: (Q,) frequencies of the bins (Q, 2); uniform_share: λ. Zhang et al., equation 4 and what follows it.
    """
    squared = (bins[:, None] - bins[None]).square().sum(2)
    kernel = (-squared / (2 * (_WIDTH / 2) ** 2)).softmax(1)
    smooth = (prior[:, None] * kernel).sum(0)
    weights = 1 / ((1 - uniform_share) * smooth + uniform_share / len(bins))
    return weights / (smooth * weights).sum()


@torch.no_grad()
def map_shape(encoder: Encoder, image_size: int) -> tuple[int, int, int]:
    """Return (C, h, w) of the backbone's map; UserError where it has none."""
    training = encoder.training
    reference = next(encoder.parameters(), torch.zeros(()))
    encoder.eval()
    features = cast(TimmEncoder, encoder).map(torch.full((1, 3, image_size, image_size), 0.5, device=reference.device))
    encoder.train(training)
    if features.dim() != 4 or features.shape[2] != features.shape[3]:
        raise UserError(
            "objective 'colorization' needs a backbone with a map of features (C, h, w), and this one gives "
            f"{tuple(features.shape[1:])}; choose a convolutional --backbone, or objective 'mae' for a ViT"
        )
    _, channels, height, width = features.shape
    return channels, height, width
