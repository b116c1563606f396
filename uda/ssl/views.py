"""Batched, stateless augmentation on the device: what an image undergoes is a hash of (seed, step, its index).

All functions take (B, 3, H, W) uint8 and give (B, 3, S, S) float32 in [0, 1]; every image has its own parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.random import uniform


def to_float(images: Tensor) -> Tensor:
    """uint8 0 … 255 → float32 in [0, 1]; floats, which lie in [0, 1] already (an attack's views), stay as they are."""
    return images if images.is_floating_point() else images.float().div_(255.0)


def to_bytes(views: Tensor) -> Tensor:
    """Float in [0, 1] → uint8 0 … 255, rounded; what `to_float` has made comes back as it was."""
    return (views * 255).round().to(torch.uint8)


def center_crop(images: Tensor, size: int) -> Tensor:
    """Cut the central size × size pixels: the deterministic view for evaluation."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return to_float(images[:, :, top : top + size, left : left + size])


def gray(views: Tensor) -> Tensor:
    """Return the luma of (B, 3, H, W) in all three channels (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B)."""
    red, green, blue = views.split(1, dim=1)
    return (red * 0.299 + green * 0.587 + blue * 0.114).expand(-1, 3, -1, -1)


def random_crop_flip(images: Tensor, size: int, draws: Tensor) -> Tensor:
    """Cut size × size pixels at a random place, mirrored for every second image.

    draws: (B, 3) uniform in [0, 1): vertical and horizontal place, and the flip. Whole pixels, nothing interpolated.
    """
    n, _, height, width = images.shape
    top = (draws[:, 0] * (height - size + 1)).long()
    left = (draws[:, 1] * (width - size + 1)).long()
    steps = torch.arange(size, device=images.device)
    columns = torch.where(draws[:, 2:3] < 0.5, steps, steps.flip(0)) + left[:, None]
    rows = steps + top[:, None]
    at = torch.arange(n, device=images.device)[:, None, None]
    cut = images.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]]
    return to_float(cut.permute(0, 3, 1, 2)).contiguous()


def random_affine(
    images: Tensor,
    draws: Tensor,
    degrees: float,
    scale: tuple[float, float],
    shear: float,
    shift: float,
    displacement: Tensor | None = None,
) -> Tensor:
    """Turn, scale, shear and shift each image about its center, bilinear, edges repeated.

    draws: (B, 6) uniform in [0, 1): angle, two scales, shear, two shifts. degrees and shear are the largest angles in
    degrees, scale the factor's range on each axis, shift the largest one as a fraction of the side; displacement:
    (B, H, W, 2), added to where each pixel comes from. Computed in full precision under autocast too: bfloat16 knows
    places to a few pixels only.
    """
    with torch.autocast(images.device.type, enabled=False):
        grid = _affine_grid(images, draws, degrees, scale, shear, shift)
        grid = grid if displacement is None else grid + displacement
        return F.grid_sample(to_float(images), grid, padding_mode="border", align_corners=False).clamp_(0, 1)


def _affine_grid(
    images: Tensor, draws: Tensor, degrees: float, scale: tuple[float, float], shear: float, shift: float
) -> Tensor:
    """Return where each pixel comes from, (B, H, W, 2); arguments as for `random_affine`."""
    signed = draws * 2 - 1
    angle, slant = torch.deg2rad(signed[:, 0] * degrees), torch.deg2rad(signed[:, 3] * shear)
    zoom = scale[0] + draws[:, 1:3] * (scale[1] - scale[0])
    cos, sin = angle.cos(), angle.sin()
    # grid_sample asks where an output pixel comes from, so this is the inverse map: scale⁻¹ · shear · rotation.
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    lean = torch.eye(2, device=images.device).repeat(len(images), 1, 1)
    lean[:, 0, 1] = slant.tan()
    matrix = torch.diag_embed(1 / zoom) @ lean @ turn
    theta = torch.cat([matrix, (signed[:, 4:6] * 2 * shift)[:, :, None]], dim=2)
    return F.affine_grid(theta, list(images.shape), align_corners=False)


def elastic_field(draws: Tensor, size: int, strength: float) -> Tensor:
    """Return a smooth random displacement of every pixel, (B, size, size, 2) in affine_grid's units (the side is 2).

    draws: (B, 32) uniform in [0, 1): two displacements at each knot of a 4 × 4 lattice, bicubic between them. strength:
    the largest one at a knot, as a fraction of the side. After Simard, Steinkraus and Platt, ICDAR 2003, section 2.
    """
    knots = (draws * 2 - 1).reshape(len(draws), 2, 4, 4) * 2 * strength
    return F.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class NoAugmentation:
    """The central crop, always the same; augmentations replace `__call__` and, where evaluation differs, `plain`.

    Calls with the same batch and clock give the same pixels; `view` names a further, independent draw ("a", "b").
    """

    size: int

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) in [0, 1]."""
        return self.plain(batch.images)

    def plain(self, images: Tensor) -> Tensor:
        """The deterministic view for evaluation: the central size × size pixels."""
        return center_crop(images, self.size)


@dataclass(frozen=True)
class CropFlip(NoAugmentation):
    """The augmentation of the adaptation papers: a random crop of the stored square, and a horizontal flip."""

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) in [0, 1]."""
        draws = uniform(clock.seed, clock.step, batch.index, f"crop/{batch.domain}{view}", 3)
        return random_crop_flip(batch.images, self.size, draws)


@dataclass(frozen=True)
class Glyph(NoAugmentation):
    """For digits and signs: gray, since color says nothing; turned, sheared and distorted, as one hand differs from the
    next; never mirrored, since the mirror image is another thing.
    """

    degrees: float = 15.0
    scale: tuple[float, float] = (0.7, 1.3)
    shear: float = 20.0
    shift: float = 0.1
    strength: float = 0.1

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, 3, S, S) uint8 → (B, 3, size, size) in [0, 1]."""
        draws = uniform(clock.seed, clock.step, batch.index, f"glyph/{batch.domain}{view}", 38)
        field = elastic_field(draws[:, 6:], batch.images.shape[2], self.strength)
        views = random_affine(batch.images, draws[:, :6], self.degrees, self.scale, self.shear, self.shift, field)
        top, left = (views.shape[2] - self.size) // 2, (views.shape[3] - self.size) // 2
        return gray(views[:, :, top : top + self.size, left : left + self.size])

    def plain(self, images: Tensor) -> Tensor:
        """The central size × size pixels in gray."""
        return gray(center_crop(images, self.size))


