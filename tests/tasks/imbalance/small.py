"""A long tail small enough for a test: 16-pixel images of three classes, 16, 6 and 2 of them."""

from typing import Any

import numpy as np
import torch

from tests.tasks.unida.small import SIZE, pixels_of
from uda.nn.encoder import create_encoder
from uda.ssl import Info, find_objective
from uda.ssl.random_views import Weak
from uda.ssl.views import CropFlip, OrGiven
from uda.tasks.imbalance import METHODS, Imbalanced, TailedData

COUNTS = np.array([16, 6, 2])
N, BATCH, STEPS = 25, 8, 8


def small_data() -> TailedData:
    """Return 24 labelled images and one without a label, and four test images of each class."""
    labels = np.append(np.repeat(np.arange(3), COUNTS), -1)
    test_labels = np.arange(12) % 3
    images, test = pixels_of(labels, seed=1), pixels_of(test_labels, seed=2)
    return TailedData(images, labels, COUNTS, test, test_labels, ("ant", "bee", "cow"))


def small_task(method: str = "ce", objectives: tuple[str, ...] = (), steps: int = STEPS, **options: Any) -> Imbalanced:
    """Return a task with its initial weights."""
    data, view = small_data(), OrGiven(SIZE - 2, CropFlip(SIZE - 2))
    torch.manual_seed(0)
    encoder = create_encoder("smallconv", "none", SIZE - 2)
    torch.manual_seed(1)
    made = METHODS[method](encoder, torch.from_numpy(COUNTS), **options)
    info = Info(N, 3, SIZE - 2, 0, view, Weak(SIZE - 2))
    heads = [(own, 1.0) for own in made.own_objectives(encoder, info)]
    heads += [(find_objective(name)(encoder, info), 0.5) for name in objectives]
    return Imbalanced(encoder, made, heads, data, view, BATCH, seed=0, steps=steps)
