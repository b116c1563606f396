"""The batch: what a data stream hands to a task."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images of one domain as they are stored, before any augmentation.

    images: (B, 3, H, W) uint8 at the packed size, or (B, D) float features in frozen mode.
    index:  (B,) int64, each image's row in its domain's table; stable over the whole run.
    labels: (B,) int64, or None where training must not see them.
    """

    images: Tensor
    index: Tensor
    labels: Tensor | None
    domain: str

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device, copied without blocking where memory is pinned."""
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
            labels=labels,
        )
