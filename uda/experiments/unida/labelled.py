"""A few target images that training may see with their labels: only where the recipe says so."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from uda.datasets.folders import read_folder, summary
from uda.datasets.labelsets import LabelSets, present_classes
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.random import hash_bits
from uda.sections import PairRecipe
from uda.wording import counted


def fewer_than_asked(labelled: ImageTable, shared: tuple[str, ...], each: int) -> tuple[str, ...]:
    """Return a warning of the shared classes that gave fewer labelled images than data.target_labels asks for."""
    counts = labelled.counts()
    fewer = [f"{name} ({counts[name]} used)" for name in shared if counts[name] < each]
    if not fewer:
        return ()
    named = ", ".join(fewer[:10]) + (", …" if len(fewer) > 10 else "")
    return (
        f"data.target_labels={each} is more than the target has to give of {named}: one image of each class stays "
        f"behind to measure with, and {len(labelled)} are used in all",
    )


def set_apart(
    target: ImageTable, sets: LabelSets, recipe: PairRecipe
) -> tuple[ImageTable | None, ImageTable, tuple[str, ...]]:
    """Return the labelled target images (None where none are to be used), the rest of the target, and what to print.

    target: numbered for the classifier, the K source classes first. The labelled images, and copies of them, leave the
    target: whatever was learned from is in no figure. Raises UserError where the recipe asks for labels that there are
    not, or for classes that the source does not have.
    """
    if recipe.target_labels and recipe.labelled_target:
        raise UserError(
            "data.target_labels and data.labelled_target are both given: take labels from the target's class folders "
            "or from a folder of their own, and set the other to 0 or null"
        )
    if recipe.target_labels:
        rows = drawn(target, len(sets.source), recipe.target_labels)
        labelled = replace(target.select(rows), name=f"{target.name} (labelled)")
        target = target.select(np.setdiff1d(np.arange(len(target)), rows))
    elif recipe.labelled_target:
        labelled = from_folder(recipe.labelled_target, sets)
    else:
        return None, target, ()
    same = copies(target.paths, labelled.paths)
    target = target.select(np.setdiff1d(np.arange(len(target)), same))
    if len(target) == 0:
        raise UserError(
            f"every image of the target is among the labelled ones of {labelled.name}, so none is left to adapt to: "
            "give a target with other images"
        )
    described = summary(labelled.relabel(present_classes(labelled)))
    line = f"labelled target images, learned from and in no figure: {described}"
    are = "is a copy of one and is" if len(same) == 1 else "are copies of them and are"
    left_out = f"{counted(len(same), 'target image')} {are} left out"
    return labelled.relabel(sets.source), target, (line, left_out) if len(same) else (line,)


def drawn(target: ImageTable, n_known: int, each: int) -> np.ndarray:
    """Return rows (M,) of `each` images of every known class, at random but always the same ones, ascending.

    One image of each class stays behind, for its accuracy to be measured with. Seeds share the draw, so that all of
    them are tested on the same images.
    """
    if not (target.labels >= 0).any():
        raise UserError(
            f"data.target_labels={each} needs class folders in the target, and {target.name} has none: put labelled "
            "images into a folder of class folders and name it in data.labelled_target, or set data.target_labels=0"
        )
    known = np.flatnonzero((target.labels >= 0) & (target.labels < n_known))
    draw = hash_bits(0, 0, torch.from_numpy(known), "labelled target", 1)[:, 0].numpy()
    order = known[np.lexsort((draw, target.labels[known]))]
    _, first, count = np.unique(target.labels[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, count)
    rows = np.sort(order[rank < np.minimum(each, np.repeat(count, count) - 1)])
    if not len(rows):
        raise UserError(
            f"data.target_labels={each}: no class that {target.name} shares with the source has a second image, "
            "which is needed to measure with; set it to 0"
        )
    return rows


def from_folder(path: str, sets: LabelSets) -> ImageTable:
    """Return the images of a folder of class folders; UserError where it has none, or classes not the source's."""
    folder = read_folder(path)
    if folder.domains or not folder.table().labelled:
        what = "domains above classes" if folder.domains else "images without a class folder"
        raise UserError(
            f"data.labelled_target={path} holds {what}: give a folder that has one folder of images for each class"
        )
    table = folder.table()
    strange = [name for name in present_classes(table) if name not in sets.source]
    if strange:
        raise UserError(
            f"data.labelled_target={path} has a class '{strange[0]}', which the source does not have "
            f"({', '.join(sets.source[:10])}{', …' if len(sets.source) > 10 else ''}): "
            "rename or remove that folder, or give the source images of it"
        )
    return replace(table, name=f"{table.name} (labelled)")


def copies(paths: tuple[str, ...], of: tuple[str, ...]) -> np.ndarray:
    """Return the rows of files that are the same as one of `of`, byte for byte; only files of equal size are read."""
    sizes = {_size(path) for path in of} - {None, 0}  # empty files are no images, and reported as such
    suspects = [row for row, path in enumerate(paths) if _size(path) in sizes]
    hashes = {_digest(path) for path in of} if suspects else set()
    return np.array([row for row in suspects if _digest(paths[row]) in hashes], dtype=np.int64)


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:  # pixels in memory, or a file that will be reported as unreadable
        return None


def _digest(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return path.encode(errors="surrogateescape")
