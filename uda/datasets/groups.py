"""Groups of images that no split may divide: a patient's, a slide's, all copies of one original."""

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from uda.datasets.table import ImageTable
from uda.errors import UserError, unknown_name
from uda.random import hash_bits

OWN_COLUMNS = ("patient", "slide", "image")
"""Columns that group images without being asked for, the widest first; a center is asked for by its name."""

GROUP_FILE = "groups.csv"
"""A table beside the images of a folder: `path` (below the folder) and further columns, such as `patient`."""


def numbered(names: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return the groups' numbers (N,) int64 from their names (N,); an image without a name ("") is a group alone."""
    given = np.asarray(names, dtype=object).astype(str)
    alone = given == ""
    _, number = np.unique(given, return_inverse=True)
    number = number.astype(np.int64)
    number[alone] = len(given) + np.arange(int(alone.sum()))
    return np.unique(number, return_inverse=True)[1].astype(np.int64)


def together(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return groups (N,) int64 that neither of two ways to group divides, both (N,) int64 numbers from 0."""
    n, m = int(first.max(initial=-1)) + 1, int(second.max(initial=-1)) + 1
    links = coo_matrix((np.ones(len(first)), (first, n + second)), shape=(n + m, n + m))
    return connected_components(links, directed=False)[1][first].astype(np.int64)


def own_groups(table: ImageTable) -> np.ndarray | None:
    """Return the groups that a table itself knows of, (N,) int64: those of its widest column; None where it has none.

    A patient has several slides, and a slide several images, so the patients' column counts where there is one; an
    image whose patient is not known is of its slide, and a tile of its image.
    """
    found = [name for name in OWN_COLUMNS if name in table.columns]
    return numbered(_filled(table, found)) if found else None


def _filled(table: ImageTable, columns: Sequence[str]) -> np.ndarray:
    """Return the first of those columns, and where it is empty the next ones' names, (N,) text."""
    names = np.full(len(table), "", dtype=object)
    for column in columns:
        given = table.columns[column]
        names = np.where((names == "") & (given != ""), np.array([f"{column} {name}" for name in given], object), names)
    return names


def joint_groups(tables: Sequence[ImageTable]) -> np.ndarray | None:
    """Return `own_groups` of several tables laid end to end, none shared between two; None where no table has any."""
    found = [own_groups(table) for table in tables]
    if all(groups is None for groups in found):
        return None
    known = [np.arange(len(t)) if g is None else g for t, g in zip(tables, found, strict=True)]
    ends = np.cumsum([0, *(int(groups.max(initial=-1)) + 1 for groups in known)])
    return np.concatenate([groups + first for groups, first in zip(known, ends[:-1], strict=True)])


def column_groups(table: ImageTable, column: str) -> np.ndarray:
    """Return the groups of a column, (N,) int64; UserError with the nearest name where the table lacks it."""
    if column not in table.columns:
        where = f"columns of {table.name}; others come from {GROUP_FILE}, look-alike or a pattern such as (patient\\d+)"
        raise unknown_name("column", column, table.columns, where)
    return numbered(_filled(table, [column, *(["image"] if "image" in table.columns else [])]))


def pattern_groups(table: ImageTable, pattern: str) -> np.ndarray:
    r"""Return the groups that a regular expression finds in paths below the table's folder, (N,) int64.

    What the first parenthesis matches is the name: `SOB_[BM]_[^-]*-(\d+-[^-]*)-` a patient of BreakHis. UserError for
    a pattern that is none, has no parenthesis, or does not match some path.
    """
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.groups={pattern} is no regular expression ({error}); mend it") from None
    if found.groups < 1:
        raise UserError(f"data.groups={pattern} has no parenthesis around what names a group; add one")
    names = []
    for path in table.paths:
        match = found.search(_below(path, table.root))
        if match is None or match[1] is None:
            raise UserError(f"data.groups={pattern} does not match {path}; give a pattern that matches every path")
        names.append(match[1])
    return numbered(names)


def with_file(table: ImageTable) -> ImageTable:
    """Return the table with the columns of `groups.csv` in its folder, where there is one; others keep theirs.

    UserError for a file that is no table, without `path`, that lacks images of the folder or gives one two groups, and
    for one in a folder below, where nobody would read it.
    """
    if table.root is None:
        return table
    path = Path(table.root) / GROUP_FILE
    if not path.is_file():
        _refuse_below(table, table.root)
        return table
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:  # spreadsheets put a mark before the first name
            names, *rows = [[cell.strip() for cell in row] for row in csv.reader(stream) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); save it as CSV in UTF-8") from None
    if "path" not in names or len(names) < 2:
        raise UserError(f"{path} needs a column 'path' and one for each kind of group, such as 'patient'; add them")
    known: dict[str, dict[str, str]] = {}
    for cells in rows:
        row = dict(zip(names, cells, strict=False))
        place = row.pop("path", "").replace("\\", "/").removeprefix("./")
        if known.setdefault(place, row) != row:
            raise UserError(f"{path} names {place} twice, with different groups; keep one of its lines")
    own = [known.get(_below(name, table.root)) for name in table.paths]
    if None in own:
        raise UserError(f"{path} does not name {table.paths[own.index(None)]}; add its line")
    columns = {name: np.array([(row or {}).get(name, "") for row in own]) for name in names if name != "path"}
    return replace(table, columns={**table.columns, **columns})


def held_out_groups(labels: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return the rows (M,) int64, ascending, of whole groups that hold about that share of the images of every class.

    labels: (N,), −1 where an image has none: such rows follow their group; groups: (N,) int64. Groups are asked one
    after another, in an order that depends on `seed` alone, and are taken if that brings the classes' shares closer to
    what is wanted, in the sum of squares. Every class keeps a group; one of two or more groups gives at least one, its
    smallest where all are large, if that leaves all the others theirs.
    """
    classes, numbers = np.unique(labels[labels >= 0]), np.unique(groups)
    counts = np.zeros((len(numbers), len(classes)), dtype=np.int64)
    place, column = np.searchsorted(numbers, groups), np.searchsorted(classes, labels)
    np.add.at(counts, (place[labels >= 0], column[labels >= 0]), 1)
    having = (counts > 0).sum(axis=0)  # groups of each class that are left
    wanted = np.maximum(share * counts.sum(axis=0), np.where(having > 1, 1.0, 0.0))
    scale = np.maximum(counts.sum(axis=0), 1)
    taken = np.zeros(len(numbers), dtype=bool)
    held = np.zeros(len(classes))
    order = hash_bits(seed, 0, torch.from_numpy(numbers), "held out groups", 1)[:, 0].argsort(stable=True).numpy()
    for group in order:
        own = counts[group]
        before, after = ((wanted - held) / scale) ** 2, ((wanted - held - own) / scale) ** 2
        if own.any() and (having[own > 0] > 1).all() and after.sum() < before.sum():
            taken[group] = True
            held += own
            having = having - (own > 0)
    for number in np.flatnonzero(held == 0):  # all groups of the class are so large that none is closer to the share
        able = [g for g in order if counts[g, number] and (having[counts[g] > 0] > 1).all()]
        if able and not held[number]:  # which a group taken for another class may have brought
            group = min(able, key=lambda g: counts[g].sum())
            taken[group] = True
            held += counts[group]
            having = having - (counts[group] > 0)
    return np.flatnonzero(taken[place]).astype(np.int64)


def _refuse_below(table: ImageTable, root: Path) -> None:
    """Refuse a table of groups in a folder between `root` and its images."""
    folders = {Path(folder) for folder in {path.rpartition(os.sep)[0] for path in table.paths}}
    for folder in sorted({above for own in folders for above in (own, *own.parents) if root in above.parents}):
        if (folder / GROUP_FILE).is_file():
            raise UserError(
                f"{folder / GROUP_FILE} is not read there; write one {root / GROUP_FILE} whose paths begin below "
                f"{root}, or name that folder itself as data"
            )


def _below(path: str, root: Path | None) -> str:
    """Return a path below the table's folder with forward slashes; as it is where it lies elsewhere."""
    try:
        return Path(path).relative_to(root).as_posix() if root is not None else path
    except ValueError:
        return path
