"""Images of nothing: the far out-of-distribution sets that need no download."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uda.random import uniform

Kind = Literal["gaussian", "rademacher", "blobs"]
KINDS: tuple[Kind, ...] = ("gaussian", "rademacher", "blobs")


@dataclass(frozen=True)
class NoiseImages:
    """Made images (3, S, S) uint8, each a hash of (seed, its row), after Hendrycks et al. (ICLR 2019, appendix).

    gaussian: every channel of every pixel normal about the middle gray with a quarter of the range as standard
    deviation, cut to the range; rademacher: every one black or white; blobs: smooth shapes with sharp edges, black and
    white in each channel.
    """

    kind: Kind
    count: int
    size: int
    seed: int = 0

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those rows, (B, 3, S, S) uint8."""
        index, side = torch.from_numpy(np.asarray(rows, dtype=np.int64)), self.size
        draws = uniform(self.seed, 0, index, f"noise set/{self.kind}", 3 * side * side).view(-1, 3, side, side)
        if self.kind == "gaussian":
            normal = torch.special.ndtri(draws.clamp(1e-7, 1 - 1e-7))
            return (127.5 + 63.75 * normal).round().clamp(0, 255).to(torch.uint8)
        if self.kind == "blobs":
            width = max(3, side // 8 | 1)
            padded = F.pad(draws - 0.5, [3 * (width // 2)] * 4, mode="circular")
            for _ in range(3):  # three box filters are nearly a Gaussian one
                padded = F.avg_pool2d(padded, width, stride=1)
            draws = padded + 0.5
        return (draws >= 0.5).to(torch.uint8) * 255
