"""Files that are whole or absent: written beside their place and renamed into it."""

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a text file in one rename."""
    temporary = path.with_name(f".{path.name}.writing-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON in one rename; NaN and infinity are refused with ValueError, an undefined figure is None."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
