"""Sets of permutations that lie far apart, the classes of jigsaw puzzles."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from uda.errors import UserError

_LARGEST = 9  # all permutations are looked at: 9! = 362,880 are, 16! of a 4 × 4 grid could not be


def permutation_set(count: int, length: int = 9, ordered: bool = True) -> Tensor:
    """Return `count` permutations of 0 … length−1 that lie far apart in Hamming distance, (count, length) int64.

    Greedy over all permutations, as Noroozi and Favaro (ECCV 2016, algorithm 1) do it, who take the one with the
    largest mean distance to those chosen already. Here it is the one whose *smallest* distance is largest, the mean
    breaking ties: the same mean (8.01 for 1,000 of 9), and a smallest distance of 5 instead of 2. Always the same set,
    and a smaller set is the beginning of a larger one. ordered: the first is the identity; otherwise the identity is
    left out. Raises UserError where there are not so many permutations, and for more than 9 tiles.
    """
    if not 2 <= length <= _LARGEST:
        raise UserError(f"permutations of {length} tiles cannot all be compared; take a grid of 2 or 3 tiles a side")
    most = math.factorial(length) - (not ordered)
    if not 1 <= count <= most:
        raise UserError(f"{length} tiles have no {count} permutations; set permutations to 1 … {most}")
    return torch.from_numpy(_chosen(count, length, ordered).astype(np.int64))


@lru_cache(maxsize=8)
def _chosen(count: int, length: int, ordered: bool) -> np.ndarray:
    """Return the set as (count, length) uint8; the loop is over chosen ones, a millisecond each for 9 tiles."""
    everything = _all_permutations(length)
    columns = np.ascontiguousarray(everything.T)
    identity = int((columns == np.arange(length)[:, None]).all(0).argmax())
    total = np.zeros(len(everything), np.int32)  # distance to those chosen, summed
    nearest = np.full(len(everything), length, np.uint8)
    gone = -(length + 1) * (count + 1)  # below every sum
    if not ordered:
        total[identity] = gone
    # Without the identity the start is the order turned by one, which moves every tile.
    start = identity if ordered else int((columns == np.roll(np.arange(length), 1)[:, None]).all(0).argmax())
    chosen = [start]
    weight = np.int32(length * count + 1)  # above every sum of distances
    while len(chosen) < count:
        newest = chosen[-1]
        distance = np.zeros(len(everything), np.uint8)
        for column in columns:
            distance += column != column[newest]
        np.minimum(nearest, distance, out=nearest)
        total += distance
        total[newest] = gone * int(weight)
        chosen.append(int((nearest * weight + total).argmax()))
    return everything[chosen]


def _all_permutations(length: int) -> np.ndarray:
    """Return all of them, (length!, length) uint8: each element is put into every place of the shorter ones."""
    found = np.zeros((1, 1), np.uint8)
    for element in range(1, length):
        found = np.concatenate([np.insert(found, place, element, axis=1) for place in range(element + 1)])
    return found
