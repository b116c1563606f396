"""Images that a finished run is handed from Python or the command line: a folder, files, or pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda.datasets.table import ImageTable
from uda.datasets.tree import others_note, scan
from uda.errors import UserError


@dataclass(frozen=True)
class Given:
    """The images, listed without labels, and what their owner should know of files that are not among them."""

    table: ImageTable
    notes: tuple[str, ...] = ()


def given_images(images: "str | Path | Sequence[str | Path] | Tensor") -> Given:
    """Return the images of a folder, an image file, several of both, or a uint8 tensor (N, 3, H, W).

    UserError for anything else, and where there is no image.
    """
    if isinstance(images, Tensor):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise UserError(
                f"images are wanted as a uint8 tensor (N, 3, H, W), not {images.dtype} {tuple(images.shape)}; "
                "scale to 0 … 255 and convert"
            )
        if not len(images):
            raise UserError("the tensor given holds no images; give at least one")
        return Given(_table("the images given", [f"image-{number}" for number in range(len(images))], images))
    if isinstance(images, str | Path):
        files, notes = _files(Path(images))
        return Given(_table(str(images), files), notes)
    if not isinstance(images, Sequence) or not all(isinstance(entry, str | Path) for entry in images):
        kind = type(images).__name__
        raise UserError(
            f"a folder, image files or a uint8 tensor (N, 3, H, W) are wanted, not {kind}; give one of these"
        )
    if not images:
        raise UserError("the list given names no images; name at least one")
    found = [_files(Path(entry)) for entry in images]
    paths = [path for files, _ in found for path in files]
    return Given(_table("the images given", paths), tuple(note for _, notes in found for note in notes))


def _files(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """Return the image files of a folder, whatever its arrangement (labels are not looked at), or the one named."""
    path = path.expanduser()
    if path.is_file():
        return [str(path)], ()
    if not path.is_dir():
        raise UserError(
            f"there is no folder or file {path}: name a folder, all images of which are then taken, or an image"
        )
    tree = scan(path)
    files, note = tree.all_files(), others_note(tree)
    if not files:
        raise UserError(f"'{path}' holds no images; name a folder that does")
    return files, (f"{path}: {note}",) if note else ()


def _table(name: str, paths: Sequence[str], pixels: Tensor | None = None) -> ImageTable:
    return ImageTable(name, tuple(paths), np.full(len(paths), -1, dtype=np.int64), (), pixels)
