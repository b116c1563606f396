"""A small decoder that paints an image from pooled features."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 64
"""Larger images are painted at half their size, or a quarter, …: the first that is no larger than this."""


def painted_size(image_size: int) -> int:
    """Return the side of the image to paint, in pixels: 32 → 32, 96 → 48, 224 → 56."""
    while image_size > LARGEST:
        image_size = math.ceil(image_size / 2)
    return image_size


def shrunk(images: Tensor) -> Tensor:
    """Bring (B, 3, S, S) to the size that is painted, each pixel the mean of those that it covers."""
    size = painted_size(images.shape[-1])
    return images if size == images.shape[-1] else F.adaptive_avg_pool2d(images, size)


class Decoder(nn.Module):
    """(B, dim) features → (B, 3, P, P) in [0, 1], where P = painted_size(image_size).

    A linear layer paints a coarse map of 4 to 8 pixels, which is doubled (nearest pixel) and convolved up to the size,
    with half as many channels each time, at least 16.
    """

    def __init__(self, dim: int, image_size: int, width: int = 128):
        super().__init__()
        self.size = painted_size(image_size)
        doublings = max(0, math.ceil(math.log2(self.size / 8)))
        coarse = math.ceil(self.size / 2**doublings)
        layers: list[nn.Module] = [nn.Linear(dim, width * coarse**2), nn.Unflatten(1, (width, coarse, coarse))]
        for _ in range(doublings):
            narrow = max(16, width // 2)
            convolution = nn.Conv2d(width, narrow, 3, padding=1, bias=False)
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Upsample(scale_factor=2), convolution]
            width = narrow
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return the image; what doubling made too large is cut off evenly."""
        painted = self.layers(features)
        start = (painted.shape[-1] - self.size) // 2
        return painted[..., start : start + self.size, start : start + self.size].float().sigmoid()
