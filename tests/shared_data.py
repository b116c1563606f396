"""Data sets on disk: where the real ones lie that some tests read, and how to lay out small ones."""

import os
from pathlib import Path

import pytest
from PIL import Image

SHARED = Path(os.environ.get("UDA_DATA") or Path(__file__).parents[2] / "shared" / "data")


def real(name: str) -> Path:
    """Return the folder that holds a real data set; skip the test where it is not there."""
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in ../shared/data nor in UDA_DATA")
    return SHARED


def put(root: Path, *names: str) -> Path:
    """Write black images of 2 × 2 pixels below a folder, PNG whatever their names; return the folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path, format="PNG")
    return root
