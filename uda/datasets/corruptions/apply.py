"""Corrupting a batch of images by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda.datasets.corruptions import blur, digital, glass, liquid, noise, textures, weather
from uda.datasets.corruptions.draws import Draws
from uda.datasets.corruptions.levels import truncated
from uda.datasets.corruptions.presets import ICE_SCALE, NAMES, PRESETS, SEVERITIES, Elastic, Flakes, Glass, Streak
from uda.datasets.corruptions.presets import Liquid as LiquidConstants
from uda.errors import UserError, unknown_name

SMALLEST = 8
_PIXELS_CPU = 2**17
"""Pixels of images that a CPU corrupts at a time, so that what lies between stays in its cache."""
_PIXELS = 2**22


@dataclass(frozen=True)
class Scene:
    """Beside the images and constants, what a corruption may ask for: random numbers, the switch, and ice."""

    draws: Draws
    legacy: bool
    ice: tuple[Tensor, ...]
    ice_scale: float


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    preset: str = "imagenet",
    seed: int = 0,
    index: Tensor | None = None,
    *,
    legacy: bool = False,
    jpeg_quality: int | None = None,
    frost: str | Path | None = None,
) -> Tensor:
    """Return images under one of the 19 common corruptions (Hendrycks and Dietterich, ICLR 2019), (B, 3, H, W) uint8.

    images: (B, 3, H, W) uint8, sides of 8 pixels or more; name: one of NAMES; severity: 1 … 5; preset: "cifar" or
    "imagenet", constants for about 32 and 224 pixels. What is random about an image depends on (seed, severity, name,
    its index) alone, never on its batch; index: (B,) int64, None: 0 … B − 1. Values are cut to whole gray levels, as
    the published ones were; CPU and CUDA agree to one level.

    legacy: do as the published code did where it did not do what it says: glass blur copies a pixel over another one
    instead of exchanging the two; the flakes of snow are cut to 8 bits before they are smeared; motion blur is rounded
    (by ImageMagick) instead of cut; frost takes the first five photographs only. jpeg_quality: encode the result as
    JPEG and decode it; the files of ImageNet-C were saved with 85. frost: a folder of photographs of ice; without one,
    ice is generated. Raises UserError for what does not exist, ValueError for tensors of another shape or type.
    """
    constants = _checked(images, name, severity, preset, jpeg_quality)
    part = _part(images, name)
    if index is None:
        index = torch.arange(len(images), device=images.device)
    if index.shape != (len(images),):
        raise ValueError(f"index must be ({len(images)},), one for each image, not {tuple(index.shape)}")
    index = index.to(images.device)
    ice = _ice(frost, legacy) if name == "frost" else ()
    made = []
    for some, numbers in zip(images.split(part), index.split(part), strict=True):
        values = _APPLY[name](
            some, constants, Scene(Draws(seed, severity, name, numbers), legacy, ice, ICE_SCALE[preset])
        )
        made.append(values if values.dtype == torch.uint8 else truncated(values))
    out = made[0] if len(made) == 1 else torch.cat(made)
    return out if jpeg_quality is None else digital.jpeg_compression(out, jpeg_quality)


def _checked(images: Tensor, name: str, severity: int, preset: str, jpeg_quality: int | None) -> Any:
    if name not in NAMES:
        raise unknown_name("corruption", name, NAMES, "uda.datasets.corruptions.NAMES")
    if preset not in PRESETS:
        raise unknown_name("preset of corruptions", preset, PRESETS, "uda.datasets.corruptions.PRESETS")
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise UserError(f"severity of a corruption is {severity!r}: give 1, 2, 3, 4 or 5")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise UserError(f"jpeg_quality is {jpeg_quality}: give a whole number from 1 to 100")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}")
    if min(images.shape[2:]) < SMALLEST:
        raise UserError(
            f"images of {images.shape[2]} x {images.shape[3]} pixels cannot be corrupted: give sides of 8 up"
        )
    return PRESETS[preset][name][severity - 1]


def _part(images: Tensor, name: str) -> int:
    """Return how many images are corrupted at a time."""
    pixels = _PIXELS_CPU if images.device.type == "cpu" else _PIXELS
    if name in ("pixelate", "jpeg_compression"):  # computed in bytes, not in floats
        pixels *= 2
    return max(1, pixels // (images.shape[2] * images.shape[3]))


def _ice(folder: str | Path | None, legacy: bool) -> tuple[Tensor, ...]:
    if folder is None:
        return (textures.generated_ice(),)
    photographs = textures.read_ice(folder)
    return photographs[:5] if legacy else photographs


def _noise(table: Callable[[Any], Tensor]) -> "Corruption":
    def apply(images: Tensor, constant: Any, scene: Scene) -> Tensor:
        return noise.noisy(images, scene.draws.words(images.shape[1:].numel(), "values"), table(constant))

    return apply


def _angles(scene: Scene, low: float, high: float) -> Tensor:
    return scene.draws.uniform(1, "angle")[:, 0] * (high - low) + low


def _motion_blur(images: Tensor, streak: Streak, scene: Scene) -> Tensor:
    out = blur.motion_blur(images.float(), _angles(scene, -45, 45), *streak)
    return out.round_() if scene.legacy else out


def _glass_blur(images: Tensor, constants: Glass, scene: Scene) -> Tensor:
    height, width = images.shape[2:]
    swept = glass.swept(height, width, constants.reach)
    words = scene.draws.words(constants.sweeps * swept, "partners").view(len(images), constants.sweeps, swept)
    return glass.glass_blur(images.float(), words, constants.sigma, constants.reach, copies=scene.legacy)


def _snow(images: Tensor, flakes: Flakes, scene: Scene) -> Tensor:
    height, width = weather.snow_seeds(images.shape[2], images.shape[3], flakes.zoom)
    seeds = scene.draws.normal(height * width, "flakes").view(-1, height, width)
    return weather.snow(images.float(), seeds, _angles(scene, -135, -45), flakes, coarse=scene.legacy)


def _frost(images: Tensor, weights: tuple[float, float], scene: Scene) -> Tensor:
    ice = textures.pieces(scene.ice, scene.ice_scale, scene.draws.uniform(3, "piece"), *images.shape[2:])
    return weather.frost(images.float(), ice.float(), *weights)


def _fog(images: Tensor, constants: tuple[float, float], scene: Scene) -> Tensor:
    height, width = images.shape[2:]
    side = 1 << (max(height, width) - 1).bit_length()
    density, decay = constants
    clouds = textures.plasma(scene.draws.signed(side * side - 1, "clouds"), decay)
    return weather.fog(images.float(), clouds[:, :height, :width], density)


def _elastic(images: Tensor, constants: Elastic, scene: Scene) -> Tensor:
    height, width = images.shape[2:]
    corners = scene.draws.uniform(6, "corners").view(-1, 3, 2) * 2 - 1
    moves = scene.draws.signed(2 * height * width, "moves").view(-1, 2, height, width)
    return digital.elastic_transform(images.float(), corners, moves, constants)


def _spatter(images: Tensor, constants: LiquidConstants, scene: Scene) -> Tensor:
    height, width = images.shape[2:]
    drops = scene.draws.normal(height * width, "drops").view(-1, height, width)
    return liquid.spatter(images.float(), drops, constants)


Corruption = Callable[[Tensor, Any, Scene], Tensor]
"""From images (uint8), the severity's constants and the scene to gray levels: uint8, or floats that are to be cut."""

_APPLY: dict[str, Corruption] = {
    "gaussian_noise": _noise(noise.gaussian_noise),
    "shot_noise": _noise(noise.shot_noise),
    "impulse_noise": _noise(noise.impulse_noise),
    "defocus_blur": lambda images, c, _: blur.defocus_blur(images.float(), *c),
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": lambda images, c, _: blur.zoom_blur(images.float(), *c),
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": lambda images, c, _: weather.brightness(images.float(), c),
    "contrast": lambda images, c, _: digital.contrast(images, c),
    "elastic_transform": _elastic,
    "pixelate": lambda images, c, _: digital.pixelate(images, c),
    "jpeg_compression": lambda images, c, _: digital.jpeg_compression(images, c),
    "speckle_noise": _noise(noise.speckle_noise),
    "gaussian_blur": lambda images, c, _: blur.gaussian_blur(images.float(), c),
    "spatter": _spatter,
    "saturate": lambda images, c, _: digital.saturate(images.float(), *c),
}
