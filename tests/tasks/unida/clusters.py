"""Features in well-separated clusters: classes 0 to 3 in the source, 0 and 1 in the target with two private ones."""

from pathlib import Path

import numpy as np
import torch

from tests.tasks.unida.small import run, small_task
from uda.datasets.streams import FrozenFeatures
from uda.nn.encoder import FeatureEncoder
from uda.ssl.views import PickPass
from uda.tasks.unida import Answer, UniDA, UnidaData

DIM = 32


def clustered_task(method: str, adapter: bool = False, **options: object) -> UniDA:
    """Two passes of 15 images a class; noise is a tenth of the distance between the clusters' centers."""
    source_labels = np.repeat([0, 1, 2, 3], 15)
    target_labels = np.repeat([0, 1, 4, 5], 15)
    generator = torch.Generator().manual_seed(0)
    centers = 3 * torch.randn(6, DIM, generator=generator)
    shift = 0.3 * torch.randn(DIM, generator=generator)

    def features(labels: np.ndarray, moved: bool) -> FrozenFeatures:
        noise = 0.4 * torch.randn(2, len(labels), DIM, generator=generator)
        return FrozenFeatures(centers[torch.from_numpy(labels)] + noise + moved * shift)

    source, target = features(source_labels, False), features(target_labels, True)
    data = UnidaData(source, source_labels, target, target_labels, ("ant", "bee", "cow", "dog"))
    encoder = FeatureEncoder(DIM, adapter)
    task = small_task(method, data=data, encoder=encoder, augment=PickPass(), batch_size=20, **options)
    task.view = lambda passes: passes[:, 0]
    return task


def trained_answer(task: UniDA, out: Path, steps: int = 60) -> tuple[Answer, np.ndarray]:
    """Return what a trained task says of the target, and which images are of its private clusters."""
    run(task, out, steps)
    assert task.last_answer is not None
    return task.last_answer, task.data.target_labels >= 4
