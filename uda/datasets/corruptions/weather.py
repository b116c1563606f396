"""Fog, snow, frost and brightness; images (B, 3, H, W) float32 in gray levels, in and out (spatter: liquid.py)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.datasets.corruptions.blur import crop_side, magnified, motion_blur
from uda.datasets.corruptions.levels import luma
from uda.datasets.corruptions.presets import Flakes


def fog(images: Tensor, clouds: Tensor, density: float) -> Tensor:
    """Add clouds (B, H, W) in [0, 1] of a density; the image's brightest value stays the brightest possible one."""
    brightest = images.amax((1, 2, 3), keepdim=True)
    thick = 255.0 * density
    return (images + clouds[:, None] * thick) * (brightest / (brightest + thick))


def snow_seeds(height: int, width: int, zoom: float) -> tuple[int, int]:
    """Return the height and width of the noise that flakes grow from."""
    return crop_side(height, zoom), crop_side(width, zoom)


def snow(images: Tensor, noise: Tensor, angles: Tensor, flakes: Flakes, coarse: bool = False) -> Tensor:
    """Whiten the image and let flakes fall, and the same flakes turned round by 180°.

    noise: (B, *snow_seeds) float64, standard normal; angles: (B,) float64 degrees. coarse: the flakes are cut to whole
    gray levels before they are smeared, as the published code did, which handed them on as an 8-bit picture.
    """
    height, width = images.shape[-2:]
    layer = magnified((noise * flakes.std + flakes.mean)[:, None], flakes.zoom, height, width)
    layer = F.threshold(layer, flakes.threshold, 0).clamp_(0, 1).mul_(255).float()
    if coarse:
        layer = layer.floor()
    layer = motion_blur(layer, angles, *flakes.streak).round()
    white = torch.maximum(images, luma(images) * 1.5 + 127.5)
    return torch.lerp(white, images, flakes.kept).add_(layer).add_(layer.rot90(2, (2, 3)))


def frost(images: Tensor, ice: Tensor, kept: float, share: float) -> Tensor:
    """Return kept · image + share · ice (B, 3, H, W)."""
    return (images * kept).add_(ice, alpha=share)


def brightness(images: Tensor, amount: float) -> Tensor:
    """Add `amount` (white is 1) to the value of HSV; hue and saturation stay.

    They stay when all three channels are scaled alike, so nothing is converted. Black becomes gray.
    """
    value = images.amax(1, keepdim=True)
    brighter = (value + 255 * amount).clamp_(max=255)
    return torch.where(value > 0, images * (brighter / value.clamp_min(1)), brighter)
