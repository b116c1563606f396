"""Files that are whole or absent: written beside their place and renamed into it."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one rename."""
    temporary = _beside(path)
    try:
        # A file name that is not UTF-8 is written with the bytes that it has.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON in one rename; NaN and infinity are refused with ValueError, an undefined figure is None."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file in one rename, the same bytes for the same content; OSError where the disk is full."""
    temporary = _beside(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(cpu_tensors(tensors), temporary, metadata=metadata)
        if metadata:
            _sort_metadata(temporary)
        temporary.chmod(mode)  # safetensors 0.8 gives the owner alone the right to read, whatever the umask says
        temporary.replace(path)
    except SafetensorError as error:
        # The library says what the system said in words alone: "... (os error 28)".
        number = next((code for code in DISK_FULL if f"os error {code})" in str(error)), errno.EIO)
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in alphabetical order, which the library leaves to a random hash."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))  # the format pads with spaces; sorting changes no length


def cpu_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies on the CPU, none sharing memory, as safetensors wants them."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.writing-{os.getpid()}")
