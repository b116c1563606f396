"""What every probe does to features and labels first: one type, one device, a message where they are of no use."""

import numpy as np
import torch
from torch import Tensor

from uda.errors import UserError


def finite(features: Tensor) -> Tensor:
    """Return features (N, D) detached, in at least float32; ValueError for another shape, UserError if not finite."""
    if features.ndim != 2:
        raise ValueError(f"features must have two dimensions (N, D), not the shape {tuple(features.shape)}")
    features = features.detach()
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if not bool(torch.isfinite(features).all()):
        raise UserError(
            "the features hold numbers that are not finite: take weights of a training that did not diverge"
        )
    return features


def checked(features: Tensor, labels: Tensor | np.ndarray, n_classes: int) -> tuple[Tensor, Tensor]:
    """Return labelled features as `finite` does, and their labels (N,) int64 on the same device.

    Raises UserError where there is no image, ValueError for lengths that differ or labels outside 0 … n_classes − 1.
    """
    features = finite(features)
    labels = torch.as_tensor(labels).to(features.device, torch.int64)
    if labels.shape != features.shape[:1]:
        raise ValueError(f"{len(features)} features, but labels of the shape {tuple(labels.shape)}")
    if not len(labels):
        raise UserError("there are no labelled images to evaluate the features with; check the folder and its classes")
    if int(labels.min()) < 0 or int(labels.max()) >= n_classes:
        raise ValueError(f"labels {int(labels.min())} to {int(labels.max())} do not lie within {n_classes} classes")
    return features, labels
