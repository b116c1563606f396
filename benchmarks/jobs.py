"""Runs of a study side by side, each on one thread, kept as they come: a study that was stopped goes on."""

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS
from uda.metrics import paired_difference
from uda.training.outputs import write_json

Row = dict[str, Any]

# Of the training of a small network on a CPU that knows bfloat16: over twice the images a second. All arms alike.
FAST: dict[str, Any] = {"precision": "bf16", "channels_last": True}


def side_by_side(work: Callable[..., Row], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Row]:
    """Yield what `work` (a function of a module) makes of each job's arguments, as they are done."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, *job) for job in jobs]):
            yield future.result()


def kept(path: Path, known: Row | None, work: Callable[[], Row]) -> Row:
    """Return a run's row from its file, else as it was published before, else by running it on one thread."""
    if path.is_file():
        return dict(json.loads(path.read_text()))
    if known is not None:
        return known
    torch.set_num_threads(1)
    row = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
    return row


def published_row(name: str, recipe: Any, wanted: Row) -> Row | None:
    """Return the run of the committed results that has these values, if it was made with this recipe.

    Options that were not there when it was made may stand in the recipe now: a new option's default changes nothing.
    """
    rows = _as_found(RESULTS / f"{name}.json", recipe)
    return next((dict(row) for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def with_published(rows: Sequence[Row], name: str, recipe: Any, identity: Sequence[str]) -> list[Row]:
    """Return these rows and those of the committed results that were made with this recipe and are not among them.

    A study rewrites its results row by row. What it was not asked for this time stays in the file, and a process that
    starts late finds what the first one found.
    """
    ours = {tuple(row[key] for key in identity) for row in rows}
    published = _as_found(RESULTS / f"{name}.json", recipe)
    return [*rows, *(dict(row) for row in published if tuple(row[key] for key in identity) not in ours)]


def _as_found(path: Path, recipe: Any) -> list[Row]:
    """Return the rows of a study as this process first found them, if they were made with this recipe."""
    content = _content(path)
    return list(content["runs"]) if holds(recipe, content.get("recipe")) else []


@cache
def _content(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def holds(now: Any, then: Any) -> bool:
    """Return whether everything that a recipe said then it says now."""
    if isinstance(now, dict) and isinstance(then, dict):
        return all(key in now and holds(now[key], value) for key, value in then.items())
    return bool(now == then)


def paired_gains(ours: Mapping[int, Row], theirs: Mapping[int, Row], names: Iterable[str]) -> dict[str, Any]:
    """Return ours − theirs of each figure over the seeds that both have; null where one of them has no such figure."""
    found: dict[str, Any] = {}
    seeds = sorted(ours.keys() & theirs.keys())
    for name in names if seeds else ():
        left, right = ([rows[seed][name] for seed in seeds] for rows in (ours, theirs))
        found[name] = None if None in (*left, *right) else asdict(paired_difference(left, right))
    return found
