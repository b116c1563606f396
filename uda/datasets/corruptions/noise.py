"""Noise, value by value: each of the 256 gray levels has a distribution of what it becomes, drawn from a table.

What a level becomes is one of 256 levels again, after clipping and truncation, so the distribution is written down
exactly and sampled by the alias method (Walker, 1977): one look into a table for each value, 32 random bits, integers
only, hence the same on every device. Probabilities are met to 2⁻³².
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import gammaln, ndtr, xlogy
from torch import Tensor

_LEVELS = np.arange(256)


def noisy(images: Tensor, words: Tensor, table: Tensor) -> Tensor:
    """Draw what each value becomes.

    images: uint8 (B, C, H, W); words: (B, C·H·W) int32, 32 random bits each; table: `alias_table`'s. Returns uint8.
    """
    column = words & 255
    cell = images.flatten(1).int().bitwise_left_shift_(8).bitwise_or_(column)
    entry = table.to(images.device).index_select(0, cell.flatten()).view_as(words)
    alias = entry & 255
    # All ones where the upper 24 bits are below the entry's; in integers, as choosing by truth values is slow.
    kept = (words >> 8).sub_(entry.bitwise_right_shift_(8)).bitwise_right_shift_(31)
    return column.bitwise_xor_(alias).bitwise_and_(kept).bitwise_xor_(alias).to(torch.uint8).view_as(images)


def alias_table(probabilities: np.ndarray) -> Tensor:
    """Return the alias table (65536,) int32 of a distribution over 256 levels for each of 256 levels, (256, 256).

    Cell 256·v + k says of level v: with a probability, in the upper 24 bits (as a signed number), stay with k; else
    take the level in the lower 8 bits.
    """
    rows = np.arange(256)
    low = probabilities * 256  # how full the columns are that may still take from others, else infinite
    high = low.copy()  # the same, else minus infinite
    kept, alias = np.ones((256, 256)), np.tile(_LEVELS, (256, 1))
    for _ in range(255):
        poor, rich = low.argmin(1), high.argmax(1)
        share = low[rows, poor]
        kept[rows, poor], alias[rows, poor] = share, rich
        low[rows, rich] -= 1 - share
        high[rows, rich] = low[rows, rich]
        low[rows, poor], high[rows, poor] = np.inf, -np.inf
    threshold = np.rint(kept.clip(0, 1) * 2**24).astype(np.int64)
    full = threshold >= 2**24
    threshold[full], alias[full] = 2**24 - 1, np.tile(_LEVELS, (256, 1))[full]
    entries = ((threshold - 2**23) << 8) | alias
    return torch.from_numpy(entries.astype(np.int32).ravel())


@lru_cache(maxsize=8)
def gaussian_noise(std: float) -> Tensor:
    """Return the table of v + 255·std·z, z standard normal."""
    return alias_table(_normal(np.full(256, 255 * std)))


@lru_cache(maxsize=8)
def speckle_noise(std: float) -> Tensor:
    """Return the table of v + v·std·z, z standard normal."""
    return alias_table(_normal(_LEVELS * std))


@lru_cache(maxsize=8)
def shot_noise(photons: int) -> Tensor:
    """Return the table of 255·k / photons, k from a Poisson distribution of mean photons · v / 255."""
    counts = np.arange(photons)
    mean = photons * _LEVELS[:, None] / 255
    mass = np.exp(xlogy(counts, mean) - mean - gammaln(counts + 1))
    probabilities = np.zeros((256, 256))
    np.add.at(probabilities.T, (counts / photons * 255).astype(int), mass.T)
    probabilities[:, 255] += 1 - probabilities.sum(1)  # as many photons as make it white, or more
    return alias_table(probabilities.clip(0))


@lru_cache(maxsize=8)
def impulse_noise(amount: float) -> Tensor:
    """Return the table of salt and pepper: a share `amount` of the values turns black or white, as likely as not."""
    probabilities = np.eye(256) * (1 - amount)
    probabilities[:, [0, 255]] += amount / 2
    return alias_table(probabilities)


def _normal(std: np.ndarray) -> np.ndarray:
    """Return P(v + std[v]·z is cut to k), (256, 256)."""
    below = ndtr((_LEVELS[None, 1:] - _LEVELS[:, None]) / np.maximum(std, 1e-9)[:, None])
    return np.diff(below, axis=1, prepend=0, append=1)
