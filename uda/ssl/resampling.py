"""Crops, resizing and blur of a batch in which every image has parameters of its own, as torchvision's image by image.

Images are (B, 3, H, W), parameters (B,) tensors on their device; every function returns new images, float32 in [0, 1].
None waits for an accelerator. Differences from torchvision's operations on the same floats are rounding alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_TRIES = 10
_LARGE = 64**2  # pixels of an image
BOX_DRAWS = 2 * _TRIES + 2  # the draws that `crop_boxes` wants for an image


@dataclass(frozen=True)
class Taps:
    """What each of S output rows (or columns) is a weighted sum of: (B, S, K) int64 places and float32 weights."""

    places: Tensor
    weights: Tensor


def resample(images: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Return (B, 3, S, T) sums of `columns`, then of `rows`, of (B, 3, H, W) uint8 or float images, in [0, 1].

    As few numbers of a row have weight, this is several times faster than products with whole matrices.
    """
    n, channels, height, width = images.shape
    unit = 1 / 255 if images.dtype == torch.uint8 else 1.0
    # What is summed lies outermost: rows of a table, which embedding_bag adds up at the speed of memory.
    table = torch.empty(n, width, channels, height, device=images.device).copy_(images.permute(0, 3, 1, 2))
    across = _weighted_sums(table.flatten(2), columns.places, columns.weights * unit)
    offsets = torch.arange(channels, device=images.device)[:, None, None] * height
    places = (rows.places[:, None] + offsets).flatten(1, 2)
    weights = rows.weights[:, None].expand(-1, channels, -1, -1).flatten(1, 2)
    sums = _weighted_sums(_transposed(across), places, weights)
    return sums.view(n, channels, -1, sums.shape[-1]).clamp_(0, 1)


def _weighted_sums(table: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Sum rows of each table: (B, L, W) → (B, S, W) by (B, S, K) places and weights."""
    n, length, width = table.shape
    places = places + torch.arange(n, device=table.device)[:, None, None] * length
    sums = F.embedding_bag(
        places.flatten(0, 1), table.view(-1, width), per_sample_weights=weights.flatten(0, 1), mode="sum"
    )
    return sums.view(n, -1, width)


def _transposed(matrices: Tensor) -> Tensor:
    """(B, M, N) → (B, N, M), contiguous."""
    if matrices.device.type != "cpu" or matrices[0].numel() < 2**15:
        return matrices.transpose(1, 2).contiguous()
    # PyTorch copies the transpose of one large matrix in blocks, but not that of a stack: half the time.
    out = matrices.new_empty(matrices.shape[0], matrices.shape[2], matrices.shape[1])
    for target, matrix in zip(out, matrices, strict=True):
        target.copy_(matrix.t())
    return out


def crop_boxes(draws: Tensor, sides: Sequence[int], scale: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Return a random box in images of (height, width) for each row of draws, (B, 22) in [0, 1) → (B, 4) int64.

    Boxes are top, left, height, width in whole pixels. The area's share is uniform in `scale`, the aspect (width ÷
    height) log-uniform in `ratio`; the first of 10 tries that fits is taken, else the largest central box of a
    permitted aspect. As torchvision's RandomResizedCrop (after Szegedy et al., CVPR 2015, section 6).
    """
    height, width = sides
    draws = draws.double()  # a side must not round differently on another device
    area = (scale[0] + draws[:, :_TRIES] * (scale[1] - scale[0])) * (height * width)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + draws[:, _TRIES : 2 * _TRIES] * (high - low)).exp()
    wide, tall = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    narrow, broad = round(width / ratio[0]), round(height * ratio[1])
    tall = torch.where(found, tall.gather(1, first)[:, 0], float(min(height, max(1, narrow))))
    wide = torch.where(found, wide.gather(1, first)[:, 0], float(min(width, max(1, broad))))
    top, left = height - tall, width - wide
    top = torch.where(found, draws[:, -2] * (top + 1), top / 2).floor()
    left = torch.where(found, draws[:, -1] * (left + 1), left / 2).floor()
    return torch.stack([top, left, tall, wide], dim=1).long()


