"""Answers about images that a finished run has not seen, a batch at a time: neither memory nor the cache grows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uda.datasets.cache import Unreadable, check_unreadable
from uda.datasets.packed import PackedImages, cpu_count
from uda.datasets.packing import Runner, decoded
from uda.datasets.streams import Images
from uda.datasets.table import ImageTable
from uda.experiments.parts import pixel_view
from uda.nn.encoder import TimmEncoder
from uda.probes.answer import Answer
from uda.recipe import Recipe

UNKNOWN = "unknown"
_CHUNK = 256  # images in memory at once


@dataclass(frozen=True)
class InMemory:
    """Some pixels (B, 3, H, W), or in frozen mode features (B, 1, D), as a task's `answer` reads them."""

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those rows."""
        return self.rows[torch.from_numpy(rows)]


class Classifying(Protocol):
    """A task that names images: universal adaptation, domain generalization."""

    threshold: Tensor

    def answer(self, images: Images, threshold: float | None = None) -> Answer:
        """Return what the model says of images, rejecting those above the threshold."""


def classify(
    task: Classifying,
    backbone: TimmEncoder | None,
    recipe: Recipe,
    table: ImageTable,
    class_names: tuple[str, ...],
    strict: bool,
    progress: bool,
) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Return the predictions about every readable image at the task's own threshold, and the files left out.

    backbone: what computes the features in frozen mode, else None. Files are decoded as training decodes them, but not
    kept in the cache. UserError if no image is readable, or if `strict` and any is not.
    """
    device, plain = task.threshold.device, pixel_view(recipe).plain
    if backbone is not None:
        backbone = backbone.to(device).eval()
    parts: list[pd.DataFrame] = []
    unreadable: list[Unreadable] = []
    for paths, images in _chunks(table, recipe.data.packed_size, unreadable, progress):
        rows = images.square(np.arange(len(images)), recipe.data.packed_size, recipe.data.fit).to(device)
        if backbone is not None:
            with torch.no_grad():
                rows = torch.cat([backbone(plain(part)).float() for part in rows.split(64)])[:, None]
        answer = task.answer(InMemory(rows), float(task.threshold))
        parts.append(predictions_table(paths, answer, class_names))
    check_unreadable(table.name, len(table), unreadable, strict)
    return pd.concat(parts, ignore_index=True), unreadable


def _chunks(
    table: ImageTable, size: int, unreadable: list[Unreadable], progress: bool
) -> Iterator[tuple[tuple[str, ...], PackedImages]]:
    """Yield the readable images in order, so many at a time, with their paths; append what is not to `unreadable`."""
    if table.pixels is not None:
        for first in range(0, len(table), _CHUNK):
            part = slice(first, first + _CHUNK)
            yield table.paths[part], PackedImages.from_tensor(table.pixels[part])
        return
    runner = Runner(min(16, cpu_count()), progress)
    paths: list[str] = []
    images: list[np.ndarray] = []
    for path, result in zip(table.paths, decoded(table.paths, size, runner, "classifying"), strict=True):
        if isinstance(result, str):
            unreadable.append(Unreadable(path, result))
            continue
        paths.append(path)
        images.append(result)
        if len(images) == _CHUNK:
            yield tuple(paths), PackedImages.from_arrays(images)
            paths, images = [], []
    if images:
        yield tuple(paths), PackedImages.from_arrays(images)


def predictions_table(paths: tuple[str, ...], answer: Answer, class_names: tuple[str, ...]) -> pd.DataFrame:
    """Return path, label (a class name or `unknown`), confidence of the best known class, and unknown score."""
    names = np.array([*class_names, UNKNOWN], dtype=object)
    return pd.DataFrame(
        {
            "path": paths,
            "label": names[answer.predictions],
            "confidence": answer.confidences,
            "unknown_score": answer.scores,
        }
    )
