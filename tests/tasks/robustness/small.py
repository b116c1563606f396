"""A training for robustness small enough for a test: 16-pixel images of three classes."""

from typing import Any

import numpy as np
import torch

from tests.tasks.unida.small import SIZE, pixels_of
from uda.nn.encoder import create_encoder
from uda.ssl import Info, find_objective
from uda.ssl.random_views import Weak
from uda.ssl.views import CropFlip, OrGiven
from uda.tasks.robustness import METHODS, Robust, RobustData

N, N_TEST, BATCH = 24, 9, 8
VALIDATION = np.array([0, 1, 2])


def small_data() -> RobustData:
    labels = np.arange(N) % 3
    given = labels.copy()
    given[VALIDATION] = -1
    test_labels = np.arange(N_TEST) % 3
    images, test = pixels_of(labels, seed=1), pixels_of(test_labels, seed=2)
    return RobustData(images, given, labels, VALIDATION, test, test_labels, ("ant", "bee", "cow"))


def small_task(method: str = "standard", objectives: tuple[str, ...] = (), **options: Any) -> Robust:
    data, view = small_data(), OrGiven(SIZE - 2, CropFlip(SIZE - 2))
    torch.manual_seed(0)
    encoder = create_encoder("smallconv", "none", SIZE - 2)
    torch.manual_seed(1)
    made = METHODS[method](encoder, 3, **options)
    info = Info(len(data.rows), 3, SIZE - 2, 0, view, Weak(SIZE - 2))
    heads = [(find_objective(name)(encoder, info), 0.5) for name in objectives]
    return Robust(encoder, made, heads, data, view, BATCH, seed=0)
