"""Streams: images of one domain in the order in which training draws them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
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
class Concatenated:
    """Several images one after the other, as if they were one table."""

    parts: tuple[Images, ...]

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those rows, counted through all parts, (B, …)."""
        rows = np.asarray(rows, dtype=np.int64)
        of_part = np.searchsorted(self._starts, rows, side="right") - 1
        pieces, places = [], []
        for number in np.unique(of_part):
            chosen = np.flatnonzero(of_part == number)
            pieces.append(self.parts[number].batch(rows[chosen] - self._starts[number]))
            places.append(chosen)
        if not pieces:
            return self.parts[0].batch(rows)
        # Each piece may lie on a GPU; what was taken part by part is put back into the order asked for.
        order = torch.from_numpy(np.argsort(np.concatenate(places), kind="stable"))
        return torch.cat(pieces).index_select(0, order.to(pieces[0].device))


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

    sampler: step → rows (B,), a pure function; labels: (N,) or None where training must not see them; parts: how many
    batches a step takes it apart into, one for each turn of a player.
    """

    domain: str
    images: Images
    sampler: Callable[[int], np.ndarray]
    labels: np.ndarray | None = None
    parts: int = 1

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
