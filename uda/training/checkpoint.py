"""Checkpoints: tensors in safetensors, the rest in JSON, published by one rename; nothing is ever unpickled.

`checkpoint/step-N/` holds `task.safetensors`, `optimizer-<player>.safetensors` and `state.json` (step, recipe hash,
data fingerprint, seed, and a sha256 of each file). No random state, no sampler and no schedule: all are functions of
the step.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from uda.errors import UserError
from uda.training.optimizers import load_optimizer_tensors, optimizer_tensors
from uda.training.outputs import DISK_FULL, write_tensors

KEEP = 2
_TEMPORARY = ".writing-"


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to; a checkpoint of another recipe, other data or another seed is refused."""

    recipe: str
    data: str
    seed: int = 0


def save_checkpoint(
    folder: Path,
    step: int,
    task: nn.Module,
    optimizers: Mapping[str, Optimizer],
    identity: Identity,
    keep: int = KEEP,
) -> Path:
    """Write `folder/step-N` whole or not at all, then drop all but the newest `keep`; return its path.

    Raises UserError where the disk is full; what was saved before stays.
    """
    target = folder / f"step-{step}"
    temporary = folder / f"{_TEMPORARY}{step}-{os.getpid()}"
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        write_tensors(temporary / "task.safetensors", task.state_dict())
        for player, optimizer in optimizers.items():
            write_tensors(temporary / f"optimizer-{player}.safetensors", optimizer_tensors(optimizer))
        files = {file.name: _sha256(file) for file in sorted(temporary.iterdir())}
        state = {"format": 1, "step": step, **asdict(identity), "files": files}
        (temporary / "state.json").write_text(json.dumps(state, indent=1))
        for file in (*temporary.iterdir(), temporary):
            _flush(file)
        if target.exists():  # the same step of a run that was resumed
            shutil.rmtree(target)
        temporary.rename(target)
        _flush(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno in DISK_FULL:
            raise UserError(
                f"the disk of '{folder}' is full, so the checkpoint of step {step} was not written and the last whole "
                "one stays; free some space and continue with --resume"
            ) from error
        raise
    for old in saved_steps(folder)[:-keep]:
        shutil.rmtree(folder / f"step-{old}")
    for left in folder.glob(f"{_TEMPORARY}*"):  # of a process that was killed while it wrote
        shutil.rmtree(left, ignore_errors=True)
    return target


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the published checkpoints, oldest first."""
    names = [entry.name for entry in folder.glob("step-*") if entry.is_dir()] if folder.is_dir() else []
    return sorted(int(name[5:]) for name in names if name[5:].isdigit())


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return a checkpoint's `state.json` after checking that every file is the one that was written."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        files = dict(state["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"checkpoint '{checkpoint}' is no whole checkpoint (state.json: {error}); remove that folder and resume "
            "from the one before, or start anew"
        ) from error
    for name, digest in files.items():
        if not (checkpoint / name).is_file() or _sha256(checkpoint / name) != digest:
            raise UserError(
                f"checkpoint '{checkpoint}' is damaged: {name} is truncated or changed; remove that folder and resume "
                "from the one before, or start anew"
            )
    return state


def load_checkpoint(
    folder: Path, task: nn.Module, optimizers: Mapping[str, Optimizer], identity: Identity | None
) -> int | None:
    """Load the newest checkpoint below `folder` into task and optimizers; return its step, None where there is none.

    Raises UserError for a damaged one, or one of another recipe, other data or another seed than `identity` says (None
    skips that check).
    """
    steps = saved_steps(folder)
    if not steps:
        return None
    checkpoint = folder / f"step-{steps[-1]}"
    state = read_state(checkpoint)
    if identity is not None:
        for what, wanted in asdict(identity).items():
            if state.get(what) != wanted:
                other = "other data" if what == "data" else f"another {what}"
                raise UserError(
                    f"checkpoint '{checkpoint}' comes from {other}; resume with what it was made with, or give another "
                    "--out"
                )
    tensors = load_tensors(checkpoint / "task.safetensors")
    try:
        task.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"checkpoint '{checkpoint}' does not fit the model of its recipe "
            f"({str(error).splitlines()[-1].strip()}); it was written by another version: start anew with another --out"
        ) from error
    for player, optimizer in optimizers.items():
        load_optimizer_tensors(optimizer, load_tensors(checkpoint / f"optimizer-{player}.safetensors"))
    return steps[-1]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; UserError where it is anything else."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"'{path}' is truncated or no safetensors file ({error}); nothing else is ever loaded"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Ask the disk to hold a file or folder before the rename that publishes it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
