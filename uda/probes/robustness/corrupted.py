"""Corrupted images to test on: made as they are asked for, or read as they were published."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from uda.datasets.corruptions import corrupt
from uda.datasets.published_corruptions import PublishedPart
from uda.datasets.sampling import stratified
from uda.datasets.streams import Images, Subset


class Corrupted(Protocol):
    """Test images under each of some corruptions, at each of some severities.

    paired: whether these are the clean test images, row by row.
    """

    @property
    def paired(self) -> bool: ...  # noqa: D102

    @property
    def names(self) -> Sequence[str]:
        """The corruptions, in the order of tables."""

    @property
    def severities(self) -> Sequence[int]:
        """Of 1 … 5."""

    def at(self, name: str, severity: int) -> tuple[Images, np.ndarray]:
        """Return the images under one corruption, as the model is to see them, and their labels (N,)."""


@dataclass(frozen=True)
class CorruptedImages:
    """Images of which each batch is corrupted when it is read; what an image undergoes is a function of its row."""

    images: Images
    name: str
    severity: int
    preset: str
    seed: int = 0
    legacy: bool = False
    jpeg_quality: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those rows, corrupted, (B, 3, S, S) uint8."""
        return corrupt(
            self.images.batch(rows),
            self.name,
            self.severity,
            self.preset,
            self.seed,
            torch.from_numpy(rows),
            legacy=self.legacy,
            jpeg_quality=self.jpeg_quality,
        )


@dataclass(frozen=True)
class Published:
    """Corrupted sets as they were published, each part cut to a sample of it.

    parts: by corruption and severity; seen: stored images (B, 3, H, W) uint8 → what the model sees of them; most:
    images of a part, None: all.
    """

    parts: Mapping[tuple[str, int], PublishedPart]
    seen: Callable[[Tensor], Tensor]
    most: int | None = None
    paired: ClassVar[bool] = False

    @property
    def names(self) -> Sequence[str]:
        """The corruptions, in the order of tables."""
        return tuple(dict.fromkeys(name for name, _ in self.parts))

    @property
    def severities(self) -> Sequence[int]:
        """Of 1 … 5."""
        return tuple(dict.fromkeys(severity for _, severity in self.parts))

    def at(self, name: str, severity: int) -> tuple[Images, np.ndarray]:
        """Return the images of one part and their labels."""
        part = self.parts[name, severity]
        rows = stratified(part.labels, self.most)
        return Subset(_Read(part, self.seen), rows), part.labels[rows]


@dataclass(frozen=True)
class _Read:
    """The images of a published part as the model sees them."""

    part: PublishedPart
    seen: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.part)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those rows, (B, 3, S, S) uint8."""
        return self.seen(self.part.read(rows))


@dataclass(frozen=True)
class Generated:
    """Corruptions of the clean test images themselves, so that clean and corrupted figures pair image by image."""

    images: Images
    labels: np.ndarray
    names: Sequence[str]
    severities: Sequence[int]
    preset: str
    seed: int = 0
    legacy: bool = False
    jpeg_quality: int | None = None
    paired: ClassVar[bool] = True

    def at(self, name: str, severity: int) -> tuple[Images, np.ndarray]:
        """Return the images under one corruption."""
        made = CorruptedImages(self.images, name, severity, self.preset, self.seed, self.legacy, self.jpeg_quality)
        return made, self.labels
