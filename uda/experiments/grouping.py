"""What belongs together in a pool: found, said, and kept on one side of every split."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from uda.datasets.cache import default_cache_dir, pack
from uda.datasets.folders import join
from uda.datasets.groups import (
    OWN_COLUMNS,
    column_groups,
    held_out_groups,
    numbered,
    own_groups,
    pattern_groups,
    together,
)
from uda.datasets.originals import SIDE, originals
from uda.datasets.store import write_array
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.parts import Domain
from uda.sections import GroupedRecipe
from uda.wording import counted

LOOK_ALIKE, NONE, AUTO = "look-alike", "none", "auto"
_ALIKE = "copies of one original, by a hash blind to turns and reflections"
_MANY = 10  # images of a group from which on it is worth a word


@dataclass(frozen=True)
class Groups:
    """Groups of both sides of a pool, numbered alike.

    train, test: (N,) and (M,) int64; content: what `metrics.json` says of them; lines, warnings: what is printed.
    """

    train: np.ndarray
    test: np.ndarray
    content: Mapping[str, Any]
    lines: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def grouped(train: Domain, test: Domain | None, recipe: GroupedRecipe) -> tuple[Domain, Domain | None, Groups | None]:
    """Return both sides with what belongs together; without a test split whole groups are held out for it.

    Groups are None where nothing says what belongs together. Images without labels are held out with their group
    alone; where there are no two classes nothing is.
    """
    sides = [train] if test is None else [train, test]
    found = _find(sides, recipe)
    if found is None:
        return train, test, None
    by, numbers = found
    labels = np.concatenate([side.table.labels for side in sides])
    lines = [_counts_line(by, numbers, labels, train.table.classes)]
    content: dict[str, Any] = {
        "by": by,
        "groups": len(np.unique(numbers)),
        "largest": int(np.bincount(numbers).max()),
        "per_class": _per_class(train, sides, numbers),
    }
    warnings = _crowded(by, content["largest"], len(numbers))
    of_train, of_test = numbers[: len(train.table)], numbers[len(train.table) :]
    if test is None and len(np.unique(labels[labels >= 0])) > 1:
        held = held_out_groups(labels, numbers, recipe.held_out, 0)
        if not len(held):
            raise UserError(
                f"{train.table.name}: no group can be held out to test on ({by}), for no class has two; "
                "add images, a folder called test, or set data.groups=none"
            )
        kept = np.setdiff1d(np.arange(len(labels)), held)
        train, test = train.select(kept), train.select(held)
        of_train, of_test = numbers[kept], numbers[held]
    if test is not None:
        n_train, n_test = len(np.unique(of_train)), len(np.unique(of_test))
        lines.append(
            f"learned from: {counted(len(of_train), 'image')} of {counted(n_train, 'group')}; "
            f"tested on: {counted(len(of_test), 'image')} of {counted(n_test, 'group')}"
        )
        shared = int(np.isin(of_test, of_train).sum())
        content |= {"train_groups": n_train, "test_groups": n_test, "leaked": shared}
        if shared:
            warnings.append(
                f"{shared} of the {len(of_test)} test images are of a group that is learned from ({by}), which makes "
                "figures look better than they are"
            )
    return train, test, Groups(of_train, of_test, content, tuple(lines), tuple(warnings))


def _find(sides: list[Domain], recipe: GroupedRecipe) -> tuple[str, np.ndarray] | None:
    """Return by what images belong together, and the groups of both sides end to end."""
    how = recipe.groups
    whole = join([replace(side.table, pixels=None) for side in sides], sides[0].table.name)
    own = own_groups(whole)
    if how == NONE:
        return None
    if how in (None, AUTO) and own is not None:
        return f"the data's own column, {_own_name(whole)}", own
    if how is None:
        return None
    if how in (AUTO, LOOK_ALIKE):
        alike = look_alikes(sides)
        tiles = whole.columns.get("image")
        joined = alike if tiles is None else together(alike, numbered(tiles))
        return _ALIKE, joined
    if "(" in how:
        return f"the pattern {how}", pattern_groups(whole, how)
    return f"the column {how}", column_groups(whole, how)


def _crowded(by: str, largest: int, total: int) -> list[str]:
    """Return a warning where a group is so large that the hash has rather found a style than copies."""
    if by != _ALIKE or largest < _MANY or largest <= total / 10:
        return []
    return [
        f"{largest} of the {total} images look like copies of one original, as films and drawings do by chance; name "
        "what belongs together by data.groups, or set data.groups=none"
    ]


def _own_name(table: ImageTable) -> str:
    return next(name for name in OWN_COLUMNS if name in table.columns)


def look_alikes(sides: list[Domain]) -> np.ndarray:
    """Return `originals` of all images of the sides, end to end; kept in the cache, for it takes its time.

    Files are looked at in the size that these want, whatever size training sees, so that the answer is one.
    """
    key = "+".join(side.images.fingerprint for side in sides)[:160]
    path = default_cache_dir() / "originals" / f"2-{key}.npy"
    total = sum(len(side.table) for side in sides)
    with contextlib.suppress(OSError, ValueError, EOFError):
        known: np.ndarray = np.load(path, allow_pickle=False)
        if known.shape == (total,) and known.dtype == np.int64:
            return known
    found = originals(torch.cat([_squares(side) for side in sides]))
    with contextlib.suppress(OSError):  # it is only found again
        write_array(path, found)
    return found


def _squares(side: Domain) -> torch.Tensor:
    tiles = "image" in side.table.columns
    images = side.images if tiles or side.table.pixels is not None else pack(side.table, SIDE, progress=False)[0]
    return images.square(np.arange(len(side.table)), SIDE)


def _per_class(train: Domain, sides: list[Domain], numbers: np.ndarray) -> dict[str, dict[str, int]]:
    labels = np.concatenate([side.table.labels for side in sides])
    return {
        name: {"images": int((labels == i).sum()), "groups": len(np.unique(numbers[labels == i]))}
        for i, name in enumerate(train.table.classes)
    }


def _counts_line(by: str, numbers: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> str:
    total = counted(len(np.unique(numbers)), "group")
    each = [
        f"{name} {len(np.unique(numbers[labels == i]))} of {int((labels == i).sum())}" for i, name in enumerate(classes)
    ]
    listed = f": {', '.join(each)}" if 0 < len(each) <= 12 else ""
    return f"groups ({by}): {counted(len(numbers), 'image')} in {total}{listed}; no split divides one"
