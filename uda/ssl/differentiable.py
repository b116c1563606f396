"""Augmentations through which gradients reach the images: of use where a generator has made these.

Each function takes views (B, 3, S, S) in [0, 1] and draws, uniform in [0, 1). They are those of DiffAugment (Zhao et
al., NeurIPS 2020, section 3); values may leave [0, 1], as in the paper, whose images lie in [−1, 1], and strengths are
the paper's, halved for this range.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.random import uniform
from uda.ranges import Fraction, Share
from uda.ssl.resampling import BOX_DRAWS, crop_boxes, resized_crop

GRAY = 0.5
"""The zero of images in [-1, 1], which fills what is moved in or cut out."""


def color(views: Tensor, draws: Tensor) -> Tensor:
    """Brightness ± 0.25, saturation times 0 … 2, contrast times 0.5 … 1.5; draws: (B, 3)."""
    brightness, saturation, contrast = draws[:, :, None, None, None].unbind(1)
    views = views + (brightness - 0.5) / 2
    mean = views.mean(dim=1, keepdim=True)
    views = mean + (views - mean) * saturation * 2
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (views - mean) * (contrast + 0.5)


def translation(views: Tensor, draws: Tensor, share: float = 0.125) -> Tensor:
    """Move each image by up to that share of its side, whole pixels, gray where nothing comes in; draws: (B, 2)."""
    n, _, height, width = views.shape
    most = [int(side * share + 0.5) for side in (height, width)]
    down, right = ((draws[:, i : i + 1] * (2 * m + 1)).long() - m for i, m in enumerate(most))  # (B, 1) in −m … m
    rows = torch.arange(height, device=views.device) - down
    columns = torch.arange(width, device=views.device) - right
    inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    at = torch.arange(n, device=views.device)[:, None, None]
    moved = views.permute(0, 2, 3, 1)[
        at, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return torch.where(inside[:, None], moved.permute(0, 3, 1, 2), GRAY)


def cutout(views: Tensor, draws: Tensor, share: float = 0.5) -> Tensor:
    """Gray out a square of that share of the side, which may reach over the edge; draws: (B, 2)."""
    height, width = views.shape[2:]
    high, wide = int(height * share + 0.5), int(width * share + 0.5)
    top = (draws[:, :1] * (height + 1 - high % 2)).long() - high // 2
    left = (draws[:, 1:] * (width + 1 - wide % 2)).long() - wide // 2
    rows = torch.arange(height, device=views.device) - top
    columns = torch.arange(width, device=views.device) - left
    hole = _within(rows, high)[:, :, None] & _within(columns, wide)[:, None, :]
    return torch.where(hole[:, None], GRAY, views)


AUGMENTATIONS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "color": (color, 3),
    "translation": (translation, 2),
    "cutout": (cutout, 2),
}
"""Each with the draws that it takes."""


def draws_for(names: Sequence[str]) -> int:
    """Return how many draws an image needs."""
    return sum(AUGMENTATIONS[name][1] for name in names)


def augmented(views: Tensor, names: Sequence[str], draws: Tensor) -> Tensor:
    """Return views after those augmentations, in that order; draws: (B, draws_for(names))."""
    first = 0
    for name in names:
        augmentation, count = AUGMENTATIONS[name]
        views = augmentation(views, draws[:, first : first + count])
        first += count
    return views


@dataclass(frozen=True)
class Differentiable:
    """Crop, flip and color, for contrastive objectives on images that a gradient shall reach.

    scale: range of the crop's share of the area, of aspect 3/4 … 4/3; flip: probability of the mirror image. Views of
    another `size` or `scale` want a name of their own, since draws go by names.
    """

    size: int
    _: KW_ONLY
    scale: tuple[Share, Share] = (0.4, 1.0)
    flip: Fraction = 0.5

    def __call__(
        self,
        batch: Batch,
        clock: Clock,
        view: str,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) uint8, or float in [0, 1] → (B, 3, size, size) float32 in [0, 1]."""
        purpose = f"differentiable/{batch.domain}{view}"
        draws = uniform(clock.seed, clock.step, batch.index, purpose, BOX_DRAWS + 4)
        boxes = crop_boxes(draws[:, 4:], batch.images.shape[2:], scale or self.scale, (3 / 4, 4 / 3))
        views = resized_crop(batch.images, boxes, size or self.size, draws[:, 3] < self.flip)
        return color(views, draws[:, :3]).clamp(0, 1)


def _within(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places < size)
