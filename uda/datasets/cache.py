"""The packed cache: every image of a table decoded once, into one memory-mapped file.

Below the cache folder, `files/` remembers the SHA-256 of files whose path, size and modification time are unchanged,
and `packs/` holds the decoded images under a key of those hashes. So a data set that was moved or touched is read once
to hash it, but not decoded again, and of a data set in which some files changed only those are decoded.
Everything is written under a temporary name and published by one rename. The folder may be deleted at any time.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL

from uda.datasets import store
from uda.datasets.packed import PackedImages, SquareImages, cpu_count
from uda.datasets.packing import Job, Runner, decode_all, estimate_bytes
from uda.datasets.store import Pack
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.wording import counted

__all__ = ["PackedImages", "SquareImages", "Unreadable", "default_cache_dir", "pack"]

_FORMAT = 2  # to be raised when decoding or the layout on disk changes
_JPEG_SHARE = 5  # at this quality photographs of 256 px take a twelfth of their raw bytes; said with room to spare
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Unreadable:
    """An image file that was left out, and why."""

    path: str
    reason: str


def default_cache_dir() -> Path:
    """Return `UDA_CACHE`, else `XDG_CACHE_HOME/uda`, else `~/.cache/uda`."""
    if named := os.environ.get("UDA_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "uda"


def pack(
    table: ImageTable,
    size: int,
    cache_dir: Path | None = None,
    budget_bytes: int = 8 << 30,
    strict: bool = False,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[PackedImages, ImageTable, list[Unreadable]]:
    """Return a table's images decoded, shorter side ≤ `size`, the table without the unreadable ones, and those.

    The result is kept in `cache_dir` (default_cache_dir() if None). Where that cannot be written, a warning says so and
    the images stay in memory for this run. A table with `pixels` is wrapped as it is and never written.
    Where the raw pixels would take more than `budget_bytes` (estimated from the headers of up to 2,048 files), JPEG of
    quality 95 is kept instead and decoded on use; a raw pack that is there already is used whatever the budget.

    Raises UserError if no image is readable, if `strict` and any is not, or if the disk is full.
    """
    if len(table) == 0:
        raise UserError(f"'{table.name}' has no images: check the folder")
    if size < 1:
        raise UserError(f"the image size is {size}: give at least 1")
    if table.pixels is not None:
        return PackedImages.from_tensor(table.pixels), table, []
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    files = [os.path.abspath(path) for path in table.paths]  # noqa: PTH100 - Path.absolute() keeps "a/../b"
    runner = Runner(workers or min(16, cpu_count()), progress)
    hashes, missing = _hashes(files, cache, runner)
    found = _find(cache, size, hashes, budget_bytes)
    if found is None:
        found = _make(_job(files, hashes, missing, size, budget_bytes), cache, runner)
    reasons = {**found.reasons, **missing}
    unreadable = [Unreadable(table.paths[row], reasons[row]) for row in sorted(reasons)]
    check_unreadable(table.name, len(table), unreadable, strict)
    return found.images, table.select(found.rows) if unreadable else table, unreadable


def check_unreadable(name: str, count: int, unreadable: Sequence[Unreadable], strict: bool) -> None:
    """Raise UserError where none of `count` images is readable, or where `strict` and any is not."""
    if len(unreadable) == count:
        first = f"{unreadable[0].path} ({unreadable[0].reason})"
        raise UserError(f"none of the {counted(count, 'image')} of '{name}' can be read: check them, first {first}")
    if strict and unreadable:
        shown = ", ".join(f"{image.path} ({image.reason})" for image in unreadable[:3])
        raise UserError(
            f"{len(unreadable)} of the {counted(count, 'image')} of '{name}' cannot be read: "
            f"repair or remove them, or leave out --strict to go on without them; first {shown}"
        )


def _hashes(files: list[str], cache: Path, runner: Runner) -> tuple[np.ndarray, dict[int, str]]:
    """Return the SHA-256 of each file, (N, 32) uint8, and the reasons for those that cannot be opened (all zero)."""
    record = cache / "files" / f"{_stat_key(files)}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        hashes = np.load(record, allow_pickle=False)
        if hashes.shape == (len(files), 32) and hashes.dtype == np.uint8:
            return hashes, {}
    hashes = np.zeros((len(files), 32), dtype=np.uint8)
    missing: dict[int, str] = {}
    for row, result in enumerate(runner.map(_hash_file, files, "hashing")):
        if isinstance(result, bytes):
            hashes[row] = np.frombuffer(result, dtype=np.uint8)
        else:
            missing[row] = result
    if not missing:  # what keeps a file from being opened (permissions) may change without a trace in its stat
        with contextlib.suppress(OSError):  # costs no more than hashing again
            store.write_array(record, hashes)
    return hashes, missing


def _hash_file(path: str) -> bytes | str:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - Path is slower, and there are a million files
            return hashlib.file_digest(stream, "sha256").digest()
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return error.strerror or type(error).__name__


def _stat_key(files: list[str]) -> str:
    key = hashlib.sha256()
    for path in files:
        size, changed = -1, -1
        with contextlib.suppress(OSError):
            stat = os.stat(path)  # noqa: PTH116 - as above
            size, changed = stat.st_size, stat.st_mtime_ns
        key.update(os.fsencode(path) + f"\0{size}\0{changed}\n".encode())
    return key.hexdigest()[:40]


def _settings(size: int, encoding: str) -> dict[str, object]:
    return {"format": _FORMAT, "pillow": PIL.__version__, "size": size, "encoding": encoding}


def _folder(cache: Path, size: int, encoding: str, hashes: np.ndarray) -> Path:
    key = hashlib.sha256(json.dumps(_settings(size, encoding)).encode() + hashes.tobytes()).hexdigest()[:40]
    return cache / "packs" / f"{encoding}-{key}"


def _find(cache: Path, size: int, hashes: np.ndarray, budget: int) -> Pack | None:
    """Return the pack that is there already; one in JPEG only if raw pixels would still not fit the budget."""
    raw = store.open_pack(_folder(cache, size, "raw", hashes))
    if raw is not None:
        return raw
    jpeg = store.open_pack(_folder(cache, size, "jpeg", hashes))
    return jpeg if jpeg is not None and jpeg.estimated > budget else None


def _job(files: list[str], hashes: np.ndarray, missing: dict[int, str], size: int, budget: int) -> Job:
    estimated = estimate_bytes(files, size)
    encoding = "raw" if estimated <= budget else "jpeg"
    rows = [row for row in range(len(files)) if row not in missing]
    return Job(files, hashes, rows, size, encoding, _settings(size, encoding), estimated)


def _make(job: Job, cache: Path, runner: Runner) -> Pack:
    """Decode the files into a new pack and publish it; in memory where the cache folder cannot be written."""
    needed = job.estimated if job.encoding == "raw" else job.estimated // _JPEG_SHARE
    full = UserError(
        f"the disk of the image cache {cache} is full, about {needed / 2**20:,.0f} MiB are needed there: "
        f"free some space or name a folder on another disk in the environment variable UDA_CACHE"
    )
    try:
        folder = store.new_folder(cache / "packs")
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise full from None
        warnings.warn(
            f"the image cache {cache} cannot be written ({error.strerror}), so images stay in memory and the next run "
            f"decodes them again: name a folder in the environment variable UDA_CACHE",
            stacklevel=3,
        )
        return _make_in_memory(job, runner)
    final = _folder(cache, job.size, job.encoding, job.hashes)
    try:
        if shutil.disk_usage(folder).free < needed:
            raise full
        made = _write(folder, job, cache, runner)
        if len(made.rows) == 0:
            return made
        store.publish(folder, final)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise full from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # nothing is there once it has been published
    published = store.open_pack(final)
    if published is None:
        raise OSError(f"{final} was removed or damaged while it was being written")
    return published


def _make_in_memory(job: Job, runner: Runner) -> Pack:
    memory = io.BytesIO()
    pack = decode_all(memory, job, {}, runner)
    data = np.frombuffer(memory.getbuffer(), dtype=np.uint8)
    return replace(pack, images=replace(pack.images, data=data))


def _write(folder: Path, job: Job, cache: Path, runner: Runner) -> Pack:
    """Decode into a temporary folder; images that another pack holds are copied."""
    wanted = (job.hashes[row].tobytes() for row in job.rows)
    known = store.known_images(cache / "packs", job.settings, wanted)
    with (folder / store.PIXELS).open("wb") as stream:
        pack = decode_all(stream, job, known, runner)
        stream.flush()
        os.fsync(stream.fileno())  # after a power cut a rename may otherwise be there before the pixels
    store.write_index(folder, pack)
    return pack
