"""AugMix: an image blended with mixtures of chains of simple operations, without color changes that corrupt it.

Operations are those of the published code: PIL's, which act on whole gray levels. What happens to an image is a hash of
(seed, step, index, purpose), and every image has its own operations; there is no loop over images.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as library

from uda.random import uniform
from uda.ssl.pixels import where_chosen
from uda.ssl.views import to_bytes

OPERATIONS = (
    "autocontrast",
    "equalize",
    "posterize",
    "solarize",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
_AFFINE = OPERATIONS.index("rotate")  # from here on they move pixels, all by one call of grid_sample
_LONGEST = 3  # operations in a chain


def augmix(
    views: Tensor,
    seed: int,
    step: int,
    index: Tensor,
    purpose: str = "augmix",
    width: int = 3,
    depth: int | None = None,
    severity: float = 3.0,
) -> Tensor:
    """Return m · x + (1 − m) · Σᵢ wᵢ · chainᵢ(x) for each image x (Hendrycks et al., ICLR 2020, algorithm 1).

    views: (B, 3, S, S) float in [0, 1] → the same; index: (B,) int64. Of `width` chains, each has `depth` operations
    (None: 1 to 3, its own), of a strength uniform in 0.1 … `severity` of 10; w ~ Dirichlet(1, …, 1), m ~ Beta(1, 1).
    purpose: names a further, independent draw ("a", "b"), as the consistency loss `jensen_shannon` wants two. Nothing
    is differentiable with respect to the views. Mirroring and cropping are the caller's, before. ValueError for a
    depth outside of 1 … 3, a width below 1 or a severity outside of 0.1 … 10.
    """
    if width < 1 or not 0.1 <= severity <= 10 or (depth is not None and not 1 <= depth <= _LONGEST):
        raise ValueError(f"AugMix of width {width}, depth {depth} and severity {severity} is none")
    n = len(views)
    # As many rows as there are chains: chain by chain, all images.
    draws = uniform(seed, step, index, purpose, 1 + width * (2 + 3 * _LONGEST))
    skip, per_chain = draws[:, 0], draws[:, 1:].unflatten(1, (width, -1)).transpose(0, 1).flatten(0, 1)
    weights = even_shares(per_chain[:, 0].view(width, n).T)
    lengths = (1 + (per_chain[:, 1] * _LONGEST).floor()) if depth is None else torch.full_like(per_chain[:, 1], depth)
    chains = views.detach().repeat(width, 1, 1, 1)
    for place in range(_LONGEST if depth is None else depth):
        which, strength, sign = per_chain[:, 2 + 3 * place : 5 + 3 * place].unbind(1)
        operation = torch.where(place < lengths, (which * len(OPERATIONS)).long(), -1)
        level = 0.1 + strength * (severity - 0.1)
        chains = _apply(chains, operation, level, sign < 0.5)
    mixed = (weights.T[:, :, None, None, None] * chains.unflatten(0, (width, n))).sum(0)
    return torch.lerp(mixed, views.detach(), skip[:, None, None, None]).clamp_(0, 1)


def even_shares(draws: Tensor) -> Tensor:
    """Turn uniform draws (N, W) in [0, 1) into shares that sum to 1, distributed as Dirichlet(1, …, 1)."""
    exponential = -torch.log1p(-draws) + 1e-12  # draws of 0 alone shall not be 0 / 0
    return exponential / exponential.sum(1, keepdim=True)


def _apply(images: Tensor, operation: Tensor, level: Tensor, negative: Tensor) -> Tensor:
    """Apply to each image (N, 3, S, S) its operation (N,), its place in OPERATIONS or −1 for none; level: of 10."""
    pixelwise: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (autocontrast, ()),
        (equalize, ()),
        (posterize, (4 - (level * 4 / 10).floor(),)),
        (solarize, (256 - (level * 256 / 10).floor(),)),
    ]
    for number, (change, parameters) in enumerate(pixelwise):
        images = where_chosen(operation == number, change, images, *parameters)
    theta = affine_maps(operation, level, negative, images.shape[-1])
    return where_chosen(operation >= _AFFINE, warp, images, theta)


def affine_maps(operation: Tensor, level: Tensor, negative: Tensor, size: int) -> Tensor:
    """Return where each output pixel comes from, (N, 2, 3) in pixels of a size × size image, measured from its corner.

    Rotation by up to 30 degrees about the center and translation by up to a third of the side, both whole numbers;
    shear by up to 0.3, which leaves the first row or column where it is. Other operations are the identity.
    """

    def signed(values: Tensor, name: str) -> Tensor:
        chosen = operation == OPERATIONS.index(name)
        return torch.where(chosen, torch.where(negative, -values, values), 0.0)

    angle = torch.deg2rad(signed((level * 30 / 10).floor(), "rotate"))
    shift = (level * (size / 3) / 10).floor()
    cos, sin, half = angle.cos(), angle.sin(), size / 2
    shear_x, shear_y = signed(level * 0.3 / 10, "shear_x"), signed(level * 0.3 / 10, "shear_y")
    x = torch.stack([cos, shear_x - sin, half - half * cos + half * sin + signed(shift, "translate_x")], dim=1)
    y = torch.stack([shear_y + sin, cos, half - half * sin - half * cos + signed(shift, "translate_y")], dim=1)
    return torch.stack([x, y], dim=1)


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Move pixels by (N, 2, 3) maps as `affine_maps` gives them: bilinear, black where there was no image."""
    size = images.shape[-1]
    centers = torch.arange(size, device=images.device) + 0.5
    x, y = centers[None, None, :, None], centers[None, :, None, None]
    origin = maps[:, None, None, :, 0] * x + maps[:, None, None, :, 1] * y + maps[:, None, None, :, 2]
    inside = ((origin >= 0) & (origin < size)).all(-1)[:, None]
    # Neighbors beyond the edge are the edge's, so what is black is black by the mask alone, without a dark seam.
    moved = F.grid_sample(images, 2 * origin / size - 1, padding_mode="border", align_corners=False)
    return moved * inside


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel so that its least value is 0 and its largest 1; a channel of one value stays."""
    return library.autocontrast(images)


def equalize(images: Tensor) -> Tensor:
    """Make each channel's gray levels equally frequent."""
    return library.equalize(to_bytes(images)).to(images.dtype) / 255


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits (N,), 0 … 8, of every gray level."""
    step = torch.exp2(8 - bits)[:, None, None, None]
    return (to_bytes(images).to(images.dtype) / step).floor() * step / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert every gray level from a threshold (N,) on, 0 … 256."""
    levels = to_bytes(images).to(images.dtype)
    return torch.where(levels >= threshold[:, None, None, None], 255 - levels, levels) / 255
