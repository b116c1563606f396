"""Views for losses that draw at random: which negatives, which positives."""

from dataclasses import dataclass

import torch

from uda.clock import Clock
from uda.random import derived_seed
from uda.ssl.objective import Views


@dataclass(frozen=True)
class SeededViews(Views):
    """Views with a number from which the loss draws, so that the same views always have the same loss."""

    seed: int = 0

    def generator(self) -> torch.Generator:
        """Return a new generator on the images' device."""
        return torch.Generator(self.images.device).manual_seed(self.seed)

    def rows(self, n: int, count: int) -> torch.Tensor:
        """Return `count` of the rows 0 … n−1, drawn uniformly with repetition; all of them once where count ≥ n."""
        device = self.images.device
        if count >= n:
            return torch.arange(n, device=device)
        return torch.randint(n, (count,), generator=self.generator(), device=device)


def seed_of(clock: Clock, purpose: str) -> int:
    """Return the seed of one step's draws for a purpose."""
    return derived_seed(clock.seed, clock.step, purpose)
