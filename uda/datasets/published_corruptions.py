"""The corrupted test sets as they were published: CIFAR-10-C and CIFAR-100-C arrays, ImageNet-C folders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda.datasets.corruptions import NAMES, SEVERITIES
from uda.datasets.decode import UnreadableImage, decode
from uda.datasets.tree import IMAGE_SUFFIXES, natural_key
from uda.errors import UserError, unknown_name

_LAYOUTS = "labels.npy beside <corruption>.npy, or folders <corruption>/<severity>/<class>"


@dataclass(frozen=True)
class PublishedPart:
    """One corruption at one severity: labels (N,) int64, and images that are read when they are asked for.

    read: from rows (B,) to (B, 3, H, W) uint8; UserError for a file that cannot be read. classes: the names of the
    labels where they come as folders, else None.
    """

    name: str
    severity: int
    labels: np.ndarray
    read: Callable[[np.ndarray], Tensor]
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return batches of up to `size` images (B, 3, H, W) uint8 and labels (B,) int64, in the published order."""
        for first in range(0, len(self), size):
            rows = np.arange(first, min(first + size, len(self)))
            yield self.read(rows), torch.from_numpy(self.labels[rows])


def published_corruptions(folder: str | Path, names: Sequence[str] | None = None) -> Iterator[PublishedPart]:
    """Return the parts of a published set one by one, by corruption in the order of NAMES and by severity.

    Arrays: `<corruption>.npy` of (5·N, H, W, 3) uint8, severity by severity, and `labels.npy` of (5·N,); they are
    mapped, not loaded. Folders: `<corruption>/<severity>/<class>/<image>`, classes numbered alphabetically.
    names: which corruptions, default all that are there. Raises UserError for what is missing or odd; an array or a
    folder is looked at when its turn comes.
    """
    root = Path(folder)
    as_arrays = (root / "labels.npy").is_file()
    there = [name for name in NAMES if (root / f"{name}.npy" if as_arrays else root / name).exists()]
    if not there:
        raise UserError(f"'{folder}' holds no published corruptions: it should have {_LAYOUTS}")
    for name in names or ():
        if name not in NAMES:
            raise unknown_name("corruption", name, NAMES, "uda.datasets.corruptions.NAMES")
        if name not in there:
            raise UserError(f"'{folder}' has no {name}: it holds {', '.join(there)}; download the rest or leave it out")
    return _parts(root, [name for name in there if names is None or name in names], as_arrays)


def _parts(root: Path, names: list[str], as_arrays: bool) -> Iterator[PublishedPart]:
    labels = _array(root / "labels.npy") if as_arrays else None
    for name in names:
        yield from _from_folders(root / name) if labels is None else _from_array(root / f"{name}.npy", labels)


def _from_array(path: Path, labels: np.ndarray) -> Iterator[PublishedPart]:
    images = _array(path)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise UserError(
            f"{path} is {images.dtype} {images.shape}: it should be uint8 (5·N, H, W, 3); download it again"
        )
    if labels.ndim != 1 or len(labels) != len(images) or labels.dtype.kind not in "iu":
        where = path.parent / "labels.npy"
        raise UserError(f"{where} is {labels.dtype} {labels.shape}: {path.name} needs {len(images)} whole numbers")
    n, rest = divmod(len(images), len(SEVERITIES))
    if rest or not n:
        raise UserError(f"{path} has {len(images)} images: it should have as many of each of 5 severities")
    for severity in SEVERITIES:
        rows = slice((severity - 1) * n, severity * n)
        yield PublishedPart(path.stem, severity, labels[rows].astype(np.int64), _reader(images[rows]))


def _reader(images: np.ndarray) -> Callable[[np.ndarray], Tensor]:
    return lambda rows: torch.from_numpy(images[rows]).permute(0, 3, 1, 2).contiguous()


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as an array: {' '.join(str(error).split())}; download it again"
        ) from None


def _from_folders(path: Path) -> Iterator[PublishedPart]:
    classes: list[str] | None = None
    for severity in SEVERITIES:
        folder = path / str(severity)
        found = _listed(folder, Path.is_dir) if folder.is_dir() else []
        if not found:
            raise UserError(f"{folder} has no class folders: it should hold {path.name}/{severity}/<class>/<image>")
        if classes is not None and found != classes:
            odd = min(set(found) ^ set(classes))
            raise UserError(f"{path}: not all severities have the class '{odd}'; unpack the archive again")
        classes = found
        files = [[folder / name / file for file in _listed(folder / name, _is_image)] for name in classes]
        empty = [name for name, images in zip(classes, files, strict=True) if not images]
        if empty:
            raise UserError(f"{folder / empty[0]} has no images: unpack the archive again or remove the folder")
        labels = np.repeat(np.arange(len(classes)), [len(images) for images in files])
        read = _decoder([file for images in files for file in images])
        yield PublishedPart(path.name, severity, labels, read, tuple(classes))


def _listed(folder: Path, kept: Callable[[Path], bool]) -> list[str]:
    return sorted((path.name for path in folder.iterdir() if kept(path)), key=natural_key)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _decoder(files: list[Path]) -> Callable[[np.ndarray], Tensor]:
    def read(rows: np.ndarray) -> Tensor:
        try:
            images = [decode(files[row]) for row in rows]
        except UnreadableImage as error:
            raise UserError(f"{error}; unpack the archive again") from None
        for row, image in zip(rows, images, strict=True):
            if image.shape != images[0].shape:
                sizes = " and ".join(f"{shape[0]} x {shape[1]}" for shape in (images[0].shape, image.shape))
                raise UserError(f"{files[row]}: images of {sizes} pixels in one set; give all the same size")
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    return read
