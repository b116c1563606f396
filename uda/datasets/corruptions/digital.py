"""Contrast, saturation, elastic transform, pixelation and JPEG; images (B, 3, H, W)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg

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
    grid = _affine_places(corners * constants.affine, height, width)
    unit = torch.tensor([max(1, width - 1), max(1, height - 1)], device=images.device)
    bent = _sample(images, (grid * (2 / unit) - 1).float(), whole=True)
    if not constants.alpha:
        return bent
    shifts = gaussian_blur(moves, constants.sigma, truncate=3, border="reflect") * constants.alpha
    x = torch.arange(width, device=images.device) + shifts[:, 0]
    y = torch.arange(height, device=images.device)[:, None] + shifts[:, 1]
    return _sample(bent, torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1), whole=False)


def _affine_places(shifts: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel comes from when three points are moved by shifts (B, 3, 2): (B, H, W, 2), x first."""
    away = min(height, width) // 3
    x, y = width // 2, height // 2
    first, knee, last = shifts.unbind(1)
    first, knee, last = (
        first + shifts.new_tensor([x + away, y + away]),
        knee + shifts.new_tensor([x + away, y - away]),
        last + shifts.new_tensor([x - away, y - away]),
    )
    # A place is knee + a · (first − knee) + b · (last − knee) after the move, and the same a and b tell it before.
    one, two = first - knee, last - knee
    area = _cross(one, two)
    area = torch.where(area.abs() < 1e-6, 1e-6, area)[:, None, None]
    columns = torch.arange(width, dtype=shifts.dtype, device=shifts.device).expand(height, -1)
    rows = torch.arange(height, dtype=shifts.dtype, device=shifts.device)[:, None].expand(-1, width)
    place = torch.stack([columns, rows], dim=-1) - knee[:, None, None]
    a = _cross(place, two[:, None, None]) / area
    b = _cross(one[:, None, None], place) / area
    return torch.stack([x + away - 2 * away * b, y - away + 2 * away * a], dim=-1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _sample(images: Tensor, grid: Tensor, whole: bool) -> Tensor:
    """Bilinear; mirrored about the centers of the outermost pixels (whole), or about the image's edges."""
    grid = grid.clamp(-1e4, 1e4)  # three points that fall on a line would send pixels to infinity
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=whole)


def pixelate(images: Tensor, share: float) -> Tensor:
    """Shrink to a share of the sides by averaging, then enlarge by repeating pixels; uint8 → uint8.

    As Pillow's box filter, columns first: each pixel belongs to one mean, which is rounded after each axis.
    """
    height, width = images.shape[-2:]
    small = _row_means(images.transpose(2, 3).contiguous(), int(width * share))  # rows are faster to add than columns
    small = _row_means(small.transpose(2, 3).contiguous(), int(height * share))
    for dim, side in ((3, width), (2, height)):
        small = small.index_select(dim, _nearest(side, small.shape[dim]).to(images.device))
    return small


def _row_means(images: Tensor, n: int) -> Tensor:
    """Divide the rows into n runs and return the rounded mean of each."""
    scale = images.shape[2] / n
    centers = (np.arange(n) + 0.5) * scale
    first, end = ((centers + side * scale / 2 + 0.5).astype(int).clip(0, images.shape[2]) for side in (-1, 1))
    counts = torch.from_numpy(end - first)
    total = torch.zeros(1, dtype=torch.int16, device=images.device)
    for k in range(int(counts.max())):
        rows = images.index_select(2, torch.from_numpy((first + k).clip(max=end - 1)).to(images.device)).short()
        if k >= int(counts.min()):
            rows *= (counts > k).to(images.device)[:, None]
        total = total + rows
    share = (1 / counts).to(images.device, torch.float32)[:, None]
    return (total * share).add_(0.5 + 2.0**-10).to(torch.uint8)


def _nearest(side: int, small: int) -> Tensor:
    return ((torch.arange(side) + 0.5) * (small / side)).long()


def jpeg_compression(images: Tensor, quality: int) -> Tensor:
    """Encode each image as JPEG with color at half the resolution, and decode it; uint8 → uint8, on the CPU."""
    pictures = images.cpu()
    return torch.stack([decode_jpeg(encode_jpeg(picture, quality)) for picture in pictures]).to(images.device)

