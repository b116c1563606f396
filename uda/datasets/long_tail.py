"""Long tails cut out of any labelled images: which rows make one."""

from typing import Literal

import numpy as np

from uda import random
from uda.errors import UserError

Kind = Literal["exponential", "step"]
KINDS: tuple[Kind, ...] = ("exponential", "step")


def tail_shape(n_classes: int, ratio: float, kind: Kind) -> np.ndarray:
    """Return the size of each class as a share of the largest one's, (C,), from 1 down to 1 ÷ ratio.

    exponential: μ^(i/(C−1)) with μ = 1 ÷ ratio; step: 1 for the first half of the classes, μ for the others, which are
    one fewer where C is odd (Cao et al., NeurIPS 2019, section 4). ratio ≥ 1; 1 is balanced.
    """
    if not ratio >= 1:
        raise UserError(f"data.ratio={ratio:g}: give how many times the largest class is the smallest, 1 or more")
    place = np.arange(n_classes)
    if kind == "step":
        return np.where(2 * place < n_classes, 1.0, 1 / ratio)
    return (1 / ratio) ** (place / max(1, n_classes - 1))


def tail_counts(available: np.ndarray, ratio: float, kind: Kind) -> np.ndarray:
    """Return how many images of each class to keep, (C,) int64: n_i = int(n_max · share_i).

    available: (C,) images there are of each class, the frequent one first. n_max is the largest number that the images
    of every class allow; in data of equally many a class it is that number. UserError where a class would be left with
    none.
    """
    shape = tail_shape(len(available), ratio, kind)
    most = int((available / shape + 1e-9).min())
    counts = (most * shape + 1e-9).astype(np.int64)  # 0.1 · 30 is below 3 in binary
    if counts.min() < 1:
        raise UserError(
            f"data.ratio={ratio:g} leaves no image of the rarest class, for the largest one can have {most}; give a "
            f"ratio of {most} or less"
            if most
            else "a class has no image to make a long tail of; leave its folder out"
        )
    return counts


def tail_rows(labels: np.ndarray, ratio: float, kind: Kind, seed: int, shuffled: bool = False) -> np.ndarray:
    """Return the rows (M,) int64, ascending, that make a long tail of labelled images.

    labels: (N,) in 0 … C−1, every class with an image; rows of −1 are never taken. Classes are in the order of their
    labels, the frequent one first, or shuffled by the seed. Which images of a class are kept is decided by the seed
    alone: in data of equally many a class, the images of a larger ratio are among those of a smaller one.
    """
    available = np.bincount(labels[labels >= 0])
    classes = random.permutation(len(available), seed, 0, "long tail, classes") if shuffled else range(len(available))
    order = np.array(classes, dtype=np.int64)
    rows = random.permutation(len(labels), seed, 0, "long tail, images")
    kept = [np.empty(0, dtype=np.int64)]
    for number, count in zip(order, tail_counts(available[order], ratio, kind), strict=True):
        kept.append(rows[labels[rows] == number][:count])
    return np.sort(np.concatenate(kept)).astype(np.int64)