@dataclass(frozen=True)
class OfFamily(NoAugmentation):
    """Random views of a family (`uda.ssl.random_views`) as the task's own; in evaluation, the central crop."""

    family: Callable[[Batch, Clock, str], Tensor]

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) in [0, 1]."""
        return self.family(batch, clock, f"own {view}")


@dataclass(frozen=True)
class OrGiven(NoAugmentation):
    """Stored pixels undergo `own`; views that are there already (float, an attack's) stay as they are."""

    own: NoAugmentation

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, 3, H, W) uint8, or (B, 3, size, size) float in [0, 1] → (B, 3, size, size) in [0, 1]."""
        return batch.images if batch.images.is_floating_point() else self.own(batch, clock, view)

    def plain(self, images: Tensor) -> Tensor:
        """The evaluation view of stored pixels."""
        return self.own.plain(images)


@dataclass(frozen=True)
class PickPass:
    """Frozen mode: one of the passes whose features were computed beforehand, at random for each image and step."""

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, passes, D) → (B, D)."""
        draws = uniform(clock.seed, clock.step, batch.index, f"pass/{batch.domain}{view}", 1)[:, 0]
        chosen = (draws * batch.images.shape[1]).long()
        return batch.images[torch.arange(len(batch), device=chosen.device), chosen]

    def plain(self, images: Tensor) -> Tensor:
        """The first pass, which was computed from the evaluation view: (B, passes, D) → (B, D)."""
        return images[:, 0]


AUGMENTATIONS: dict[str, type[NoAugmentation]] = {
    "crop-flip": CropFlip,
    "glyph": Glyph,
    "none": NoAugmentation,
}
