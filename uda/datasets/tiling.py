"""Large images cut into tiles, background left out: a slide's scan, a film, or one image alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from uda.datasets.cache import Unreadable, check_unreadable
from uda.datasets.decode import UnreadableImage, decode
from uda.datasets.packed import PackedImages, cpu_count
from uda.datasets.packing import Runner
from uda.datasets.table import ImageTable
from uda.errors import UserError

GLASS, DARK = 220, 15
"""Gray levels from which on a pixel is glass (by its luma), and up to which it is dark (in every channel)."""

_MOST_BYTES = 8 << 30
_ROWS = 256


@dataclass(frozen=True)
class Cutting:
    """How images are cut.

    size: pixels of a tile's side; step: pixels from one tile to the next; background: the largest share of background
    in a tile that is kept.
    """

    size: int
    step: int
    background: float


def background(image: np.ndarray) -> np.ndarray:
    """Return which pixels show nothing, (H, W) bool, of (H, W, 3) uint8: glass, or the dark around a film.

    Glass has a luma (ITU-R BT.601) of `GLASS` or more, dark is at most `DARK` in every channel.
    """
    empty = np.empty(image.shape[:2], dtype=bool)
    for top in range(0, len(image), _ROWS):  # in floats the whole of a slide would be four times as large
        part = image[top : top + _ROWS]
        bright = part @ np.array([0.299, 0.587, 0.114], dtype=np.float32) >= GLASS
        empty[top : top + _ROWS] = bright | (part.max(axis=2) <= DARK)
    return empty


def tile_corners(height: int, width: int, size: int, step: int) -> np.ndarray:
    """Return the top left corners (T, 2) of all whole tiles, row by row, the lattice centered in the image."""
    lines = []
    for side in (height, width):
        count = (side - size) // step + 1 if side >= size else 0
        first = (side - size - (count - 1) * step) // 2
        lines.append(first + step * np.arange(count))
    return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)


def cut_tiles(image: np.ndarray, cutting: Cutting) -> tuple[np.ndarray, np.ndarray]:
    """Return the tiles of (H, W, 3) uint8 that show something, (T, size, size, 3), and their corners (T, 2)."""
    corners = tile_corners(image.shape[0], image.shape[1], cutting.size, cutting.step)
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1), dtype=np.int32)  # of at most 180 million pixels
    background(image).cumsum(0, dtype=np.int32, out=sums[1:, 1:])
    sums.cumsum(1, out=sums)
    (top, left), size = corners.T, cutting.size
    empty = sums[top + size, left + size] - sums[top, left + size] - sums[top + size, left] + sums[top, left]
    corners = corners[empty <= cutting.background * size * size]
    tiles = [image[y : y + size, x : x + size] for y, x in corners]
    return np.stack(tiles) if tiles else np.empty((0, size, size, 3), np.uint8), corners


def tiled(
    table: ImageTable, cutting: Cutting, strict: bool = False, progress: bool = True
) -> tuple[PackedImages, ImageTable, list[Unreadable]]:
    """Return the tiles of a table's images, the table of the tiles, and the images that gave none, with the reason.

    A tile has its image's label and columns, and the column `image`; its path is the image's with the corner's row and
    column behind it. UserError where no image gives a tile, with `strict` where one gives none, or where the tiles
    would take more memory than 8 GiB.
    """
    if table.pixels is not None:
        raise UserError(f"{table.name} holds small pictures that are not cut into tiles; leave data.tiles out")
    stacks, rows, paths = [], [], []
    lost: list[Unreadable] = []
    taken = 0
    for row, found in enumerate(_cut_all(table.paths, cutting, progress)):
        if isinstance(found, str):
            lost.append(Unreadable(table.paths[row], found))
            continue
        tiles, corners = found
        taken += tiles.nbytes
        if taken > _MOST_BYTES:
            raise UserError(
                f"the tiles of {table.name} take more than 8 GiB; raise data.tile_step, or give fewer images"
            )
        stacks.append(tiles)
        rows.append(np.full(len(tiles), row))
        paths += [f"{table.paths[row]}@{top},{left}" for top, left in corners]
    check_unreadable(table.name, len(table), lost, strict)
    every = np.concatenate(rows)
    columns = {name: values[every] for name, values in table.columns.items()}
    columns["image"] = np.array(table.paths)[every]
    name = f"{table.name}, tiles of {cutting.size} pixels"
    made = ImageTable(name, tuple(paths), table.labels[every], table.classes, None, table.root, columns)
    return PackedImages.from_tensor(torch.from_numpy(np.concatenate(stacks)).permute(0, 3, 1, 2)), made, lost


def _cut_all(paths: tuple[str, ...], cutting: Cutting, progress: bool) -> Iterator[tuple[np.ndarray, np.ndarray] | str]:
    """Yield each file's tiles and corners, or why it gives none."""

    def load(path: str) -> tuple[np.ndarray, np.ndarray] | str:
        try:
            image = decode(path)
        except UnreadableImage as error:
            return error.reason
        if min(image.shape[:2]) < cutting.size:
            return f"{image.shape[1]} x {image.shape[0]} pixels are less than a tile of {cutting.size}"
        tiles, corners = cut_tiles(image, cutting)
        return (tiles, corners) if len(tiles) else "nothing but background"

    # Few at a time: what is decoded may be a hundred megapixels each.
    yield from Runner(min(4, cpu_count()), progress).map(load, paths, "cutting")
