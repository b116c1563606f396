"""A model whose answers can be computed by hand: how bright the left half is against the right half."""

import numpy as np
import torch
from torch import Tensor, nn

from uda.experiments.predict import InMemory


class Halves(nn.Module):
    """Features: mean brightness of the left and the right half, (B, 2)."""

    def forward(self, views: Tensor) -> Tensor:
        half = views.shape[-1] // 2
        return torch.stack([views[..., :half].mean((1, 2, 3)), views[..., half:].mean((1, 2, 3))], dim=1)


def classifier(scale: float = 10.0) -> nn.Linear:
    """Logits are `scale` times the brightness of each half."""
    linear = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(scale * torch.eye(2))
    return linear


def images(left: list[int], right: list[int], size: int = 8) -> InMemory:
    """Images (N, 3, S, S) uint8 with those gray levels in their halves."""
    pixels = torch.empty(len(left), 3, size, size, dtype=torch.uint8)
    pixels[..., : size // 2] = torch.tensor(left, dtype=torch.uint8)[:, None, None, None]
    pixels[..., size // 2 :] = torch.tensor(right, dtype=torch.uint8)[:, None, None, None]
    return InMemory(pixels)


LEFT, RIGHT = [200, 60, 140, 100], [100, 180, 120, 130]
LABELS = np.array([0, 1, 0, 0])
"""The last one is wrong: its right half is brighter."""
