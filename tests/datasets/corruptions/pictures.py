"""Photographs to corrupt, and how far two pictures are apart."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.shared_data import real


def photographs(n: int, height: int, width: int) -> Tensor:
    """Return real photographs, squashed to (n, 3, height, width) uint8; skip the test where there are none."""
    files = sorted((real("office_caltech10") / "office_caltech10" / "caltech10").rglob("*.jpg"))
    chosen = files[:: len(files) // n][:n]
    return from_arrays([np.array(Image.open(file).convert("RGB").resize((width, height))) for file in chosen])


def blots(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return smooth colored images, (n, 3, height, width) uint8."""
    knots = torch.rand(n, 3, height // 4 + 1, width // 4 + 1, generator=torch.Generator().manual_seed(seed))
    grown = torch.nn.functional.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
    return (grown.clamp(0, 1) * 255).byte()


def to_arrays(images: Tensor) -> list[np.ndarray]:
    return [image.permute(1, 2, 0).contiguous().numpy() for image in images]


def from_arrays(arrays: list[np.ndarray]) -> Tensor:
    """Cut to whole levels, as both oracles' `corrupt` does or leaves to do."""
    return torch.stack([torch.from_numpy(np.asarray(array).astype(np.uint8)).permute(2, 0, 1) for array in arrays])


def beyond(ours: Tensor, theirs: Tensor, levels: int = 1) -> float:
    """Return the share of values that differ by more than some gray levels."""
    return ((ours.int() - theirs.int()).abs() > levels).float().mean().item()


def differing(ours: Tensor, theirs: Tensor) -> float:
    """Return the share of values that differ at all."""
    return (ours != theirs).float().mean().item()
