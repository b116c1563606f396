"""Color jitter of one image with numbers that Python knows: for large images on a CPU.

There the calls that a batch needs, whose images differ in their order and in what they undergo, cost as much as the
work. Images are (1, 3, H, W) float32 in [0, 1].
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from uda.ssl.pixels import hue, luma


def jittered(image: Tensor, priority: Sequence[float], factors: Sequence[float | None]) -> Tensor:
    """Change brightness, contrast, saturation and hue in the order of their priorities, as `color_jitter` does.

    The image's memory may be used for the result. factors: None leaves one out.
    """
    for kind in sorted(range(4), key=priority.__getitem__):
        factor = factors[kind]
        if factor is not None:
            image = _KINDS[kind](image, factor)
    return image


def _brightness(image: Tensor, factor: float) -> Tensor:
    return image.mul_(factor).clamp_(0, 1)


def _contrast(image: Tensor, factor: float) -> Tensor:
    mean = luma(image).mean()
    return image.mul_(factor).add_(mean, alpha=1 - factor).clamp_(0, 1)


def _saturation(image: Tensor, factor: float) -> Tensor:
    return image.lerp_(luma(image), 1 - factor).clamp_(0, 1)


def _hue(image: Tensor, turn: float) -> Tensor:
    return hue(image, torch.tensor([turn]))


_KINDS = (_brightness, _contrast, _saturation, _hue)
