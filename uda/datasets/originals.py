"""Which images are copies of one original: turned, mirrored, zoomed or shifted, as augmented data sets hold them."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

SIDE = 96
"""Pixels of a side of the squares that are compared."""

ALIKE = 0.54
"""Correlation from which on two images count as copies of one original; see `originals`."""

_CANDIDATES = 24  # images of the most similar colors, which are compared closely
_LEVELS = 8  # of each color channel, in the histograms that choose those
_RINGS, _ANGLES = 12, 64
_REACH = 0.62  # of half a side: the disk in which two images are compared
_SHIFTS = (-0.3, -0.15, 0.0, 0.15, 0.3)  # of half a side, of the disk's center in one of the two
_ZOOMS = (0.8, 0.9, 1.0, 1 / 0.9, 1 / 0.8)
_FINE, _COARSE = 3, 27  # pixels over which the image is smoothed, and beyond which changes are taken out
_BLOCK = 64


def originals(images: Tensor) -> np.ndarray:
    """Return the number of the original of each image, (N,) int64, from squares (N, 3, 96, 96) uint8.

    Two images are copies if a disk around the center of one is found in the other: the gray values between 3 and 27
    pixels of scale are sampled on rings, and correlated over all angles, mirrored too, five zooms and 25 places of the
    other disk. All of it is symmetric under the eight rotations and reflections of the square, so that neither the
    answer nor what it is asked of depends on which of these an image has had. Groups are closed under being copies.
    Only the 24 images of the most similar histogram of colors, which such turns do not change either, are compared.

    The threshold was chosen on LC25000's lung images (900 of them, three classes, 112 pixels), whose copies were turned
    by up to 25 degrees, mirrored, shifted and zoomed: copies cannot belong to two classes, and at .54 no pair does,
    while at .52 three do. They are 175, 189 and 203 originals of 300 images each. What has few details, such as films,
    looks alike by chance: mind the size of the largest group. About .05 s an image on one thread.
    """
    if images.shape[1:] != (3, SIDE, SIDE) or images.dtype != torch.uint8:
        raise ValueError(f"squares must be uint8 of shape (N, 3, {SIDE}, {SIDE}), not {tuple(images.shape)}")
    n = len(images)
    if n < 2:
        return np.arange(n, dtype=np.int64)
    candidates = similar_colors(images, min(_CANDIDATES, n - 1))
    alike = correlations(images, candidates)
    first, place = np.nonzero((alike >= ALIKE).numpy())
    second = candidates.numpy()[first, place]
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def similar_colors(images: Tensor, count: int) -> Tensor:
    """Return the rows (N, count) of the images whose colors are most alike, of squares (N, 3, 96, 96) uint8.

    The Bhattacharyya coefficient of joint histograms (8 levels a channel) of the image at a quarter of its size.
    """
    small = torch.cat([F.avg_pool2d(part.float(), 4) for part in images.split(1024)])
    level = (small * (_LEVELS / 256)).long().clamp_(max=_LEVELS - 1)
    cell = ((level[:, 0] * _LEVELS + level[:, 1]) * _LEVELS + level[:, 2]).flatten(1)
    counts = torch.zeros(len(images), _LEVELS**3).scatter_add_(1, cell, torch.ones(cell.shape))
    roots = (counts / cell.shape[1]).sqrt()
    rows = []
    for start in range(0, len(roots), 1024):
        alike = roots[start : start + 1024] @ roots.T
        alike.diagonal(start).fill_(-1)
        rows.append(alike.topk(count).indices)
    return torch.cat(rows)


def correlations(images: Tensor, candidates: Tensor) -> Tensor:
    """Return the correlation (N, K) in [−1, 1] of each image with its candidates (N, K) at the best place and turn."""
    gray = _details(images)
    disks = _spectra(gray, 0.0, 0.0, 1.0)
    best = torch.full(candidates.shape, -1.0)
    for zoom, down, right in _places():
        others = _spectra(gray, down, right, zoom)
        for start in range(0, len(images), _BLOCK):
            rows = slice(start, start + _BLOCK)
            own, other = disks[rows, None], others[candidates[rows]]
            for mirrored in (own, own.conj()):  # the spectrum of the angles run through the other way round
                products = (other * mirrored.conj()).sum(2)
                best[rows] = torch.maximum(best[rows], torch.fft.irfft(products, n=_ANGLES).amax(-1))
    return best


def _places() -> Iterator[tuple[float, float, float]]:
    for zoom in _ZOOMS:
        for down in _SHIFTS:
            for right in _SHIFTS:
                yield zoom, down, right


def _details(images: Tensor) -> Tensor:
    """(N, 3, S, S) uint8 → (N, 1, S, S): the mean of the channels without its finest and its slow changes."""
    parts = []
    for part in images.split(512):
        gray = part.float().mean(1, keepdim=True)
        fine = F.avg_pool2d(gray, _FINE, 1, _FINE // 2, count_include_pad=False)
        parts.append(fine - F.avg_pool2d(fine, _COARSE, 1, _COARSE // 2, count_include_pad=False))
    return torch.cat(parts)


def _spectra(gray: Tensor, down: float, right: float, zoom: float) -> Tensor:
    """Return the spectra over the angle on rings of a disk in each image, (N, rings, angles / 2 + 1) complex.

    Rings are weighted by their areas and the whole is normalized, so that summed products are a correlation.
    """
    radius = (torch.arange(_RINGS) + 0.5) / _RINGS
    angle = torch.arange(_ANGLES) * (2 * math.pi / _ANGLES)
    x = radius[:, None] * angle.cos() * (_REACH * zoom) + right
    y = radius[:, None] * angle.sin() * (_REACH * zoom) + down
    grid = torch.stack([x, y], dim=-1)[None]
    parts = []
    for part in gray.split(512):
        rings = F.grid_sample(part, grid.expand(len(part), -1, -1, -1), padding_mode="reflection", align_corners=False)[
            :, 0
        ]
        weight = (radius / (radius.sum() * _ANGLES))[:, None]
        rings = (rings - (rings * weight).sum((1, 2), keepdim=True)) * weight.sqrt()
        length = rings.flatten(1).norm(dim=1)[:, None, None]
        parts.append(torch.fft.rfft(rings / length.clamp_min(1e-3)))
    return torch.cat(parts)
