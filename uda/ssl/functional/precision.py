"""The precision that losses are computed in, whatever features come in."""

import torch
from torch import Tensor


def precise(x: Tensor) -> Tensor:
    """Return half precision as float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
