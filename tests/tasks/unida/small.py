"""A universal adaptation small enough to train in a test: 16-pixel images, three source classes, two of them shared."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda.nn.encoder import Encoder, create_encoder
from uda.ssl import Info, find_objective
from uda.ssl.objective import Augment
from uda.ssl.random_views import Weak
from uda.ssl.views import NoAugmentation, center_crop
from uda.tasks.unida import METHODS, Setup, UniDA, UnidaData
from uda.training.checkpoint import Identity
from uda.training.loop import LoopOptions, train

SIZE = 16
N_SOURCE, N_TARGET = 24, 30


class Pixels:
    """(N, 3, H, W) uint8 in memory; counts how often it is read."""

    def __init__(self, pixels: Tensor):
        self.pixels, self.reads = pixels, 0

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: np.ndarray) -> Tensor:
        self.reads += 1
        return self.pixels[torch.from_numpy(rows)]


def pixels_of(labels: np.ndarray, seed: int, brightness: int = 0) -> Pixels:
    """Every class has a pattern of its own, every image its noise, every domain its brightness."""
    patterns = 60 + 120 * torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    noise = 25 * torch.randn(len(labels), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return Pixels((patterns[torch.from_numpy(labels)] + noise + brightness).clamp(0, 255).to(torch.uint8))


def small_data() -> UnidaData:
    """Source classes 0, 1, 2; in the target 0 and 1, and two private classes, 3 and 4."""
    source_labels = np.arange(N_SOURCE) % 3
    target_labels = np.array([0, 1, 3, 4])[np.arange(N_TARGET) % 4]
    source, target = pixels_of(source_labels, seed=1), pixels_of(target_labels, seed=2, brightness=40)
    return UnidaData(source, source_labels, target, target_labels, ("ant", "bee", "cow"))


def small_task(
    method: str = "dance",
    objectives: tuple[str, ...] = (),
    data: UnidaData | None = None,
    encoder: Encoder | None = None,
    augment: Augment | None = None,
    rejection: str = "fixed",
    batch_size: int = 6,
    held_out: np.ndarray | None = None,
    **options: object,
) -> UniDA:
    data = small_data() if data is None else data
    augment = NoAugmentation(SIZE) if augment is None else augment
    torch.manual_seed(0)
    encoder = create_encoder("smallconv", "none", SIZE) if encoder is None else encoder
    made = METHODS[method](Setup(encoder.dim, data.n_classes, len(data.target)), **options)
    info = Info(len(data.target), 0, SIZE, 0, augment, Weak(SIZE))
    heads = [(find_objective(name)(encoder, info), 1.0) for name in objectives]
    view = partial(center_crop, size=SIZE)
    return UniDA(encoder, made, heads, data, augment, view, rejection, batch_size, seed=0, held_out=held_out)


def run(task: UniDA, out: Path, steps: int = 4, lr: float = 0.01) -> dict[str, float | None]:
    """Train with DANCE's optimizer and schedule; return the metrics."""
    options = LoopOptions(
        steps=steps,
        seed=0,
        optimizer="sgd",
        lr=lr,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="inverse",
        warmup_steps=0,
        evaluate_every=0,
        checkpoint_every=0,
        precision="no",
        channels_last=False,
        progress=False,
    )
    out.mkdir(parents=True, exist_ok=True)
    return train(task, options, out, Identity("recipe", "data"), torch.device("cpu"))


def copy_of_state(task: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}