def resized_crop(
    images: Tensor, boxes: Tensor, size: int, mirrored: Tensor | None = None, antialias: bool = True
) -> Tensor:
    """Cut a box out of each image, resize it to size × size, bilinear, and mirror those of the (B,) bool mask.

    images: uint8, or float in [0, 1]; boxes: (B, 4) int64 top, left, height, width in whole pixels, inside the image.
    antialias: average over all pixels that an output pixel covers, as torchvision does by default. Large uint8 images
    on a CPU are rounded to whole gray levels, as torchvision's are; others are not, and lie within one level of that.
    """
    if one_by_one(images):
        return _resized_one_by_one(images, boxes, size, mirrored, antialias)
    top, left, tall, wide = boxes.unbind(1)
    if images.device.type == "cpu":  # what no box reaches need not be looked at
        first_row, first_column = int(top.min()), int(left.min())
        images = images[:, :, first_row : int((top + tall).max()), first_column : int((left + wide).max())]
        top, left = top - first_row, left - first_column
    rows = _bilinear(top, tall, images.shape[2], size, None, antialias)
    return resample(images, rows, _bilinear(left, wide, images.shape[3], size, mirrored, antialias))


def one_by_one(images: Tensor) -> bool:
    """Whether images are bytes on a CPU and so large that a loop over them is the faster way."""
    return images.device.type == "cpu" and images.dtype == torch.uint8 and images.shape[2] * images.shape[3] > _LARGE


def _resized_one_by_one(images: Tensor, boxes: Tensor, size: int, mirrored: Tensor | None, antialias: bool) -> Tensor:
    flips = [False] * len(images) if mirrored is None else mirrored.tolist()
    parts = zip(images.split(1), boxes.tolist(), flips, strict=True)
    return torch.cat([resized_box(image, box, size, flip, antialias) for image, box, flip in parts])


def resized_box(image: Tensor, box: Sequence[int], size: int, mirrored: bool, antialias: bool) -> Tensor:
    """Do the same as `resized_crop` to one (1, 3, H, W) uint8 image on a CPU, by PyTorch's kernel for bytes.

    The kernel wants all of a batch to have one size; it takes .2 ms for 224 × 224 pixels, `resample` .7 ms.
    """
    top, left, tall, wide = box
    cut = image[:, :, top : top + tall, left : left + wide].contiguous()  # else the kernel copies more than that
    if min(tall, wide, size) == 1:  # which the kernel refuses
        cut = cut.float()
    view = F.interpolate(cut, (size, size), mode="bilinear", antialias=antialias)
    if view.is_floating_point():
        view = view.round_()
    return (view.flip(3) if mirrored else view).float().div_(255)


def _bilinear(start: Tensor, length: Tensor, side: int, size: int, mirrored: Tensor | None, antialias: bool) -> Taps:
    """Return the taps of a triangle filter from `length` pixels on, of at most `side`, to `size`."""
    steps = torch.arange(size, device=start.device)
    if mirrored is not None:
        steps = torch.where(mirrored[:, None], steps.flip(0), steps)
    scale = (length.float() / size)[:, None]
    reach = scale.clamp_min(1) if antialias else torch.ones_like(scale)
    center = scale * (steps + 0.5)
    # An open interval of 2 · reach holds at most ⌈2 · reach⌉ pixel centers; a number known without the boxes' values.
    n_taps = math.ceil(2 * max(1.0, side / size)) if antialias else 2
    places = torch.floor(center - reach + 0.5)[..., None] + torch.arange(n_taps, device=start.device)
    weights = (1 - (places + 0.5 - center[..., None]).abs() / reach[..., None]).clamp_min(0)
    last = (length[:, None, None] - 1).float()
    weights = weights * ((places >= 0) & (places <= last))
    places = torch.minimum(places.clamp_min(0), last).long() + start[:, None, None]
    return Taps(places, weights / weights.sum(-1, keepdim=True))


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blur by a Gaussian of `sigma` pixels, cut off beyond `reach` pixels; images are reflected at their edges.

    reach: less than the image's side; torchvision's kernel_size is 2 · reach + 1.
    """
    return resample(images, *(_gaussian(sigma, reach, side) for side in images.shape[2:]))


def _gaussian(sigma: Tensor, reach: int, side: int) -> Taps:
    offsets = torch.arange(-reach, reach + 1, device=sigma.device)
    places = (torch.arange(side, device=sigma.device)[:, None] + offsets).abs()
    places = side - 1 - (side - 1 - places).abs()
    weights = (-0.5 * (offsets / sigma[:, None]) ** 2).softmax(dim=1)[:, None]
    return Taps(places.expand(len(sigma), -1, -1), weights.expand(-1, side, -1))
