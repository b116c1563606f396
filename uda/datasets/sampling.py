"""Which rows a step draws: pure functions of (seed, step, purpose), so that nothing has to be saved to resume."""

import numpy as np
import torch

from uda import random
from uda.datasets.groups import held_out_groups
from uda.errors import UserError

_LAST_63_BITS = (1 << 63) - 1


class Shuffled:
    """Rows without replacement: each of the n rows once an epoch, in an order drawn anew for each epoch.

    Step t takes the positions t·B … (t+1)·B − 1 of the epochs' permutations laid end to end. A batch may therefore span
    two epochs (or more, if it is larger than n), none is ever smaller than B, and no image is dropped.
    The permutations in use are kept, for to draw one of a million rows takes a tenth of a second; the result depends on
    the step alone all the same.
    """

    def __init__(self, n: int, batch_size: int, seed: int, purpose: str):
        _check(n, batch_size, purpose)
        self.n, self.batch_size, self.seed, self.purpose = n, batch_size, seed, purpose
        self._kept: dict[int, np.ndarray] = {}

    def __call__(self, step: int) -> np.ndarray:
        """Return the rows of a step, (B,) int64."""
        start = step * self.batch_size
        stop = start + self.batch_size
        epochs = range(start // self.n, (stop - 1) // self.n + 1)
        self._kept = {epoch: self._permutation(epoch) for epoch in epochs}
        parts = [rows[max(0, start - e * self.n) : stop - e * self.n] for e, rows in self._kept.items()]
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> np.ndarray:
        kept = self._kept.get(epoch)
        return random.permutation(self.n, self.seed, epoch, self.purpose) if kept is None else kept


def shuffled(n: int, batch_size: int, seed: int, step: int, purpose: str) -> np.ndarray:
    """Return the rows of one step without replacement, (B,) int64; for many steps keep a `Shuffled`."""
    return Shuffled(n, batch_size, seed, purpose)(step)


class ClassBalanced:
    """Rows with replacement: the class uniform among those present, then the row uniform within the class.

    The distribution is that of `WeightedRandomSampler` with weights 1 ÷ class frequency (as in DANCE, Saito et al.,
    NeurIPS 2020). Rows of label −1 are never drawn.
    """

    def __init__(self, labels: np.ndarray, batch_size: int, seed: int, purpose: str):
        labels = np.asarray(labels)
        _check(int((labels >= 0).sum()), batch_size, purpose, what="labelled images")
        order = np.argsort(labels, kind="stable")
        self._rows = order[labels[order] >= 0].astype(np.int64)  # sorted by class
        _, self._start, self._count = np.unique(labels[self._rows], return_index=True, return_counts=True)
        self.batch_size, self.seed, self.purpose = batch_size, seed, purpose

    def __call__(self, step: int) -> np.ndarray:
        """Return the rows of a step, (B,) int64."""
        words = random.hash_bits(self.seed, step, torch.arange(self.batch_size), self.purpose, 2)
        draws = words.numpy() & _LAST_63_BITS  # not negative; the remainder's bias is below n ÷ 2⁶³
        chosen = draws[:, 0] % len(self._count)
        return self._rows[self._start[chosen] + draws[:, 1] % self._count[chosen]]


def spread(n: int, most: int) -> np.ndarray:
    """Return at most `most` of the rows 0 … n−1, evenly spread, ascending."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def stratified(labels: np.ndarray, most: int | None) -> np.ndarray:
    """Return at most `most` of the labelled rows, ascending, each class in its share (largest remainders first).

    labels: (N,), rows of −1 are never taken; None: all labelled rows. Nothing but labels and `most` decides.
    """
    rows = np.flatnonzero(labels >= 0)
    if most is None or most >= len(rows):
        return rows
    classes, counts = np.unique(labels[rows], return_counts=True)
    exact = counts * most / len(rows)
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: most - quota.sum()]] += 1
    order = random.permutation(len(labels), 0, 0, "stratified")
    order = order[labels[order] >= 0]
    taken = [order[labels[order] == number][:count] for number, count in zip(classes, quota, strict=True)]
    return np.sort(np.concatenate(taken)).astype(np.int64)


def held_out(labels: np.ndarray, share: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the rows (M,) int64, ascending, to keep away from training: that share of every class, rounded.

    labels: (N,), rows of −1 are never taken; every class keeps at least one row. groups: (N,) int64, which are never
    divided; None: every image stands for itself. Nothing but the arguments decides, so that all seeds and arms hold
    out the same.
    """
    if groups is not None:
        taken_rows = held_out_groups(labels, groups, share, 0) if share > 0 else np.arange(0)
        return taken_rows[labels[taken_rows] >= 0]
    rows = random.permutation(len(labels), 0, 0, "held out")
    taken = [np.arange(0)]
    for number in np.unique(labels[labels >= 0]):
        of_class = rows[labels[rows] == number]
        taken.append(of_class[: min(len(of_class) - 1, int(share * len(of_class) + 0.5))])
    return np.sort(np.concatenate(taken)).astype(np.int64)


def fewest_images(share: float) -> int:
    """Return how many images a class must have for `held_out` to take one of them; 0 < share ≤ 1."""
    return next(count for count in range(2, int(1 / share) + 3) if int(share * count + 0.5))


def _check(n: int, batch_size: int, purpose: str, what: str = "images") -> None:
    if n < 1:
        raise UserError(f"there are no {what} to draw from for '{purpose}': check the folder and the label sets")
    if batch_size < 1:
        raise UserError(f"the batch size is {batch_size}: give at least 1")
