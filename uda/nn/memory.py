"""A memory bank: one stored feature for every image of a domain."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """N rows of L2-normalized features, kept in the state dict and never trained.

    Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018, section 3.1.
    Rows start at zero, so a row not seen yet has similarity 0 to everything.
    """

    rows: Tensor

    def __init__(self, n: int, dim: int):
        super().__init__()
        self.register_buffer("rows", torch.zeros(n, dim))

    @torch.no_grad()
    def write(self, index: Tensor, features: Tensor, momentum: float = 0.0) -> None:
        """Set rows[index] (B,) to momentum · old + (1 − momentum) · features (B, dim), normalized."""
        new = F.normalize(features.detach().to(self.rows.dtype))
        if momentum:
            new = F.normalize(momentum * self.rows[index] + (1 - momentum) * new)
        self.rows[index] = new
