"""What the page of a run has in every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uda.report import tables


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The frame of a page; each task adds its figures.

    metrics, ci95: as in `metrics.json`; None where undefined. unreadable: files left out, with the reason; notes: what
    was understood of the data, weights used, warnings.
    """

    title: str
    recipe: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    ci95: Mapping[str, tables.Interval] | None = None
    class_names: tuple[str, ...]
    unreadable: Sequence[tuple[str | Path, str]] = ()
    notes: Sequence[str] = ()
    seed: int = 0
