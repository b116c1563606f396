"""Two players small enough for a test."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.streams import Images
from uda.experiments.gan.assemble import share_of
from uda.probes.extractor import Extractor
from uda.probes.generation import Yardstick
from uda.ssl import Info, find_objective
from uda.ssl.differentiable import Differentiable
from uda.ssl.views import NoAugmentation, OrGiven
from uda.tasks.gan import SNGAN, Adversarial, GanData

N, BATCH = 24, 8


class Pixels:
    """Images in memory."""

    def __init__(self, pixels: Tensor):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: np.ndarray) -> Tensor:
        return self.pixels[torch.from_numpy(np.asarray(rows))]


def means(images: Tensor) -> Tensor:
    """Return the mean color of each quarter of (B, 3, 32, 32) uint8 images, (B, 12) in [0, 1]."""
    return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


def colored(labels: np.ndarray, seed: int) -> Images:
    """Return 32-pixel images, dark of class 0 and bright of class 1."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.from_numpy(labels).clamp(0).view(-1, 1, 1, 1) * 120 + 40.0
    noise = 15 * torch.randn(len(labels), 3, 32, 32, generator=generator)
    return Pixels((base + noise).clamp(0, 255).byte())


def small_data(labelled: bool = True) -> GanData:
    labels = np.arange(N) % 2 if labelled else np.full(N, -1)
    names = ("dark", "bright") if labelled else ()
    rows = np.arange(N) if labelled else np.arange(0)
    return GanData(colored(labels, 0), labels, names, rows, rows[:0])


def small_task(objectives: tuple[str, ...] = (), labelled: bool = True, betas: Any = (0.0, 0.9), **options: Any) -> Any:
    """Return a task with its initial weights."""
    data = small_data(labelled)
    torch.manual_seed(0)
    method = SNGAN(32, len(data.class_names), **{"n_dis": 2, "latent": 4, "ngf": 4, "ndf": 4} | options)
    view = OrGiven(32, NoAugmentation(32))
    info = Info(N, 0, 32, 0, view, Differentiable(32))
    torch.manual_seed(1)
    heads = [(find_objective(name)(method.discriminator, info), 0.5) for name in objectives]
    device = torch.device("cpu")
    extractor = Extractor("means", "means", nn.Identity(), means)
    real = extractor.features(data.images.batch(np.arange(N)), device)
    yardstick = Yardstick(extractor, real, data.labels, len(data.class_names), device)
    share = method.share or share_of(heads, info)
    return Adversarial(method, heads, data, view, yardstick, BATCH, 0, share, 24, betas)


def batches(task: Adversarial, step: int = 0) -> dict[str, Batch]:
    return {name: stream.batch(step) for name, stream in task.streams().items()}


CLOCK = Clock(0, 10)
