"""One pool of images from the names in a recipe: all domains at once, and the test split where there is one."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uda.datasets.cache import Unreadable
from uda.datasets.folders import flat_table, join, scan, summary
from uda.datasets.given import given_images
from uda.datasets.groups import with_file
from uda.datasets.resolve import Resolved, resolve
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.grouping import Groups, grouped
from uda.experiments.parts import Domain, load_domain
from uda.probes.low_label import labelled_rows, parse_labels
from uda.sections import GroupedRecipe, ImagesRecipe
from uda.wording import counted

TEST_SPLITS = ("test", "testing", "val", "valid", "validation")


@dataclass(frozen=True)
class PoolFound:
    """The images to learn from and those to test on, listed; nothing decoded yet."""

    table: ImageTable
    test: ImageTable | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def tables(self) -> list[ImageTable]:
        """Those there are, the images to learn from first."""
        return [self.table, *([] if self.test is None else [self.test])]


@dataclass(frozen=True)
class PoolLoaded:
    """The same, decoded; groups: which images no split may divide, where that is known."""

    train: Domain
    test: Domain | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    groups: Groups | None = None

    @property
    def title(self) -> str:
        """How reports call the pool."""
        return self.train.table.name

    @property
    def train_groups(self) -> np.ndarray | None:
        """Which images to learn from belong together, (N,) int64, where that is known."""
        return None if self.groups is None else self.groups.train

    @property
    def test_groups(self) -> np.ndarray | None:
        """The same of those to test on, (M,)."""
        return None if self.groups is None else self.groups.test

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""
        return self.train.table.classes

    @property
    def fingerprint(self) -> str:
        """What the images, their order and their labels are; a checkpoint remembers it."""
        sides = [self.train] if self.test is None else [self.train, self.test]
        digest = hashlib.sha256(os.fsencode("\0".join(self.class_names)))
        for side in sides:
            digest.update(side.table.labels.astype("<i8").tobytes())
        return "+".join([*(side.images.fingerprint for side in sides), digest.hexdigest()[:16]])

    @property
    def fingerprints(self) -> dict[str, str]:
        """What figures are of, part by part; only equal ones may be compared."""
        parts = {"train": self.train, "test": self.test}
        return {name: part.fingerprint for name, part in parts.items() if part is not None}

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The files left out."""
        return self.train.unreadable + (self.test.unreadable if self.test else ())


def find_pool(recipe: ImagesRecipe, download: bool = False, unlabelled: str | None = None) -> PoolFound:
    """Find all images that the recipe names; UserError says what is missing and what to do.

    A data set or a folder of domains stands for all of its domains together. Of one domain with splits the training
    split is learned from, and `test` (else `val`) is tested on. unlabelled: a folder whose images join those to learn
    from, without a label.
    """
    root = Path(recipe.root) if recipe.root else None
    found = _resolved(recipe.source or "builtin", root, download)
    table = with_file(found.source)
    tiles = isinstance(recipe, GroupedRecipe) and recipe.tiles
    if len(table) < 2 and not tiles:
        raise UserError(f"{table.name} holds a single image; name a data set or a folder with more")
    lines, warnings = list(found.lines), found.warnings
    test = next((found.source_splits[name] for name in TEST_SPLITS if name in found.source_splits), None)
    if test is not None and (not table.classes or test.paths == table.paths):
        test = None
    test = None if test is None else with_file(test)
    if unlabelled is not None:
        more = further_images(unlabelled, [table] if test is None else [table, test])
        lines.append(f"unlabelled: {summary(more)}")
        table = join([table, more], f"{table.name} + {more.name}")
    if test is not None:
        learned = tuple(name for name, count in table.counts().items() if count)
        warnings = (*warnings, *strangers(test, learned))
        table, test = table.relabel(learned), test.relabel(learned)
        if not (test.labels >= 0).any():  # images of other classes, or without a label, test nothing
            test = None
    if test is not None:
        lines.append(f"tested on: {counted(len(test), 'image')} of {test.name}")
    return PoolFound(table, test, tuple(lines), warnings)


def _resolved(source: str, root: Path | None, download: bool) -> Resolved:
    """Return the images of a name, or the one image that a file is."""
    if Path(source).expanduser().is_file():
        table = given_images(source).table
        return Resolved((table,), (), None, (summary(table),), ())
    return resolve(source, None, root, download, every_source=True, need_labels=False)


def rows_among(table: ImageTable, others: Sequence[ImageTable]) -> np.ndarray:
    """Return which images of a table are files of another one, (N,) bool, by whatever path each was named."""
    known = {os.path.realpath(path) for other in others for path in other.paths}
    return np.array([os.path.realpath(path) in known for path in table.paths], dtype=bool)


def further_images(unlabelled: str, tables: Sequence[ImageTable]) -> ImageTable:
    """Return the images of a folder, however it is arranged, that are in none of the tables: the first is joined."""
    folder, table = Path(unlabelled).expanduser(), tables[0]
    if not folder.is_dir():
        raise UserError(f"--unlabelled '{folder}' is no folder; name one that holds images, in any arrangement")
    if table.pixels is not None:
        raise UserError(f"{table.name} is not made of files, which --unlabelled could join; give a folder as --source")
    found = with_file(flat_table(scan(folder), str(folder), folder))
    new = np.flatnonzero(~rows_among(found, tables))
    if not len(new):
        raise UserError(f"--unlabelled '{folder}' holds no images beside those of {table.name}; name another folder")
    return found.select(new)


def strangers(test: ImageTable, learned: tuple[str, ...]) -> tuple[str, ...]:
    """Return a warning of test images whose class has no training image: no answer about them could be right."""
    strange = {name: count for name, count in test.counts().items() if count and name not in learned}
    if not strange:
        return ()
    named = ", ".join(list(strange)[:3]) + (", …" if len(strange) > 3 else "")
    return (
        f"{sum(strange.values())} of the {len(test)} images of {test.name} are left out, for there is no training "
        f"image of their class ({named})",
    )


def load_pool(found: PoolFound, recipe: ImagesRecipe, progress: bool = True) -> PoolLoaded:
    """Decode the pool; where the recipe says what belongs together, hold out whole groups to test on."""
    train = load_domain(found.table, recipe, progress)
    test = None if found.test is None else load_domain(found.test, recipe, progress)
    lost = train.losses + (test.losses if test else ())
    groups = None
    lines, warnings = found.lines, (*found.warnings, *lost)
    if isinstance(recipe, GroupedRecipe):
        train, test, groups = grouped(train, test, recipe)
    if groups is not None:
        lines, warnings = (*lines, *groups.lines), (*warnings, *groups.warnings)
    return PoolLoaded(train, test, lines, warnings, groups)


def usable_labels(labels: np.ndarray, share: str | None, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Return labels (N,) that training may see: all, or a class-balanced share of them; −1 elsewhere.

    groups: (N,) int64, which are never divided; None: every image stands for itself.
    """
    if share is None:
        return labels
    rows = labelled_rows(labels, parse_labels(share), seed, groups)
    usable = np.full_like(labels, -1)
    usable[rows] = labels[rows]
    return usable
