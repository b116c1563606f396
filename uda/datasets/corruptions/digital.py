"""Contrast, saturation, elastic transform, pixelation and JPEG; images (B, 3, H, W)."""

from functools import lru_cache
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from uda.datasets.corruptions.blur import gaussian_blur
from uda.datasets.corruptions.presets import Elastic


def contrast(images: Tensor, factor: float) -> Tensor:
    """Draw each channel of uint8 images toward its mean: float32 gray levels."""
    pixels = images.shape[2] * images.shape[3]
    # Summed as integers: exact, whatever the order.
    mean = (images.sum((2, 3), keepdim=True).double() * ((1 - factor) / pixels)).float()
    return images * factor + mean


def saturate(images: Tensor, factor: float, addend: float) -> Tensor:
    """Scale and raise the saturation of HSV, in float32 gray levels; hue and value stay.

    As in the reference, gray pixels have the hue of red, so raising their saturation reddens them.
    """
    value, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    span = value - low
    saturation = (span / value.clamp_min(1)).mul_(factor).add_(addend).clamp_(0, 1)
    # A channel lies below the value by a share of the span, which is value · saturation.
    target = value * saturation
    out = value - (value - images) * (target / span.clamp_min(1))
    if addend:
        out[:, 1:] -= torch.where(span == 0, target, 0.0)
    return out


def elastic_transform(images: Tensor, corners: Tensor, moves: Tensor, constants: Elastic) -> Tensor:
    """Move three points, bend the image accordingly, then move each pixel by smoothed noise; float32 gray levels.

    corners: (B, 3, 2) float64 in [−1, 1], the shifts of the points in units of `affine`, x first; moves: (B, 2, H, W)
    in [−1, 1], x first. Bilinear, twice; images are mirrored at their edges. OpenCV, with which the published files
    were made, rounds the first bend's places to 1/32 of a pixel, this does not.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    bend = _bend(corners * constants.affine, height, width)[..., None, None]
    from_x, from_y = ((row[:, 0] + row[:, 1] * x + row[:, 2] * y) for row in bend.unbind(1))
    bent = _sample(images, from_x, from_y, whole=True)
    if not constants.alpha:
        return bent
    shifts = gaussian_blur(moves, constants.sigma, truncate=3, border="reflect") * constants.alpha
    return _sample(bent, shifts[:, 0] + x, shifts[:, 1] + y, whole=False)


def _bend(shifts: Tensor, height: int, width: int) -> Tensor:
    """Return where pixels come from when three points are moved by shifts (B, 3, 2).

    (B, 2, 3) float64: the pixel (x, y) comes from the place row · (1, x, y), for its x and its y.
    """
    away = min(height, width) // 3
    right, left, down, up = width // 2 + away, width // 2 - away, height // 2 + away, height // 2 - away
    knee_x, knee_y = (shifts[:, 1] + shifts.new_tensor([right, up])).unbind(1)
    # A place is knee + a · one + b · two after the move, and the same a and b tell where it was before.
    one_x, one_y = (shifts[:, 0] + shifts.new_tensor([right, down])).unbind(1)
    two_x, two_y = (shifts[:, 2] + shifts.new_tensor([left, up])).unbind(1)
    one_x, one_y, two_x, two_y = one_x - knee_x, one_y - knee_y, two_x - knee_x, two_y - knee_y
    area = one_x * two_y - one_y * two_x
    area = torch.where(area.abs() < 1e-6, 1e-6, area)
    a = torch.stack([knee_y * two_x - knee_x * two_y, two_y, -two_x], dim=1) * (2 * away / area)[:, None]
    b = torch.stack([knee_x * one_y - knee_y * one_x, -one_y, one_x], dim=1) * (2 * away / area)[:, None]
    return torch.stack([-b, a], dim=1) + shifts.new_tensor([[right, 0, 0], [up, 0, 0]])


def _sample(images: Tensor, x: Tensor, y: Tensor, whole: bool) -> Tensor:
    """Bilinear at places x, y (B, H, W); mirrored about the outermost pixels' centers (whole) or outer edges."""
    height, width = images.shape[-2:]
    if whole:
        x, y = x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1
    else:
        x, y = (x * 2 + 1) / width - 1, (y * 2 + 1) / height - 1
    grid = torch.stack([x.float(), y.float()], dim=-1).clamp_(-1e4, 1e4)  # points on a line would send pixels far off
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=whole)


def pixelate(images: Tensor, share: float) -> Tensor:
    """Shrink to a share of the sides by averaging, then enlarge by repeating pixels; uint8 → uint8.

    As Pillow's box filter, columns first: each pixel belongs to one mean, which is rounded after each axis.
    """
    height, width = images.shape[-2:]
    # Always on rows, which are faster to add and to repeat than columns.
    narrow = _row_means(images.mT.contiguous(), int(width * share))
    small = _row_means(narrow.mT.contiguous(), int(height * share))
    wide = _repeated_rows(small.mT.contiguous(), width)
    return _repeated_rows(wide.mT.contiguous(), height)


def _row_means(images: Tensor, n: int) -> Tensor:
    """Divide the rows into n runs and return the rounded mean of each."""
    rows, weights = (each.to(images.device) for each in _runs(images.shape[2], n))
    means = images.index_select(2, rows[0]).float().mul_(weights[0]).add_(0.5 + 2.0**-10)
    for k in range(1, len(rows)):
        means.addcmul_(images.index_select(2, rows[k]).float(), weights[k])
    return means.to(torch.uint8)


@lru_cache(maxsize=64)
def _runs(side: int, n: int) -> tuple[Tensor, Tensor]:
    """Return the k-th row of each run (K, n) int64 and its weight in the mean (K, n, 1), 0 for shorter runs."""
    scale = side / n
    centers = (np.arange(n) + 0.5) * scale
    first, end = ((centers + part + 0.5).astype(int).clip(0, side) for part in (-scale / 2, scale / 2))
    counts = end - first
    steps = np.arange(counts.max())[:, None]
    rows, weights = np.minimum(first + steps, end - 1), (steps < counts) / counts
    return torch.from_numpy(rows), torch.from_numpy(weights).float()[..., None]


def _repeated_rows(images: Tensor, side: int) -> Tensor:
    n = images.shape[2]
    nearest = ((torch.arange(side, dtype=torch.float64, device=images.device) + 0.5) * (n / side)).long()
    return images.index_select(2, nearest)


def jpeg_compression(images: Tensor, quality: int) -> Tensor:
    """Encode each image as JPEG, colors at half the resolution, and decode it; uint8 → uint8, on the CPU."""
    batch, _, height, width = images.shape
    # Pillow takes a row of red, one of green, one of blue: no value has to be moved by itself.
    lines = images.transpose(1, 2).contiguous().cpu().numpy()
    out = np.empty((batch, height, width, 3), dtype=np.uint8)
    for source, target in zip(lines, out, strict=True):
        file = BytesIO()
        Image.frombytes("RGB", (width, height), source.tobytes(), "raw", "RGB;L").save(file, "JPEG", quality=quality)
        target[:] = np.asarray(Image.open(file))
    return torch.from_numpy(out).to(images.device).permute(0, 3, 1, 2).contiguous()
