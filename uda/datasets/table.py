"""A table of images: what every reader returns and everything downstream takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class ImageTable:
    """The images of one domain, listed but (unless they come as arrays) not decoded.

    name:    how messages call it ("office/amazon", or the folder).
    paths:   one entry an image, as printed in `predictions.csv`; files on disk unless `pixels` is given.
    labels:  (N,) int64 indices into `classes`; −1 where an image has no label.
    classes: class names in alphabetical order unless the reader says otherwise; empty for an unlabelled folder.
    pixels:  (N, 3, H, W) uint8 for data that is small and comes decoded (digits), else None.
    columns: what else is known of each image, (N,) text by name ("patient", "slide", "center"); empty where unknown.
    """

    name: str
    paths: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    pixels: Tensor | None = field(default=None, repr=False)
    root: Path | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labelled(self) -> bool:
        """Whether every image carries a label."""
        return len(self) > 0 and bool((self.labels >= 0).all())

    def counts(self) -> dict[str, int]:
        """Return the number of images of each class, in the order of `classes`."""
        found = np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
        return {name: int(n) for name, n in zip(self.classes, found, strict=True)}

    def select(self, rows: np.ndarray) -> "ImageTable":
        """Return the table of the given rows (integer indices), in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            paths=tuple(self.paths[i] for i in rows),
            labels=self.labels[rows],
            pixels=None if self.pixels is None else self.pixels[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )

    def relabel(self, classes: tuple[str, ...]) -> "ImageTable":
        """Return the images whose class is among `classes`, numbered in that order; unlabelled images stay, as −1."""
        if classes == self.classes:
            return self  # stacks of pixels are not copied
        number = {name: i for i, name in enumerate(classes)}
        to_new = np.array([number.get(name, -2) for name in self.classes] + [-1], dtype=np.int64)
        labels = to_new[self.labels]  # label −1 picks the last entry, which is −1
        rows = np.flatnonzero(labels != -2)
        return replace(self.select(rows), labels=labels[rows], classes=classes)
