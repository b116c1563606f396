"""Relative patch location."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder
from uda.nn.heads import ScaledCosineClassifier, mlp
from uda.random import uniform
from uda.ssl.objective import Info, Loss, Need, Objective, Views
from uda.ssl.tiles import jittered_tiles, resized, size_taken, some_gray, standardized, tile_side

_CENTER = 4
_NO_CLASS = -100  # what cross_entropy ignores


@dataclass(frozen=True)
class ClassViews(Views):
    """Patches, and the classes of the images that they are from, (B,); negative: unknown."""

    classes: Tensor | None = None


class Location(Objective):
    """Say on which of eight sides of the central patch another lies (Doersch et al., ICCV 2015, section 3).

    All nine patches of a 3 × 3 lattice are encoded once and give eight pairs, the center's features first. A patch lies
    at a random place of its cell: `gap` is the share of the cell's side that is left for it, 21 of 85 pixels in images
    of 255, 8 of 32 in images of 96 (Kolesnikov et al., CVPR 2019). gray: share of gray images, against chromatic
    aberration; tile_size: pixels that patches are resized to (None: the next multiple of 16); hidden: width of the
    head; patch_class: weight of classifying each image by the mean of its nine patches' features, with a cosine
    classifier of their own, which needs labels (Gidaris et al., ICCV 2019, section 3.2: 1).
    """

    name: ClassVar[str] = "location"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        gap: Annotated[float, Field(ge=0, lt=1)] = 0.25,
        gray: Annotated[float, Field(ge=0, le=1)] = 0.66,
        tile_size: Annotated[int, Field(ge=4)] | None = None,
        hidden: Annotated[int, Field(ge=1)] = 512,
        patch_class: Annotated[float, Field(ge=0)] = 0.0,
    ):
        super().__init__(encoder, info)
        self.gap, self.gray = gap, gray
        self.tile_size = size_taken(encoder, tile_side(info.image_size, 3, gap), tile_size, "location.tile_size")
        self.head = mlp([2 * encoder.dim, hidden, 8], norm=False)
        self.patch_class = patch_class
        if patch_class:
            if not info.n_classes:
                raise _no_labels(patch_class)
            self.classifier = ScaledCosineClassifier(encoder.dim, info.n_classes)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """The center patches, then the eight neighbors row by row, (9B, 3, t, t); targets (8B,) in 0 … 7."""
        images = some_gray(self.info.augment(batch, clock), batch, clock, self.gray, "location")
        places = uniform(clock.seed, clock.step, batch.index, f"location places/{batch.domain}", 18)
        tiles = standardized(resized(jittered_tiles(images, 3, self.gap, places), self.tile_size)).transpose(0, 1)
        ordered = torch.cat([tiles[_CENTER : _CENTER + 1], tiles[:_CENTER], tiles[_CENTER + 1 :]])
        sides = torch.arange(8, device=images.device).repeat_interleave(len(batch))
        if not self.patch_class:
            return Views(ordered.flatten(0, 1), targets=sides)
        if batch.labels is None:
            raise _no_labels(self.patch_class)
        return ClassViews(ordered.flatten(0, 1), targets=sides, classes=batch.labels)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the side, mean over the 8B pairs; beside it that of the class, mean over labelled images."""
        assert views.targets is not None  # this class made them
        center, neighbors = features.split([len(features) // 9, len(features) // 9 * 8])
        logits = self.head(torch.cat([center.repeat(8, 1), neighbors], dim=1))
        accuracy = (logits.argmax(1) == views.targets).float().mean().detach()
        value = F.cross_entropy(logits.float(), views.targets)
        if isinstance(views, ClassViews):
            assert views.classes is not None  # `views` made them
            scores = self.classifier(features.unflatten(0, (9, -1)).mean(0)).float()
            classes = torch.where(views.classes < 0, _NO_CLASS, views.classes)
            labelled = (views.classes >= 0).sum().clamp_min(1)
            value = value + self.patch_class * F.cross_entropy(scores, classes, reduction="sum") / labelled
        return Loss(value, accuracy=accuracy, chance=None if self.patch_class else math.log(8))


def _no_labels(patch_class: float) -> UserError:
    return UserError(
        f"objectives.location.patch_class={patch_class:g} classifies patches, and there are no labels for it here; "
        "leave it out"
    )
