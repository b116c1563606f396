"""From the names in a recipe to base classes and novel ones."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uda.datasets.cache import Unreadable
from uda.datasets.folders import summary
from uda.datasets.resolve import resolve
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.parts import Domain, load_domain
from uda.experiments.pool import further_images
from uda.sections import ClassesRecipe

NOVEL_SPLITS = ("novel", "test", "testing", "val", "validation", "valid")


@dataclass(frozen=True)
class Found:
    """The tables, listed; nothing decoded yet. Classes of both are numbered from 0, and none is in both.

    cut: whether base and novel classes were one folder's, which `data.novel` divided.
    """

    base: ImageTable
    novel: ImageTable
    unlabelled: ImageTable | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    cut: bool = False


@dataclass(frozen=True)
class Loaded:
    """The same, decoded."""

    base: Domain
    novel: Domain
    unlabelled: Domain | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def _parts(self) -> dict[str, Domain]:
        parts = {"base": self.base, "novel": self.novel, "unlabelled": self.unlabelled}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def title(self) -> str:
        """How reports call the data."""
        return f"{self.base.table.name} → {self.novel.table.name}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The base classes, in the order of the labels."""
        return self.base.table.classes

    @property
    def fingerprint(self) -> str:
        """What the images, their order and the labels that training sees are; a checkpoint remembers it."""
        labels = self.base.table.labels.astype("<i8").tobytes() + os.fsencode("\0".join(self.class_names))
        sides = [part.images.fingerprint for part in self._parts.values()]
        return "+".join([*sides, hashlib.sha256(labels).hexdigest()[:16]])

    @property
    def fingerprints(self) -> dict[str, str]:
        """What figures are of, part by part; only equal ones may be compared."""
        return {name: part.fingerprint for name, part in self._parts.items()}

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The files left out."""
        return tuple(image for part in self._parts.values() for image in part.unreadable)


def find_classes(recipe: ClassesRecipe, download: bool = False) -> Found:
    """Find base and novel classes; UserError says what is missing and what to do."""
    root = Path(recipe.root) if recipe.root else None
    alone = recipe.source is None and recipe.target is None
    found = resolve(recipe.source or "builtin/printed", recipe.target, root, download, every_source=True)
    base, warnings = found.source, found.warnings
    if recipe.target is not None:
        base, novel = _across(base, found.target, recipe.novel)
    else:
        split = next(
            (found.source_splits[name] for name in NOVEL_SPLITS if _others(found.source_splits, name, base)), None
        )
        if split is not None and recipe.novel is None:
            novel = split
        else:
            base, novel = _cut(base, recipe.novel or (4 if alone else None))
    base, novel = _numbered(base), _numbered(novel)
    if not novel.labelled:
        raise UserError(f"{novel.name} has no labels; novel classes want a folder each")
    more = None if recipe.unlabelled is None else further_images(recipe.unlabelled, (base, novel))
    lines = [*found.lines, f"base classes: {summary(base)}", f"novel classes: {summary(novel)}"]
    lines += [] if more is None else [f"unlabelled: {summary(more)}"]
    return Found(base, novel, more, tuple(lines), warnings, recipe.novel is not None)


def _others(splits: dict[str, ImageTable], name: str, base: ImageTable) -> bool:
    """Return whether a split has labelled classes, and none of the base's."""
    if name not in splits or not splits[name].labelled:
        return False
    own = {kind for kind, count in base.counts().items() if count}
    return not own & {kind for kind, count in splits[name].counts().items() if count}


def _across(base: ImageTable, target: ImageTable, novel: int | None) -> tuple[ImageTable, ImageTable]:
    """Return the base classes, and the novel ones in the target: those that are no base class.

    With `novel` the last so many of the source's classes are no base classes.
    """
    if novel is not None:
        base, _ = _cut(base, novel)
    own = {kind for kind, count in base.counts().items() if count}
    kept = tuple(kind for kind, count in target.counts().items() if count and kind not in own)
    if len(kept) < 2:
        raise UserError(
            f"{target.name} has {len(kept)} classes that {base.name} has not, and episodes tell at least two "
            "novel ones apart; name a target with other classes, or leave the last N out by data.novel=N"
        )
    return base, target.relabel(kept)


def _cut(table: ImageTable, novel: int | None) -> tuple[ImageTable, ImageTable]:
    """Return the first classes and the last ones."""
    names = tuple(kind for kind, count in table.counts().items() if count)
    if novel is None:
        raise UserError(
            f"{table.name} does not say which classes are novel: give a folder with base/ and novel/, a --target with "
            f"other classes, or data.novel=N for the last N of its {len(names)} classes"
        )
    if len(names) - novel < 2:
        raise UserError(
            f"data.novel={novel} leaves {max(0, len(names) - novel)} of {len(names)} classes as base; give less"
        )
    return table.relabel(names[:-novel]), table.relabel(names[-novel:])


def _numbered(table: ImageTable) -> ImageTable:
    """Return a table whose classes are those that have images, numbered from 0."""
    return table.relabel(tuple(kind for kind, count in table.counts().items() if count))


def load_classes(found: Found, recipe: ClassesRecipe, progress: bool = True) -> Loaded:
    """Decode everything."""
    base, novel = (load_domain(table, recipe, progress) for table in (found.base, found.novel))
    more = None if found.unlabelled is None else load_domain(found.unlabelled, recipe, progress)
    lost = [line for part in (base, novel, more) if part is not None for line in part.losses]
    return Loaded(base, novel, more, found.lines, (*found.warnings, *lost))


def labels_of(table: ImageTable, held_out: np.ndarray) -> np.ndarray:
    """Return the labels (N,) that training sees: −1 for images that are held out."""
    labels = table.labels.copy()
    labels[held_out] = -1
    return labels
