"""Streams: images of one domain in the order in which training draws them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from uda.batch import Batch


class Images(Protocol):
    """Rows of pixels (or features), as `uda.datasets.packed.SquareImages` gives them."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those rows, (B, …)."""


@dataclass(frozen=True)
class Subset:
    """Some rows (M,) of images, numbered anew."""

    images: Images
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those rows of the subset, (B, …)."""
        return self.images.batch(self.rows[rows])


@dataclass(frozen=True)
class Mixture:
    """Images each mixed of two: `share` of row `first`, the rest of row `second`; both (M,)."""

    images: Images
    first: np.ndarray
    second: np.ndarray
    share: float

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those mixtures, (B, …), rounded where pixels are integers."""
        first, second = self.images.batch(self.first[rows]), self.images.batch(self.second[rows])
        mixed = second.float().lerp(first.float(), self.share)
        return mixed if first.is_floating_point() else mixed.round().to(first.dtype)


@dataclass(frozen=True)
class Stream:
    """Images of one domain in the order in which training draws them.

    sampler: step → rows (B,), a pure function; labels: (N,) or None where training must not see them.
    """

    domain: str
    images: Images
    sampler: Callable[[int], np.ndarray]
    labels: np.ndarray | None = None

    def batch(self, step: int) -> Batch:
        """Return the batch of that step; the same one whenever it is asked for."""
        rows = self.sampler(step)
        labels = None if self.labels is None else torch.from_numpy(self.labels[rows])
        return Batch(self.images.batch(rows), torch.from_numpy(rows), labels, self.domain)


@dataclass(frozen=True)
class FrozenFeatures:
    """Features of a few augmented passes, computed once: (passes, N, D); a batch takes each image's pass at random.

    Pass 0 is the evaluation view.
    """

    passes: Tensor

    def __len__(self) -> int:
        return self.passes.shape[1]

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return all passes of those rows, (B, passes, D); `uda.ssl.views.PickPass` chooses among them."""
        return self.passes[:, torch.from_numpy(rows)].transpose(0, 1)
