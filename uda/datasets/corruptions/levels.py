"""Gray levels: all arithmetic is in float32 on 0 … 255, and cut to whole levels at the end."""

import torch
from torch import Tensor

_HAIR = 2.0**-10
"""What float32 may be short of a whole level; without it 37 would come out as 36 wherever 36.9999 was computed."""


def truncated(values: Tensor) -> Tensor:
    """Clip to 0 … 255 and cut the fraction off, as the published images were: float → uint8."""
    return (values + _HAIR).clamp_(0, 255).to(torch.uint8)


def luma(images: Tensor) -> Tensor:
    """Return 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601): (B, 3, H, W) → (B, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (red * 0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)
