"""Stains of histology in batches: densities of haematoxylin, eosin and DAB, and colors brought to a template."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uda.ssl.color import lab_to_rgb, mixed_channels, rgb_to_lab
from uda.ssl.views import to_float

# How much light of red, green and blue haematoxylin, eosin and DAB absorb (Ruifrok and Johnston, 2001, as the common
# image libraries have them).
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_UNMIXED: list[list[float]] = np.linalg.inv(np.array(_STAINS)).T.tolist()
_DARKEST = 1e-6  # no pixel is darker than that: its logarithm would be infinite
_FLAT = 1.0  # units of Lab: what varies less than that is not blown up


def densities(images: Tensor) -> Tensor:
    """Return the densities of haematoxylin, eosin and DAB: (B, 3, H, W) sRGB in [0, 1] → (B, 3, H, W), natural log.

    Color deconvolution (Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", 2001):
    −log of the light that comes through is a sum of the stains' absorptions times their densities. Negative where a
    color is no such sum of the three. scikit-image's `rgb2hed` is these, divided by log 10⁶ and cut off at 0.
    """
    return mixed_channels(-images.clamp_min(_DARKEST).log(), _UNMIXED)


def from_densities(stains: Tensor) -> Tensor:
    """Return the colors of densities, cut off to [0, 1]: (B, 3, H, W) → (B, 3, H, W); undoes `densities`."""
    return (-mixed_channels(stains, list(zip(*_STAINS, strict=True)))).exp().clamp(0, 1)


def stain_jitter(images: Tensor, factors: Tensor, shifts: Tensor) -> Tensor:
    """Multiply each stain's density by a factor and add a shift: (B, 3, H, W), (B, 3) and (B, 3) → (B, 3, H, W).

    Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference", IEEE TMI 2018,
    section III-D; their shifts are in the units of their library, these in natural optical density.
    """
    return from_densities(densities(images) * factors[:, :, None, None] + shifts[:, :, None, None])


@dataclass(frozen=True)
class StainStatistics:
    """How the Lab colors of a set of images vary from image to image.

    Of each channel (3,): the mean and the standard deviation over images of an image's mean, and of its standard
    deviation.
    """

    mean: tuple[float, ...]
    mean_spread: tuple[float, ...]
    deviation: tuple[float, ...]
    deviation_spread: tuple[float, ...]


def image_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of L, a and b over each image: (B, 3, H, W) uint8 or [0, 1] → (B, 3) twice.

    Taken at a quarter of the size, which costs a sixteenth; smaller than 32 pixels at their own.
    """
    views = to_float(images)
    lab = rgb_to_lab(F.avg_pool2d(views, 4) if min(views.shape[2:]) >= 32 else views).flatten(2)
    return lab.mean(2), lab.std(2, correction=0)


def stain_statistics(images: Tensor) -> StainStatistics:
    """Return the statistics of a set of images (N, 3, H, W) uint8."""
    parts = [image_statistics(part) for part in images.split(256)]
    means, deviations = (torch.cat([part[i] for part in parts]).double().cpu() for i in range(2))
    found = (means.mean(0), means.std(0, correction=0), deviations.mean(0), deviations.std(0, correction=0))
    return StainStatistics(*(tuple(values.tolist()) for values in found))


def template(statistics: StainStatistics, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return a virtual template for each image: a mean and a standard deviation of each channel, (B, 3) twice.

    draws: (B, 6) uniform in [0, 1), turned into normal ones. Shen et al., "RandStainNA: learning stain-agnostic
    features from histology slides by bridging stain augmentation and normalization", MICCAI 2022, section 2.2.
    """
    normal = torch.erfinv((2 * draws - 1).clamp(-1 + 1e-6, 1 - 1e-6)) * 2**0.5

    def drawn(columns: Tensor, means: tuple[float, ...], spreads: tuple[float, ...]) -> Tensor:
        channels = zip(columns.unbind(1), means, spreads, strict=True)
        return torch.stack([mean + column * spread for column, mean, spread in channels], dim=1)

    mean = drawn(normal[:, :3], statistics.mean, statistics.mean_spread)
    return mean, drawn(normal[:, 3:], statistics.deviation, statistics.deviation_spread).clamp_min(0)


def to_template(views: Tensor, own_mean: Tensor, own_deviation: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Give views (B, 3, H, W) in [0, 1] another mean and deviation of L, a and b, all (B, 3); own: their image's.

    Reinhard et al., "Color transfer between images", 2001, in CIE Lab. What varies by less than one unit is moved only.
    """
    scale = torch.where(own_deviation < _FLAT, 1.0, deviation / own_deviation.clamp_min(_FLAT))
    lab = (rgb_to_lab(views) - own_mean[:, :, None, None]) * scale[:, :, None, None] + mean[:, :, None, None]
    return lab_to_rgb(lab)


def right_angles(images: Tensor, draws: Tensor) -> Tensor:
    """Turn each image by a number of quarters and mirror every second one: (B, C, S, S), draws (B, 2) in [0, 1)."""
    mirrored = torch.where((draws[:, 1] < 0.5)[:, None, None, None], images.flip(-1), images)
    turns, turned = (draws[:, 0] * 4).long(), mirrored
    for quarter in range(1, 4):
        chosen = (turns == quarter)[:, None, None, None]
        turned = torch.where(chosen, torch.rot90(mirrored, quarter, dims=(2, 3)), turned)
    return turned
