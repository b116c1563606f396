"""From the names in a recipe to the images of a robustness run: a pool, and images of no known class beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uda.datasets.cache import Unreadable
from uda.datasets.folders import summary
from uda.datasets.groups import own_groups
from uda.datasets.resolve import resolve
from uda.datasets.sampling import held_out
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.parts import Domain, load_domain
from uda.experiments.pool import PoolFound, PoolLoaded, find_pool, load_pool, rows_among
from uda.sections import NoisyRecipe
from uda.tasks.probe.task import held_out as tested_on
from uda.wording import counted


@dataclass(frozen=True)
class Found:
    """The pool and the other sets, listed; nothing decoded yet."""

    pool: PoolFound
    near: ImageTable | None
    far: ImageTable | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """The same, decoded."""

    pool: PoolLoaded
    near: Domain | None
    far: Domain | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """How reports call the pool."""
        return self.pool.title

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""
        return self.pool.class_names

    @property
    def fingerprint(self) -> str:
        """What the pool's images, their order and their labels are; a checkpoint remembers it."""
        return self.pool.fingerprint

    @property
    def fingerprints(self) -> dict[str, str]:
        """What figures are of, part by part; only equal ones may be compared."""
        others = {"near": self.near, "far": self.far}
        return self.pool.fingerprints | {name: side.fingerprint for name, side in others.items() if side is not None}

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The files left out."""
        sides = [side.unreadable for side in (self.near, self.far) if side is not None]
        return self.pool.unreadable + tuple(image for side in sides for image in side)


@dataclass(frozen=True)
class Rows:
    """Which rows of the pool's own table are learned from, validated on and, without a test split, tested on."""

    learned: np.ndarray
    validation: np.ndarray
    tested: np.ndarray


def find_images(recipe: NoisyRecipe, download: bool = False) -> Found:
    """Find the pool and the other sets; UserError says what is missing and what to do."""
    pool = find_pool(recipe, download)
    near, far = (_other(kind, name, recipe, download) for kind, name in (("near", recipe.near), ("far", recipe.far)))
    lines = [*pool.lines, *(f"{kind}: {summary(table)}" for kind, table in (("near", near), ("far", far)) if table)]
    rows = rows_of(pool.table, pool.test is not None, recipe.validation)
    if pool.test is None:
        lines.append(f"tested on: {counted(len(rows.tested), 'image')}, a fifth of each class kept from training")
    kept = (
        f"{counted(len(rows.validation), 'image')} kept for the temperature"
        if len(rows.validation)
        else "none kept for the temperature, which is fitted on halves of the test images"
    )
    lines.append(f"learned from: {counted(len(rows.learned), 'image')}; {kept}")
    for kind, other in (("near", near), ("far", far)):
        if other is not None and rows_among(other, pool.tables).any():
            raise UserError(f"data.{kind} holds images of {pool.table.name} itself; name images of no known class")
    return Found(pool, near, far, tuple(lines), pool.warnings)


def _other(kind: str, name: str | None, recipe: NoisyRecipe, download: bool) -> ImageTable | None:
    if name is None:
        return None
    root = Path(recipe.root) if recipe.root else None
    try:
        return resolve(name, None, root, download, every_source=True, need_labels=False).source
    except UserError as error:
        raise UserError(f"data.{kind}: {str(error).removeprefix('--source ')}") from error


def rows_of(table: ImageTable, own_test: bool, validation: float) -> Rows:
    """Return the parts of a pool's own table; an image without a label is in no part, and no group in two."""
    labels, groups = table.labels, own_groups(table)
    tested = np.empty(0, dtype=np.int64) if own_test else tested_on(labels, groups)
    rest = labels.copy()
    rest[tested] = -1
    validated = held_out(rest, validation, groups)
    rest[validated] = -1
    return Rows(np.flatnonzero(rest >= 0), validated, tested)


def load_images(found: Found, recipe: NoisyRecipe, progress: bool = True) -> Loaded:
    """Decode everything."""
    pool = load_pool(found.pool, recipe, progress)
    near, far = (None if table is None else load_domain(table, recipe, progress) for table in (found.near, found.far))
    lost = [line for side in (near, far) if side is not None for line in side.losses]
    return Loaded(pool, near, far, found.lines, (*pool.warnings, *lost))
