"""Where a run computes and where it writes; results that are there already are never overwritten."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from uda.errors import UserError

_LONGEST = 200  # letters of a new folder's name
_OF_A_RUN = ("recipe.yaml", "metrics.json", "checkpoint")


def choose_device(name: str | None, deterministic: bool = False) -> torch.device:
    """Return the torch device; cuda where there is one unless told otherwise."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no GPU here; leave --device out to run on the CPU")
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def check_one_process() -> None:
    """Refuse the several processes of a launcher (torchrun, accelerate): all would train the same, into one folder."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            f"a run is one process on one device, and a launcher has started {os.environ['WORLD_SIZE']}; start it with "
            "`python run.py …`, and spread seeds over GPUs by CUDA_VISIBLE_DEVICES and --seeds"
        )


def progress_shown() -> bool:
    """Return whether bars are wanted: where the error stream is a terminal, or UDA_PROGRESS says so."""
    return sys.stderr.isatty() or bool(os.environ.get("UDA_PROGRESS"))


def new_folder(path: Path) -> Path:
    """Make a folder and return it: the path, or the first of path-2, path-3, … that does not exist.

    It is made at once, so that of two runs that begin together each has its own. Long names are cut.
    """
    path = path.with_name(path.name[:_LONGEST])
    candidates = [path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 10000))]
    path.parent.mkdir(parents=True, exist_ok=True)
    return next(candidate for candidate in candidates if _made(candidate))


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


@contextmanager
def kept_if_used(folder: Path, new: bool = True) -> Iterator[Path]:
    """Take a new folder away again where nothing was written into it, as by a run that was refused."""
    try:
        yield folder
    finally:
        if new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def check_out(out: Path, resume: bool = False) -> None:
    """Refuse an output folder that cannot be written, holds a run already, or with `resume` holds none."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"--out '{out}' cannot be a folder, for '{nearest}' is a file; give another --out")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"--out '{out}' cannot be written, '{nearest}' does not allow it; give another --out")
    if resume and not (out / "recipe.yaml").is_file():
        raise UserError(f"nothing to resume in '{out}': it holds no recipe.yaml; give the --out of the stopped run")
    if not resume and any((out / name).exists() for name in _OF_A_RUN):
        raise UserError(f"'{out}' holds a run already; go on with it by --resume, or give another --out")


def copy_run(folder: Path, target: Path) -> Path:
    """Copy a whole output folder and return the copy's path; UserError where something lies there already."""
    if target.exists() and any(target.iterdir()):
        raise UserError(f"'{target}' exists and is not empty; name another folder")
    shutil.copytree(folder, target, dirs_exist_ok=True)
    return target
