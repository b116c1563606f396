"""Blurs of a batch of images, (B, C, H, W) float32 in gray levels, in and out."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

_BLOCK = 56

Border = Literal["nearest", "reflect", "mirror"]
"""Beyond the edge: `nearest` a|abc|c, `reflect` ba|abc|cb, `mirror` cb|abc|ba."""


def gaussian_blur(images: Tensor, sigma: float, truncate: float = 4.0, border: Border = "nearest") -> Tensor:
    """Blur by a Gaussian of `sigma` pixels, cut off beyond truncate · sigma."""
    height, width = images.shape[-2:]
    reach = int(truncate * sigma + 0.5)
    if reach == 0:
        return images
    planes = images.flatten(0, -3)
    planes = _along_rows(planes, smoothing(sigma, reach, width, border).to(images), reach)
    return _along_columns(planes, smoothing(sigma, reach, height, border).to(images), reach).view_as(images)


def _along_columns(planes: Tensor, matrix: Tensor, reach: int) -> Tensor:
    """Return matrix · plane for (P, H, W) planes; entries farther than `reach` from the diagonal are 0.

    In blocks, which leave out most of the zeros, and plane by plane: one product of all planes would add up in an order
    that depends on how many there are.
    """
    out = torch.empty_like(planes)
    for block, near in _blocks(len(matrix), reach):
        rows = matrix[block, near].expand(len(planes), -1, -1)
        out[:, block] = torch.bmm(rows, planes[:, near])
    return out


def _along_rows(planes: Tensor, matrix: Tensor, reach: int) -> Tensor:
    """Return plane · matrixᵀ, as above."""
    out = torch.empty_like(planes)
    for block, near in _blocks(len(matrix), reach):
        columns = matrix[block, near].T.expand(len(planes), -1, -1)
        out[:, :, block] = torch.bmm(planes[:, :, near], columns)
    return out


def _blocks(side: int, reach: int) -> Iterator[tuple[slice, slice]]:
    """Return runs of a line, and what of it is within reach of each."""
    for first in range(0, side, _BLOCK):
        end = min(first + _BLOCK, side)
        yield slice(first, end), slice(max(0, first - reach), min(side, end + reach))


@lru_cache(maxsize=64)
def smoothing(sigma: float, reach: int, side: int, border: Border) -> Tensor:
    """Return the Gaussian blur of a line as a matrix, (side, side) float64; taps up to `reach`, their sum is 1."""
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((side, side))
    places = inside(np.arange(side)[:, None] + offsets, side, border)
    np.add.at(matrix, (np.arange(side)[:, None], places), weights / weights.sum())
    return torch.from_numpy(matrix)


def inside(places: np.ndarray, side: int, border: Border) -> np.ndarray:
    """Return the places in 0 … side − 1 that stand for places beyond the edges."""
    if border == "nearest":
        return places.clip(0, side - 1)
    if border == "reflect":
        places = places % (2 * side)
        return np.minimum(places, 2 * side - 1 - places)
    places = places % (2 * side - 2)
    return np.minimum(places, 2 * side - 2 - places)


def defocus_blur(images: Tensor, radius: float, edge: float) -> Tensor:
    """Blur by a disk whose edge is smoothed by a Gaussian of `edge` pixels; images are mirrored at their edges."""
    height, width = images.shape[-2:]
    kernel = disk(radius, edge).to(images)
    reach = len(kernel) // 2
    for dim, side in ((2, height), (3, width)):
        places = torch.from_numpy(inside(np.arange(-reach, side + reach), side, "mirror"))
        images = images.index_select(dim, places.to(images.device))
    # 17² taps or more: a product of spectra costs less.
    size = [next_fast_len(side, real=True) for side in images.shape[-2:]]
    spectrum = torch.fft.rfft2(images, s=size) * torch.fft.rfft2(kernel, s=size)
    sums = torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2), n=size[1])
    return sums[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


@lru_cache(maxsize=16)
def disk(radius: float, edge: float) -> Tensor:
    """Return the kernel of an aperture, (17, 17) or, from radius 8 on, of 2 · radius + 1, float64.

    As published, the kernel is smoothed within its own frame, by 3 taps (by 5 beyond radius 8). Where the disk touches
    the frame, at radius 8 and 10, it is mirrored back in, so the taps sum to 1.013 and 1.011: such images are brighter.
    """
    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    steps = np.arange(-reach, reach + 1)
    flat = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(float)
    smooth = smoothing(edge, taps, len(steps), "mirror")
    return smooth @ torch.from_numpy(flat / flat.sum()) @ smooth.T


def motion_blur(images: Tensor, angles: Tensor, radius: int, sigma: float) -> Tensor:
    """Smear each image in a direction of its own, by a one-sided Gaussian; the edge pixels go on beyond the edges.

    angles: (B,) float64 degrees, 0 is along x. As ImageMagick's motion blur: 2 · radius + 1 taps, each at the nearest
    pixel of the line.
    """
    height, width = images.shape[-2:]
    far = 2 * radius
    steps = torch.arange(far + 1, device=images.device, dtype=torch.float64)
    weights = np.exp(-0.5 * (np.arange(far + 1) / sigma) ** 2)
    lines = torch.deg2rad(angles)[:, None]
    down = (steps * lines.sin() - 0.5).ceil().long() + far
    right = (steps * lines.cos() - 0.5).ceil().long() + far
    padded = F.pad(images, (far, far, far, far), mode="replicate")
    smear = _by_slices if images.device.type == "cpu" else _by_windows
    return smear(padded, down, right, (weights / weights.sum()).tolist(), height, width)


def _by_windows(padded: Tensor, down: Tensor, right: Tensor, weights: list[float], height: int, width: int) -> Tensor:
    """Add up weighted parts of the padded images, from (B, taps) rows and columns on, for all images at once."""
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    each = torch.arange(len(padded), device=padded.device)
    out = padded.new_zeros(*padded.shape[:2], height, width)
    for tap, weight in enumerate(weights):
        out.add_(windows[each, :, down[:, tap], right[:, tap]], alpha=weight)
    return out


def _by_slices(padded: Tensor, down: Tensor, right: Tensor, weights: list[float], height: int, width: int) -> Tensor:
    """Do the same image by image, which takes a CPU a third of the time: nothing is gathered before it is added."""
    out = padded.new_zeros(*padded.shape[:2], height, width)
    for image, sums, rows, columns in zip(padded, out, down.tolist(), right.tolist(), strict=True):
        for top, left, weight in zip(rows, columns, weights, strict=True):
            sums.add_(image[:, top : top + height, left : left + width], alpha=weight)
    return out


def zoom_blur(images: Tensor, end: float, step: float) -> Tensor:
    """Average the image and its magnifications by 1, 1 + step, … below `end`."""
    factors = np.arange(1, end, step).tolist()
    out = images.clone()
    for factor in factors:
        out.add_(zoomed(images, factor))
    return out.div_(len(factors) + 1)


def zoomed(images: Tensor, factor: float) -> Tensor:
    """Magnify the center, bilinear with aligned corners, to the same size."""
    height, width = images.shape[-2:]
    rows, columns = _middle(height, crop_side(height, factor)), _middle(width, crop_side(width, factor))
    return magnified(images[..., rows, columns], factor, height, width)


def crop_side(side: int, factor: float) -> int:
    """Return how many pixels of a side are seen at a magnification."""
    return int(np.ceil(side / factor))


def magnified(crop: Tensor, factor: float, height: int, width: int) -> Tensor:
    """Magnify all of (B, C, h, w) and return its middle, (B, C, height, width)."""
    size = [round(side * factor) for side in crop.shape[-2:]]
    if list(crop.shape[-2:]) != size:
        crop = F.interpolate(crop, size=size, mode="bilinear", align_corners=True)
    return crop[..., _middle(size[0], height), _middle(size[1], width)]


def _middle(side: int, length: int) -> slice:
    start = (side - length) // 2
    return slice(start, start + length)
