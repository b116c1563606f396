import platform

import pytest
import torch

from uda.training.allocation import freed_memory_kept, give_back_freed_memory

resource = pytest.importorskip("resource")

SIZE = 100 * 2**20
PAGES = SIZE // 2**21 - 1  # at least: a system may map 2 MB at once, and the block need not begin where a page does
CPU = torch.device("cpu")

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def pages_mapped() -> int:
    """Return how many pages the system maps while 100 MB are asked for, written and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(SIZE, dtype=torch.uint8).fill_(1)
    after: int = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return after - before


@needs_glibc
def test_memory_that_was_freed_is_not_mapped_again() -> None:
    give_back_freed_memory()
    assert pages_mapped() >= PAGES
    with freed_memory_kept(CPU):  # a place for a block may be a little too small for the next at first
        assert min(pages_mapped() for _ in range(10)) < PAGES / 5


@needs_glibc
def test_memory_is_given_back_afterwards_also_after_an_error() -> None:
    with pytest.raises(ValueError, match="in the middle"), freed_memory_kept(CPU):
        raise ValueError("in the middle")
    assert min(pages_mapped() for _ in range(10)) >= PAGES


@needs_glibc
def test_a_gpus_process_is_left_as_it_is() -> None:
    give_back_freed_memory()
    with freed_memory_kept(torch.device("cuda")):
        assert min(pages_mapped() for _ in range(10)) >= PAGES
