"""What is random about a call: numbers that depend on (seed, severity, image index, purpose) alone."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uda.random import hash_bits


@dataclass(frozen=True)
class Draws:
    """The source of a corruption's numbers for B images; each method returns (B, n), `part` names what they are for."""

    seed: int
    severity: int
    name: str
    index: Tensor

    def words(self, n: int, part: str) -> Tensor:
        """Return 32 random bits each, int32: two of each 64-bit hash."""
        bits = hash_bits(self.seed, self.severity, self.index, f"{self.name}/{part}", (n + 1) // 2)
        return bits.view(torch.int32)[:, :n]

    def signed(self, n: int, part: str) -> Tensor:
        """Return uniform draws in [−1, 1], float32."""
        return self.words(n, part).float() * 2.0**-31

    def uniform(self, n: int, part: str) -> Tensor:
        """Return uniform draws in [0, 1), float64."""
        return (self.words(n, part).double() + 2.0**31) * 2.0**-32

    def normal(self, n: int, part: str) -> Tensor:
        """Return standard normal draws, float64, by the transform of Box and Muller (1958).

        In double precision, so that a draw that is compared with a threshold falls on the same side on any device.
        """
        radius, turn = self.uniform(n + n % 2, part).chunk(2, dim=1)
        radius = (-2 * torch.log1p(-radius)).sqrt()
        turn = turn * (2 * math.pi)
        return torch.cat([radius * turn.cos(), radius * turn.sin()], dim=1)[:, :n]
