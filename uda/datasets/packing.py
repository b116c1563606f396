"""Decoding many files, in threads, into one stream of bytes with an index."""

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from uda.datasets.decode import UnreadableImage, decode, shrink, size_at
from uda.datasets.packed import PackedImages
from uda.datasets.store import Pack

_JPEG_QUALITY = 95
_JPEG_LONGEST = 65_500
_SAMPLED = 2048  # files whose headers are read to estimate the packed bytes

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Runner:
    """Maps a function over items in threads, in order and with few results waiting."""

    workers: int
    progress: bool

    def map(self, work: Callable[[T], R], items: Sequence[T], doing: str) -> Iterator[R]:
        """Yield work(item) for each item; `doing` names the progress bar, which short work never shows."""
        waiting: deque[Future[R]] = deque()
        pool = ThreadPoolExecutor(self.workers)
        try:
            with tqdm(
                total=len(items), desc=doing, unit="image", disable=not self.progress, leave=False, delay=1.0
            ) as bar:
                for item in items:
                    waiting.append(pool.submit(work, item))
                    if len(waiting) > 4 * self.workers:
                        yield waiting.popleft().result()
                        bar.update()
                while waiting:
                    yield waiting.popleft().result()
                    bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Job:
    """What to decode: the files of `rows`, and how to keep them."""

    files: list[str]
    hashes: np.ndarray
    rows: list[int]
    size: int
    encoding: str
    settings: dict[str, object]
    estimated: int


def decode_all(stream: BinaryIO, job: Job, known: dict[bytes, tuple[Pack, int]], runner: Runner) -> Pack:
    """Append the images to a stream; the pack that is returned has its index but no `data` yet."""

    def load(row: int) -> tuple[bytes, tuple[int, int]] | str:
        if (place := known.get(job.hashes[row].tobytes())) is not None:
            other, i = place
            return other.images.blob(i).tobytes(), (int(other.images.sizes[i, 0]), int(other.images.sizes[i, 1]))
        try:
            return _encoded(job.files[row], job.size, job.encoding)
        except UnreadableImage as error:
            return error.reason

    rows, lengths, sizes = [], [], []
    reasons: dict[int, str] = {}
    for row, result in zip(job.rows, runner.map(load, job.rows, "decoding"), strict=True):
        if isinstance(result, str):
            reasons[row] = result
            continue
        blob, shape = result
        stream.write(blob)
        rows.append(row)
        lengths.append(len(blob))
        sizes.append(shape)
    length = np.array(lengths, dtype=np.int64)
    images = PackedImages(
        data=np.zeros(0, dtype=np.uint8),
        offset=np.cumsum(length) - length,
        length=length,
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        hashes=job.hashes[rows],
        encoding=job.encoding,
    )
    return Pack(images, np.array(rows, dtype=np.int64), reasons, job.settings, job.estimated)


def decoded(files: Sequence[str], size: int, runner: Runner, doing: str) -> Iterator[np.ndarray | str]:
    """Yield each file's image, (h, w, 3) uint8 with its shorter side at most `size`, or why it cannot be read."""

    def load(path: str) -> np.ndarray | str:
        try:
            return shrink(decode(path, size), size)
        except UnreadableImage as error:
            return error.reason

    return runner.map(load, files, doing)


def _encoded(path: str, size: int, encoding: str) -> tuple[bytes, tuple[int, int]]:
    image = shrink(decode(path, size), size)
    height, width = image.shape[:2]
    if encoding == "raw":
        return image.tobytes(), (height, width)
    if max(height, width) > _JPEG_LONGEST:
        raise UnreadableImage(path, f"{width} x {height} pixels are too elongated to be kept as JPEG")
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue(), (height, width)


def estimate_bytes(files: list[str], size: int) -> int:
    """Return about how many bytes raw pixels will take, from the headers of evenly spaced files."""
    picked = np.unique(np.linspace(0, len(files) - 1, _SAMPLED).round().astype(int))
    sampled = []
    for i in picked:
        with contextlib.suppress(Exception), Image.open(files[i]) as image:  # what is unreadable is found out later
            height, width = image.height, image.width
            if min(height, width) > size:
                height, width = size_at(height, width, size)
            sampled.append(3 * height * width)
    return int(np.mean(sampled) * len(files)) if sampled else 0
