"""What all tests share: one thread, a cache of their own, and a pair of tiny domains."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache and data out of the tests, and figures independent of the number of cores."""
    torch = sys.modules.get("torch")  # where no test needs it, none shall wait for it
    if torch is not None:
        torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UDA_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two domains, `photo` and `sketch`: two shared classes and one private to each."""
    from tests.tiny import draw_classes

    root = tmp_path_factory.mktemp("domains")
    draw_classes(root / "photo", {"apple": 8, "bird": 8, "cat": 8})
    draw_classes(root / "sketch", {"apple": 6, "bird": 6, "dog": 6}, noise=60)
    return root
