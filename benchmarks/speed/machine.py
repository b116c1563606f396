"""What a time depends on beside the code."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from uda.datasets.packed import cpu_count

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "lightly", "kornia")


def machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, the GPU with its libraries where it is the device, and the versions of all packages."""
    found: dict[str, Any] = {"processor": _processor(), "cores": cpu_count(), "python": platform.python_version()}
    if device.type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
        found |= {"cudnn": torch.backends.cudnn.version()}
    return found | {"versions": {name: _version(name) for name in _PACKAGES}}


def _processor() -> str:
    """Return the model that Linux names, else the kind of machine."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
