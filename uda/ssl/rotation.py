"""Rotation prediction."""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder
from uda.nn.heads import ResidualHead
from uda.random import uniform
from uda.ranges import Fraction
from uda.ssl.objective import Info, Loss, Need, Objective, Views, refuse_options

_UPRIGHT = 0.9


def rotate_four_ways(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return all four rotations of every image and how many quarter turns each has had.

    (B, C, S, S) → (4B, C, S, S), upright quarter first, and (4B,) int64 in 0 … 3 (counter-clockwise turns).
    """
    turned = torch.cat([torch.rot90(images, k, dims=(2, 3)) for k in range(4)])
    return turned, torch.arange(4, device=images.device).repeat_interleave(len(images))


def rotate_each(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image by its own number of quarters: (B, C, S, S) and (B,) int64 in 0 … 3 → (B, C, S, S)."""
    turned = images
    for k in range(1, 4):
        turned = torch.where((turns == k)[:, None, None, None], torch.rot90(images, k, dims=(2, 3)), turned)
    return turned


class Rotation(Objective):
    """Predict which of four rotations an image has had (Gidaris et al., ICLR 2018, section 3).

    form "all": every image is seen in all four; the upright quarter is shared with the supervised loss. form "one": in
    one, so that it costs no more than the supervised loss alone; it is upright with probability β + (1 − β)/4, β being
    `upright` (None: the 0.9 of JiGen's puzzles), and `views.ordered` says which ones are. form "quarters": in one,
    which is the same throughout each quarter of the batch (as in the library mimicry's SSGAN).
    head "linear" stands on the pooled features; "spectral" is linear and has spectral norm 1, as all of an SSGAN's
    discriminator has; "block" is a residual block on the unpooled map and a cosine classifier (Gidaris et al., ICCV
    2019, section 4.1), for backbones that give a map.
    """

    name: ClassVar[str] = "rotation"
    needs: ClassVar[Need] = Need.PIXELS
    asks_turns: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        form: Literal["all", "one", "quarters"] = "all",
        upright: Fraction | None = None,
        head: Literal["linear", "spectral", "block"] = "linear",
    ):
        super().__init__(encoder, info)
        if form != "one":
            refuse_options(type(self), "form=one", upright=upright)
        self.form, self.upright = form, _UPRIGHT if upright is None else upright
        self.on_map = head == "block"
        self.head = ResidualHead(_channels(encoder, info), 4) if self.on_map else nn.Linear(encoder.dim, 4)
        if head == "spectral":
            spectral_norm(self.head)

    def encode(self, encoder: Encoder, views: Views) -> Tensor:
        """Return what the head stands on: pooled features (V, D), or the map (V, C, h, w)."""
        return encoder.map(views.images) if self.on_map else encoder(views.images)

    def pooled(self, encoder: Encoder, features: Tensor) -> Tensor:
        """Return the pooled features, those of the map where the head stands on that."""
        return encoder.pool(features) if self.on_map else features

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Turns of the task's own view: (4B, 3, S, S), upright quarter first; other forms: (B, 3, S, S)."""
        images = self.info.augment(batch, clock)
        if self.form == "all":
            turned, turns = rotate_four_ways(images)
            return Views(turned, targets=turns, plain=slice(0, len(batch)))
        if self.form == "quarters":
            turns = torch.arange(len(batch), device=images.device) * 4 // len(batch)
            return Views(rotate_each(images, turns), targets=turns, ordered=turns == 0)
        draws = uniform(clock.seed, clock.step, batch.index, f"rotation/{batch.domain}", 2)
        turns = torch.where(draws[:, 0] < self.upright, 0, (draws[:, 1] * 4).long())
        return Views(rotate_each(images, turns), targets=turns, ordered=turns == 0)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the turns, mean over the views."""
        assert views.targets is not None  # this class made them
        logits = self.head(features)
        accuracy = (logits.argmax(1) == views.targets).float().mean().detach()
        return Loss(F.cross_entropy(logits, views.targets), accuracy=accuracy, chance=self._chance())

    def _chance(self) -> float:
        """Return the entropy of the turns, which is the loss of a model that knows their frequencies alone."""
        other = (1 - (self.upright if self.form == "one" else 0)) / 4
        return -sum(p * math.log(p) for p in (1 - 3 * other, other, other, other) if p > 0)


@torch.no_grad()
def _channels(encoder: Encoder, info: Info) -> int:
    """Return the channels of the encoder's map; UserError where it gives none."""
    if getattr(encoder, "unpooled_dims", 0) != 4:
        raise UserError(
            "objectives.rotation.head=block stands on an unpooled map, which this backbone does not give; choose a "
            "convolutional --backbone, or head=linear"
        )
    training = encoder.training
    channels = encoder.eval().map(torch.full((1, 3, info.image_size, info.image_size), 0.5)).shape[1]
    encoder.train(training)
    return int(channels)
