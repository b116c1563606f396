"""Inputs of losses, from a seed."""

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return float64 numbers of the standard normal distribution, in which gradients can be checked numerically."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
