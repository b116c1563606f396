"""Spatter: drops of water, which shine at their edges, or splashes of mud (B, H, W or B, 3, H, W throughout).

The published water is made by OpenCV's edge filter and distance transform on 8-bit pictures. Both are integers all
through, so they are repeated here to the last bit, for a batch at a time.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.datasets.corruptions.blur import gaussian_blur
from uda.datasets.corruptions.presets import Liquid

_WATER = (175.0, 238.0, 238.0)  # pale turquoise
_MUD = (63.0, 42.0, 20.0)
_WEAK, _STRONG = 50, 150  # gradients that continue an edge, and that start one
_TAN_22 = 13573  # tan 22.5°, times 2¹⁵
_FAR = 20  # distances are told apart up to here
_UNIT = 1 << 16  # a pixel's side in the distances
# Steps of the distance transform and their lengths: 1, 1.4 and 2.1969 pixels (Borgefors, 1986), in fixed point.
_STEPS = (
    *((step, 65536) for step in ((0, 1), (1, 0), (0, -1), (-1, 0))),
    *((step, 91750) for step in ((1, 1), (1, -1), (-1, -1), (-1, 1))),
    *((step, 143976) for step in ((1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2))),
)

Border = Literal["zero", "nearest", "mirror"]


def spatter(images: Tensor, noise: Tensor, liquid: Liquid) -> Tensor:
    """Spatter images (B, 3, H, W) float32 in gray levels with what standard normal noise (B, H, W) float64 makes."""
    wet = gaussian_blur((noise * liquid.std + liquid.mean)[:, None], liquid.sigma)[:, 0]
    return _muddy(images, wet, liquid) if liquid.mud else _watery(images, wet, liquid)


def _muddy(images: Tensor, wet: Tensor, liquid: Liquid) -> Tensor:
    cover = gaussian_blur((wet > liquid.threshold).double()[:, None], liquid.edge)
    cover = F.threshold(cover, 0.8, 0).float()
    return torch.lerp(images, images.new_tensor(_MUD)[:, None, None], cover)


def _watery(images: Tensor, wet: Tensor, liquid: Liquid) -> Tensor:
    """Add light where it is wet; an image that no drop falls on stays as it is (the reference divides 0 by 0)."""
    drops = F.threshold(wet, liquid.threshold, 0).clamp_(max=1).mul_(255).int()
    light = (drops * relief(distance(edges(drops)))).float()
    light = light * (liquid.edge / light.amax((1, 2), keepdim=True).clamp_min(1))
    return torch.addcmul(images, light[:, None], images.new_tensor(_WATER)[:, None, None])


def edges(gray: Tensor) -> Tensor:
    """Return the edges of int32 pictures 0 … 255 (Canny, PAMI 1986): bool, of the same shape.

    Sobel gradients, their length the sum of both parts; an edge is a maximum across its direction, in four sectors, of
    a gradient above 50, and is kept if one above 150 is connected to it. Ties go to the left and to the top.
    """
    near = _around(gray, "nearest")
    across = near[1][2] * 2 + near[0][2] + near[2][2] - near[1][0] * 2 - near[0][0] - near[2][0]
    down = near[2][1] * 2 + near[2][0] + near[2][2] - near[0][1] * 2 - near[0][0] - near[0][2]
    width, height = across.abs(), down.abs()
    length = width + height
    # Truth values are integers here, with no bit set or all: choosing by them is several times faster.
    tan_22, up = width * _TAN_22, height << 15
    flat, steep = _less(up, tan_22), _less(tan_22 + (width << 16), up)
    falling = ~_less(across ^ down, 0)
    near = _around(length, "zero")
    beside = _less(near[1][0], length) & ~_less(length, near[1][2])
    above = _less(near[0][1], length) & ~_less(length, near[2][1])
    diagonal = (_less(near[0][0], length) & _less(near[2][2], length) & falling) | (
        _less(near[0][2], length) & _less(near[2][0], length) & ~falling
    )
    candidates = (flat & beside) | (steep & above) | (~flat & ~steep & diagonal)
    candidates &= _less(_WEAK, length)
    kept = candidates & _less(_STRONG, length)
    while True:
        grown = candidates & _of_neighbors(torch.bitwise_or, kept, "zero")
        if torch.equal(grown, kept):
            return kept.bool()
        kept = grown


def _less(a: Tensor | int, b: Tensor | int) -> Tensor:
    """Return −1 (all bits) where a < b, else 0; int32."""
    return torch.as_tensor(a - b).bitwise_right_shift_(31)


def distance(edge: Tensor) -> Tensor:
    """Return how far the nearest edge is, in 1/65536 pixels, at most 20 pixels: bool → int32.

    The length of the shortest way in steps of a chess king and knight, found by relaxation along each of the 16 steps,
    over 1, 2, 4, … of them at a time.
    """
    height, width = edge.shape[-2:]
    far = torch.where(edge, 0, _FAR * _UNIT).int()
    for (down, right), cost in _STEPS:
        times = 1
        while times * cost < _FAR * _UNIT and times * abs(down) < height and times * abs(right) < width:
            rows, columns = _overlap(height, times * down), _overlap(width, times * right)
            target = far[:, rows[0], columns[0]]
            torch.minimum(target, far[:, rows[1], columns[1]] + times * cost, out=target)
            times *= 2
    return far


def relief(far: Tensor) -> Tensor:
    """Return the shine of drops, int32: distances smoothed, equalized, embossed and smoothed again, 0 … 255."""
    levels = _equalized((_of_neighbors(torch.add, far, "mirror").double() / (9 * _UNIT)).int())
    near = _around(levels, "mirror")
    embossed = near[1][1] + near[1][2] + near[2][1] + near[2][2] * 2 - near[0][0] * 2 - near[0][1] - near[1][0]
    return (_of_neighbors(torch.add, embossed.clamp_(0, 255), "mirror").float() / 9).round().int()


def _equalized(levels: Tensor) -> Tensor:
    """Spread levels 0 … 20 over 0 … 255 such that all become equally frequent; one level alone stays."""
    flat = levels.flatten(1).long()
    counts = torch.zeros(len(flat), _FAR + 1, dtype=torch.int64, device=flat.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    upto = counts.cumsum(1)
    lowest = counts.gather(1, flat.amin(1, keepdim=True))
    rest = flat.shape[1] - lowest
    # In single precision, as OpenCV scales.
    scale = 255.0 / rest.clamp_min(1).float()
    table = torch.where(rest > 0, ((upto - lowest).clamp_min(0).float() * scale).round().long(), flat[:, :1])
    return table.gather(1, flat).view_as(levels).int()


def _of_neighbors(operation: Callable[[Tensor, Tensor], Tensor], values: Tensor, border: Border) -> Tensor:
    """Reduce the 3 × 3 values around each one."""
    padded = _padded(values, border)
    rows = operation(operation(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    return operation(operation(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])


def _around(values: Tensor, border: Border) -> list[list[Tensor]]:
    """Return the neighbor above left, above, … of each value, as 3 rows of 3."""
    height, width = values.shape[-2:]
    padded = _padded(values, border)
    return [[padded[:, i : i + height, j : j + width] for j in range(3)] for i in range(3)]


def _padded(values: Tensor, border: Border) -> Tensor:
    """One pixel more on each side."""
    batch, height, width = values.shape
    padded = values.new_zeros(batch, height + 2, width + 2)
    padded[:, 1:-1, 1:-1] = values
    if border != "zero":
        k = 1 if border == "nearest" else 2
        padded[:, 0], padded[:, -1] = padded[:, k], padded[:, -1 - k]
        padded[:, :, 0], padded[:, :, -1] = padded[:, :, k], padded[:, :, -1 - k]
    return padded


def _overlap(side: int, shift: int) -> tuple[slice, slice]:
    """Return where something lands that is moved by `shift`, and where it comes from."""
    return slice(max(shift, 0), side + min(shift, 0)), slice(max(-shift, 0), side + min(-shift, 0))
