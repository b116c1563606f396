"""Images that tests of pixel operations share."""

import torch
from torch import Tensor

LEVEL = 1 / 255


def noise(n: int, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def floats(n: int, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    """Noise with gray pixels, black, white, and pixels of which two channels are equal."""
    images = noise(n, height, width, seed).float() / 255
    images[:, :, 0] = images[:, :1, 0]
    images[:, :, 1], images[:, :, 2] = 0, 1
    images[:, 1, 3] = images[:, 0, 3]
    images[:, 2, 4] = images[:, 1, 4]
    return images
