"""A few labels of many: how many the user asked for, and which images keep theirs."""

import math
import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from uda.errors import UserError
from uda.metrics.arrays import as_labels
from uda.random import hash_bits

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_EXAMPLES = "write for example --labels 10%, --labels 0.1 or --labels '40 labels'"


@dataclass(frozen=True)
class LabelBudget:
    """How many images keep their label: a fraction in (0, 1] of the labelled ones, or a count; the other is None."""

    fraction: float | None = None
    count: int | None = None

    def total(self, n_images: int, n_classes: int) -> int:
        """Return the number of labels for that many labelled images, for a fraction at least one per class.

        Raises UserError for a count that is larger than there are images or smaller than there are classes.
        """
        if self.fraction is not None:
            return min(n_images, max(n_classes, math.floor(self.fraction * n_images + 0.5)))
        count = self.count or 0
        if count > n_images:
            raise UserError(f"--labels asks for {count} labels, but only {n_images} images have one; ask for fewer")
        if count < n_classes:
            raise UserError(f"--labels asks for {count} labels for {n_classes} classes; ask for at least {n_classes}")
        return count


def parse_labels(text: str) -> LabelBudget:
    """Return what "10%" or "0.1" (a fraction) and "40 labels" or "40" (a count) ask for.

    Raises UserError for anything else, for a fraction that is not in (0, 1], and for a bare "1", which could mean both.
    """
    given = " ".join(text.split())
    if match := re.fullmatch(rf"{_NUMBER} ?%", given):
        fraction = float(match[1]) / 100
    elif match := re.fullmatch(r"(\d+)( ?labels?)?", given):
        count = int(match[1])
        if count == 1 and not match[2]:
            raise UserError("--labels 1 could mean one label or all of them; write '1 label' or 100%")
        if count < 1:
            raise UserError(f"--labels '{text}' keeps no label; {_EXAMPLES}")
        return LabelBudget(count=count)
    elif match := re.fullmatch(rf"{_NUMBER}(?:e-?\d+)?", given, re.IGNORECASE):
        fraction = float(match[0])
    else:
        raise UserError(f"--labels '{text}' is neither a share nor a number of labels; {_EXAMPLES}")
    if not 0 < fraction <= 1:
        raise UserError(f"--labels '{text}' is not above 0 and at most 100%; {_EXAMPLES}")
    return LabelBudget(fraction=fraction)


def labelled_rows(
    labels: ArrayLike, budget: LabelBudget | float, seed: int, groups: ArrayLike | None = None
) -> np.ndarray:
    """Return the rows (M,) int64, ascending, that keep their label: the same number of every class, ±1.

    labels: (N,), −1 where there is none: such rows are never taken. groups: (N,) int64, which are never divided (see
    `_whole_groups`); None: every image stands for itself. A float is a fraction. A class with too few images
    gives all it has and the others make up for it, so that 100 % is every labelled row; every class keeps at least one.
    A pure function of its arguments; with the same seed a smaller budget's rows are among a larger one's.
    """
    given = as_labels(labels, "labels")
    if not isinstance(budget, LabelBudget):
        if not 0 < budget <= 1:
            raise UserError(f"a fraction of {budget} of the labels is not in (0, 1]; {_EXAMPLES}")
        budget = LabelBudget(fraction=budget)
    rows = np.flatnonzero(given >= 0)
    if not len(rows):
        raise UserError("no image has a label to keep; check that the folder holds one folder for each class")
    classes, number = np.unique(given[rows], return_inverse=True)
    if groups is not None:
        of_rows = as_labels(groups, "groups")[rows]
        return rows[_whole_groups(number, of_rows, budget.total(len(rows), len(classes)), seed)]
    draw = hash_bits(seed, 0, torch.from_numpy(rows), "low label rows", 1)[:, 0].numpy()
    turn = hash_bits(seed, 0, torch.from_numpy(classes), "low label classes", 1)[:, 0].numpy()
    order = np.lexsort((draw, number))
    start = np.searchsorted(number[order], np.arange(len(classes)))
    rank = np.arange(len(rows)) - start[number[order]]
    # One image of every class after another; the last round, if it is not whole, in an order drawn for the classes.
    rounds = np.lexsort((turn[number[order]], rank))
    return np.sort(rows[order[rounds[: budget.total(len(rows), len(classes))]]])


def _whole_groups(labels: np.ndarray, groups: np.ndarray, total: int, seed: int) -> np.ndarray:
    """Return the rows of whole groups (M,), ascending: about `total` of them, as many of each class as can be.

    labels: (N,) in 0 … C − 1; groups: (N,). First comes a group of each class, the rarest class first; then always one
    of the class that has fewest images so far (a group counts for the rarest of its classes), as long as the total is
    not exceeded: a group of each class is given, however large. Smaller totals are parts of larger ones.
    """
    names, place = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (place, labels), 1)
    draw = hash_bits(seed, 0, torch.from_numpy(names.astype(np.int64)), "low label groups", 1)[:, 0].numpy()
    rarest = np.argsort(counts.sum(axis=0), kind="stable")
    first: list[int] = []
    for number in rarest:
        if not counts[first, number].any():
            having = np.flatnonzero(counts[:, number])
            first.append(int(having[draw[having].argmin()]))
    main = rarest[(counts[:, rarest] > 0).argmax(axis=1)]
    order = np.lexsort((draw, ~np.isin(np.arange(len(names)), first), main))
    size, main = counts.sum(axis=1)[order], main[order]
    start = np.concatenate([[0], size.cumsum()[:-1]])
    before = start - start[np.searchsorted(main, main)]  # images of the class that come before this group
    rounds = order[np.lexsort((draw[order], before, ~np.isin(order, first)))]
    ends = counts.sum(axis=1)[rounds].cumsum()
    chosen = rounds[: max(len(first), int(np.searchsorted(ends, total, side="right")))]
    return np.flatnonzero(np.isin(place, chosen))
