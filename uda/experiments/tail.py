"""A pool whose training images are cut to a long tail, beside a test set that is not."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from uda.datasets.groups import own_groups
from uda.datasets.long_tail import tail_rows
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.pool import PoolFound
from uda.sections import LongTailRecipe
from uda.tasks.probe.task import held_out
from uda.wording import counted

_SAID = 8  # classes whose counts are printed one by one at either end


def with_test(found: PoolFound) -> PoolFound:
    """Return the pool with a test set of its own: a fifth of each class, where there is no test split."""
    if found.test is not None:
        return found
    named = [name for name, count in found.table.counts().items() if count]
    if len(named) < 2:
        said = f"one class, '{named[0]}'" if named else "no labels"
        raise UserError(f"{found.table.name} has {said}; name a folder with at least two class folders")
    rows = held_out(found.table.labels, own_groups(found.table))
    test = replace(found.table.select(rows), name=f"{found.table.name} (held out)")
    kept = found.table.select(np.setdiff1d(np.arange(len(found.table)), rows))
    line = f"tested on: {counted(len(test), 'image')}, a fifth of each class kept from training"
    return replace(found, table=kept, test=test, lines=(*found.lines, line))


def cut(found: PoolFound, recipe: LongTailRecipe) -> PoolFound:
    """Return the pool with its training images cut to the recipe's tail; those without a label all stay.

    What is tested on is held out before, so that the test set is as it would be without a tail.
    """
    if recipe.ratio is None:
        return found
    found = with_test(found)
    labels = found.table.labels
    shuffled = recipe.tail_order == "shuffled"
    rows = tail_rows(labels, recipe.ratio, recipe.tail, recipe.tail_seed, shuffled)
    name = f"{found.table.name} ({recipe.tail} tail, ratio {recipe.ratio:g})"
    table = replace(found.table.select(np.sort(np.concatenate([rows, np.flatnonzero(labels < 0)]))), name=name)
    return replace(found, table=table, lines=(*found.lines, counts_line(table)))


def counts_line(table: ImageTable) -> str:
    """Return how many images of each class are learned from, the most frequent first."""
    counts: Mapping[str, int] = table.counts()
    order = sorted(counts, key=lambda name: -counts[name])
    said = [f"{name} {counts[name]}" for name in order]
    if len(said) > 2 * _SAID:
        said = [*said[:_SAID], "…", *said[-_SAID:]]
    return f"learned from: {counted(sum(counts.values()), 'labelled image')}: {', '.join(said)}"
