"""Stored images as a model sees them in evaluation."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uda.datasets.streams import Images
from uda.ssl.views import NoAugmentation, to_bytes


@dataclass(frozen=True)
class Seen:
    """Stored squares in the evaluation view: (B, 3, S, S) uint8."""

    images: Images
    view: NoAugmentation

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return the evaluation views of those rows, in gray levels."""
        return to_bytes(self.view.plain(self.images.batch(rows)))
