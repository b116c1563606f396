"""`history.csv`: one row a step, every loss term and, at evaluations, every metric."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from uda.training.outputs import write_text


class History:
    """Rows appended to a CSV file and flushed at once, so that a killed run still shows where it was.

    Columns are fixed by the first row (step, epoch, lr, one a loss term) and the task's metric names.
    """

    def __init__(self, path: Path, metrics: Sequence[str]):
        self.path, self.metrics = path, list(metrics)
        self._columns: list[str] | None = None

    def cut(self, step: int) -> None:
        """Keep the rows of steps up to `step`: what a checkpoint of that step knows; 0 starts a new file."""
        rows: list[list[str]] = []
        if step > 0 and self.path.exists():
            with self.path.open(newline="") as file:
                rows = list(csv.reader(file))
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        # The last row of a killed process may be half a row.
        kept = [row for row in rows[1:] if len(row) == len(rows[0]) and row[0].isdigit() and int(row[0]) <= step]
        temporary = self.path.with_suffix(".csv.writing")
        with temporary.open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *kept])
        temporary.replace(self.path)
        self._columns = rows[0]

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows; the first one ever written fixes the columns."""
        if not rows:
            return
        new = self._columns is None
        if self._columns is None:
            self._columns = [*rows[0], *(name for name in self.metrics if name not in rows[0])]
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._columns, restval="", extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerows([{k: "" if v is None else v for k, v in row.items()} for row in rows])

    def read(self) -> pd.DataFrame:
        """Return the file as a table; empty where nothing was written."""
        return pd.read_csv(self.path) if self.path.exists() else pd.DataFrame()


def join_histories(out: Path, folders: Mapping[int, Path]) -> None:
    """Write the histories of several seeds, each in its folder, as one file in `out` with a column `seed`."""
    found = {seed: History(folder / "history.csv", ()).read() for seed, folder in folders.items()}
    frames = [frame.assign(seed=seed) for seed, frame in found.items() if len(frame)]
    if frames:
        write_text(out / "history.csv", pd.concat(frames).to_csv(index=False))
