"""Freed memory on a CPU is kept for the next step, not given back to the system and cleared again."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Names and numbers of glibc's malloc.h; the two sizes are those up to which glibc adapts its own thresholds.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_LARGEST_THRESHOLD = 32 * 2**20
_MAPPINGS = 65536


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Keep what tensors on a CPU free for the next ones; afterwards the process gives it back.

    glibc returns large blocks to the system at once, which clears and maps every page of the next one anew, and a step
    asks for the same activations again and again. Other C libraries, and GPUs, are left as they are.
    """
    kept = device.type == "cpu"
    if kept:
        keep_freed_memory()
    try:
        yield
    finally:
        if kept:
            give_back_freed_memory()


def keep_freed_memory() -> None:
    """Have glibc keep freed memory from now on, however large the block."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)


def give_back_freed_memory() -> None:
    """Give freed memory back to the system, now and from now on, as glibc does once it has adapted to large blocks."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_MAX, _MAPPINGS)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
