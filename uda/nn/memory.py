"""Features of earlier steps: a memory bank (one row an image) and a queue (the latest ones)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """N rows of L2-normalized features, kept in the state dict and never trained.

    Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018, section 3.1.
    Rows start at zero, so a row not seen yet has similarity 0 to everything. dtype: bfloat16 takes half the room.
    """

    rows: Tensor

    def __init__(self, n: int, dim: int, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.register_buffer("rows", torch.zeros(n, dim, dtype=dtype))

    @torch.no_grad()
    def write(self, index: Tensor, features: Tensor, momentum: float = 0.0) -> None:
        """Set rows[index] (B,) to momentum · old + (1 − momentum) · features (B, dim), normalized."""
        exact = torch.promote_types(self.rows.dtype, torch.float32)
        new = F.normalize(features.detach().to(exact))
        if momentum:
            new = F.normalize(momentum * self.rows[index].to(exact) + (1 - momentum) * new)
        self.rows[index] = new.to(self.rows.dtype)


class Queue(nn.Module):
    """The latest `size` L2-normalized features, oldest overwritten first (MoCo, He et al., CVPR 2020, section 3.2).

    Rows start as random directions, which depend on the global seed alone.
    """

    rows: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(size, dim)))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, features: Tensor) -> Tensor:
        """Write features (B, dim), normalized, over the oldest rows; of more than `size` the last ones count.

        Returns the rows written to, (min(B, size),).
        """
        features = F.normalize(features.detach().to(self.rows.dtype))[-len(self.rows) :]
        at = (self.position + torch.arange(len(features), device=self.rows.device)) % len(self.rows)
        self.rows[at] = features
        self.position.copy_((self.position + len(features)) % len(self.rows))
        return at
