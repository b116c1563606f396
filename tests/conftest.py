"""What all tests share: one thread, a cache of their own, and a pair of tiny domains."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a loaded machine is slow, not wrong
settings.load_profile("unhurried")


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
    """Return a folder with two domains, `photo` and `sketch`: two shared classes and one private to each.

    Two files of the sketches cannot be read.
    """
    from tests.tiny import draw_classes

    root = tmp_path_factory.mktemp("domains")
    draw_classes(root / "photo", {"apple": 8, "bird": 8, "cat": 8})
    draw_classes(root / "sketch", {"apple": 6, "bird": 6, "dog": 6}, noise=60)
    (root / "sketch" / "apple" / "broken.png").write_bytes(b"no image")
    (root / "sketch" / "dog" / "empty.png").touch()
    return root


class SmallDisk:
    """A file system of its own, of a size that can be changed."""

    def __init__(self, folder: Path):
        self.folder = folder

    def resize(self, size: int) -> None:
        """Give it that many bytes, in whole pages."""
        command = ["mount", "-o", f"remount,size={size // 4096 * 4}k", str(self.folder)]
        subprocess.run(command, capture_output=True, check=True)

    def fill(self) -> None:
        """Leave no free byte."""
        with contextlib.suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Return a file system of 400 KiB; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small file system")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def finished(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of a run of 12 steps, not to be written into; what it printed lies beside it."""
    from tests.tiny import adapt

    out = tmp_path_factory.mktemp("finished") / "run"
    with (out.parent / "printed.txt").open("w") as printed, contextlib.redirect_stdout(printed):
        assert adapt(domains, out, "training.checkpoint_every=4", steps=12) == 0
    return out


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command, expects status 2, and returns its one sentence."""

    from tests.tiny import command

    def run(*arguments: object) -> str:
        assert command(*arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.fixture
def ends(domains: Path) -> tuple[object, ...]:
    """Return the arguments that name the pair of `domains`."""
    return ("--source", domains / "photo", "--target", domains / "sketch")
