"""Color spaces in batches: sRGB ↔ CIE Lab, and the bins of a, b that sRGB can reach."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# Linear sRGB → XYZ (IEC 61966-2-1) and the white point D65 of the 2° observer, as the common image libraries have them.
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_FROM_XYZ: list[list[float]] = np.linalg.inv(np.array(_TO_XYZ)).tolist()
_WHITE = (0.95047, 1.0, 1.08883)


def mixed_channels(images: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Apply a 3 × 3 matrix to the channels of images (B, 3, H, W).

    Not as a matrix product, which autocast would round to bfloat16, nor by a tensor of it, for whose copy a GPU waits.
    """
    first, second, third = images.unbind(1)
    return torch.stack([a * first + b * second + c * third for a, b, c in matrix], dim=1)


def _scaled(images: Tensor, factors: Sequence[float]) -> Tensor:
    return torch.stack([factor * channel for factor, channel in zip(factors, images.unbind(1), strict=True)], dim=1)


def rgb_to_lab(images: Tensor) -> Tensor:
    """Convert sRGB in [0, 1] to CIE Lab: (B, 3, H, W), L in 0 … 100, a and b about −110 … 110."""
    linear = torch.where(images > 0.04045, ((images.clamp(min=0) + 0.055) / 1.055) ** 2.4, images / 12.92)
    ratio = _scaled(mixed_channels(linear, _TO_XYZ), [1 / white for white in _WHITE])
    root = torch.where(ratio > 0.008856, ratio.clamp(min=0.008856) ** (1 / 3), 7.787 * ratio + 16 / 116)
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIE Lab to sRGB, cut off to [0, 1] where sRGB has no such color: (B, 3, H, W)."""
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    ratio = torch.where(root > 0.206893, root**3, (root - 16 / 116) / 7.787)
    linear = mixed_channels(_scaled(ratio, _WHITE), _FROM_XYZ)
    curved = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)


@lru_cache(maxsize=4)
def _gamut(width: int, levels: int) -> tuple[tuple[int, int], ...]:
    # Colors of extreme a, b lie on the surface of the cube, so its six faces are enough.
    steps = torch.linspace(0, 1, levels, dtype=torch.float64)
    first, second = (face.flatten() for face in torch.meshgrid(steps, steps, indexing="ij"))
    faces = []
    for channel in range(3):
        for value in (0.0, 1.0):
            rest = [first, second]
            rest.insert(channel, torch.full_like(first, value))
            faces.append(torch.stack(rest))
    surface = torch.cat(faces, dim=1)[None, :, :, None]
    cells = (rgb_to_lab(surface)[0, 1:, :, 0].T / width).round().long().unique(dim=0)
    return tuple((int(a), int(b)) for a, b in cells * width)


def gamut_bins(width: int = 10, levels: int = 86) -> Tensor:
    """Return the centers (Q, 2) of the cells of the a, b lattice of that width that some sRGB color falls into.

    With the width of 10 these are 261. Zhang et al. (ECCV 2016) publish 313 bins for the same lattice, which leave a
    margin around what sRGB reaches; a bin that no color falls into is never an answer. levels: steps of each channel.
    """
    return torch.tensor(_gamut(width, levels), dtype=torch.float32)
