"""Decoded images of different sizes in one array of bytes, and the square ones that training draws from it."""

import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uda.datasets.decode import resize_planes, size_at
from uda.errors import UserError, unknown_name

_FITS = ("squash", "crop")
_THREADED_FROM = 32  # below this many images starting threads costs more than it saves


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class PackedImages:
    """N images of different sizes, one behind the other.

    data:     (bytes,) uint8, memory-mapped or in memory.
    offset:   (N,) int64, where each image begins in `data`; length: (N,) int64, its bytes.
    sizes:    (N, 2) int64, height and width.
    hashes:   (N, 32) uint8, SHA-256 of each image's source (its file, or its pixels).
    encoding: "raw" for (h, w, 3) uint8, "jpeg" for JPEG files.
    """

    data: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    sizes: np.ndarray
    hashes: np.ndarray
    encoding: str = "raw"

    @classmethod
    def from_tensor(cls, pixels: Tensor) -> "PackedImages":
        """Wrap (N, 3, H, W) uint8 images that are in memory already."""
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.dtype != torch.uint8:
            shape = tuple(pixels.shape)
            raise UserError(f"images are {pixels.dtype} of shape {shape}: give uint8 of shape (N, 3, H, W)")
        images = pixels.cpu().permute(0, 2, 3, 1).contiguous().numpy()
        n, height, width, _ = images.shape
        digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
        return cls(
            data=images.reshape(-1),
            offset=np.arange(n, dtype=np.int64) * (height * width * 3),
            length=np.full(n, height * width * 3, dtype=np.int64),
            sizes=np.tile(np.array([[height, width]], dtype=np.int64), (n, 1)),
            hashes=np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(n, 32),
        )

    @classmethod
    def from_arrays(cls, images: list[np.ndarray]) -> "PackedImages":
        """Pack (h, w, 3) uint8 images that are used once: their sources' hashes are not known, and all zero."""
        length = np.array([image.size for image in images], dtype=np.int64)
        return cls(
            data=np.concatenate([image.reshape(-1) for image in images]),
            offset=np.cumsum(length) - length,
            length=length,
            sizes=np.array([image.shape[:2] for image in images], dtype=np.int64),
            hashes=np.zeros((len(images), 32), dtype=np.uint8),
        )

    def __len__(self) -> int:
        return len(self.offset)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the sources' hashes in order: another content or another order gives another one."""
        return hashlib.sha256(np.ascontiguousarray(self.hashes).tobytes()).hexdigest()

    def select(self, rows: np.ndarray) -> "PackedImages":
        """Return the given rows, in that order, over the same bytes."""
        rows = np.asarray(rows, dtype=np.int64)
        names = ("offset", "length", "sizes", "hashes")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def blob(self, row: int) -> np.ndarray:
        """Return an image's bytes as they are stored, a view."""
        return self.data[self.offset[row] : self.offset[row] + self.length[row]]

    def image(self, row: int) -> np.ndarray:
        """Return one image, (h, w, 3) uint8; do not write to it."""
        image = self._pixels(row).view()
        image.flags.writeable = False
        return image

    def square(self, rows: np.ndarray, size: int, fit: str = "squash") -> Tensor:
        """Return images as one tensor (B, 3, size, size) uint8, resized by antialiased bilinear interpolation.

        fit: "squash" ignores the aspect ratio; "crop" brings the shorter side to `size` and cuts out the center, as
        torchvision's `Resize` and `CenterCrop` do. Smaller images are enlarged.
        """
        if fit not in _FITS:
            raise unknown_name("fit", fit, _FITS, "how images are made square")
        rows = np.asarray(rows, dtype=np.int64)
        if self._side == size:  # nothing to resize: one gather
            each = 3 * size * size
            gathered = self.data.reshape(-1, each)[self.offset[rows] // each]
            return torch.from_numpy(gathered.reshape(-1, size, size, 3)).permute(0, 3, 1, 2).contiguous()
        squares = np.empty((len(rows), 3, size, size), dtype=np.uint8)
        make_square = _squash if fit == "squash" else _crop

        def fill(part: np.ndarray) -> None:
            for i in part:  # copied by numpy: torch would start its own threads from each of ours
                squares[i] = make_square(self._pixels(int(rows[i])), size).numpy()

        _in_threads(fill, len(rows))
        return torch.from_numpy(squares)

    def _pixels(self, row: int) -> np.ndarray:
        if self.encoding == "jpeg":
            return np.array(Image.open(io.BytesIO(self.blob(row).tobytes())))
        height, width = self.sizes[row]
        return self.blob(row).reshape(height, width, 3)

    @cached_property
    def _side(self) -> int:
        """The side of the images if all are raw squares of one size that lie on one grid of `data`, else 0."""
        if self.encoding != "raw" or len(self) == 0 or not (self.sizes == self.sizes[0, 0]).all():
            return 0
        each = 3 * int(self.sizes[0, 0]) ** 2
        on_grid = len(self.data) % each == 0 and not (self.offset % each).any()
        return int(self.sizes[0, 0]) if on_grid else 0


class SquareImages:
    """What training draws from: all images at (3, size, size) uint8.

    They are kept as one tensor (N, 3, size, size) on `device` if that is a GPU with twice their bytes free, else in
    main memory where they fit the budget (in bytes), and a step is one gather. They are resized when first drawn, so
    that a run starts at once and its first epoch pays; `fill` does it beforehand. Beyond the budget each batch is
    resized anew.
    Batches are on `device` in every case.
    """

    def __init__(
        self,
        packed: PackedImages,
        size: int,
        fit: str = "squash",
        memory_budget: int = 4 << 30,
        device: torch.device | str | None = None,
    ):
        self.packed, self.size, self.fit = packed, size, fit
        self.device = torch.device("cpu" if device is None else device)
        self._images: Tensor | None = None
        needed = len(packed) * 3 * size * size
        on_gpu = self.device.type == "cuda" and 2 * needed <= torch.cuda.mem_get_info(self.device)[0]
        if on_gpu or needed <= memory_budget:
            where = self.device if on_gpu else "cpu"
            self._images = torch.empty((len(packed), 3, size, size), dtype=torch.uint8, device=where)
        self._filled = np.zeros(len(packed), dtype=bool)
        self._complete = False

    def __len__(self) -> int:
        return len(self.packed)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return the images of the given rows, (B, 3, size, size) uint8, a copy."""
        rows = np.asarray(rows, dtype=np.int64)
        if self._images is None:
            return _sent(self.packed.square(rows, self.size, self.fit), self.device)
        if not self._complete:
            self._add(rows)
        # index_select: .4 ms for 64 images of 224 px on one thread, images[rows] 5.5 ms
        index = _sent(torch.from_numpy(rows), self._images.device)
        return _sent(self._images.index_select(0, index), self.device)

    def fill(self, chunk: int = 1024) -> None:
        """Resize all images that no batch has drawn yet (nothing to do where they are not kept)."""
        if self._images is not None:
            for start in range(0, len(self), chunk):
                self._add(np.arange(start, min(start + chunk, len(self))))

    def _add(self, rows: np.ndarray) -> None:
        assert self._images is not None
        missing = np.unique(rows[~self._filled[rows]])
        if len(missing):
            squares = self.packed.square(missing, self.size, self.fit)
            device = self._images.device
            self._images[_sent(torch.from_numpy(missing), device)] = _sent(squares, device)
            self._filled[missing] = True
            self._complete = bool(self._filled.all())


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on the device; a GPU reads it from pinned memory, for which nobody waits."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _squash(image: np.ndarray, size: int) -> Tensor:
    return resize_planes(image, size, size)


def _crop(image: np.ndarray, size: int) -> Tensor:
    planes = resize_planes(image, *size_at(image.shape[0], image.shape[1], size))
    # rounded half to even, as torchvision's center_crop does
    top, left = (round((side - size) / 2) for side in planes.shape[1:])
    return planes[:, top : top + size, left : left + size]


def _in_threads(work: Callable[[np.ndarray], None], n: int) -> None:
    """Run work(part) over parts of 0 … n−1; decoding and resizing let go of the interpreter lock."""
    threads = min(8, cpu_count())
    if n < _THREADED_FROM or threads == 1:
        work(np.arange(n))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, np.array_split(np.arange(n), threads)))
