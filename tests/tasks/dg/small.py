"""A domain generalization small enough to train in a test: 16-pixel images, three classes in three source domains."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.tasks.unida.small import SIZE, pixels_of
from uda.nn.encoder import Encoder, create_encoder
from uda.ssl import Info, find_objective
from uda.ssl.random_views import Weak
from uda.ssl.views import NoAugmentation
from uda.tasks.dg import METHODS, DomainGeneralization, SourceDomains
from uda.training.checkpoint import Identity
from uda.training.loop import LoopOptions, train

N_SOURCE, N_TARGET, BATCH = 36, 9, 12


def small_data(target_labels: np.ndarray | None = None) -> SourceDomains:
    """Three domains of 12 images; the rows 0, 13 and 26 are kept from training."""
    labels, domains = np.arange(N_SOURCE) % 3, np.arange(N_SOURCE) // 12
    target_labels = np.arange(N_TARGET) % 3 if target_labels is None else target_labels
    target = pixels_of(np.arange(N_TARGET) % 3, seed=2, brightness=40)
    held_out = np.array([0, 13, 26])
    names = ("ant", "bee", "cow")
    return SourceDomains(pixels_of(labels, seed=1), labels, domains, held_out, target, target_labels, names)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return create_encoder("smallconv", "none", SIZE)


def small_task(
    method: str = "deepall",
    objectives: tuple[str, ...] = (),
    data: SourceDomains | None = None,
    options: dict[str, Any] | None = None,
    objective_options: dict[str, Any] | None = None,
    **more: Any,
) -> DomainGeneralization:
    data = small_data() if data is None else data
    own, augment = encoder(), NoAugmentation(SIZE)
    torch.manual_seed(1)
    made = METHODS[method](own, len(data.class_names), **(options or {}))
    seen = len(data.source) + (len(data.target) if more.get("adapt") else 0)
    info = Info(seen, 3, SIZE, 0, augment, Weak(SIZE))
    puzzle = {"form": "assembled", "bias_whole_image": 0.5} if objective_options is None else objective_options
    heads = [(find_objective(n)(own, info, **(puzzle if "jigsaw" in n else {})), 0.7) for n in objectives]
    return DomainGeneralization(own, made, heads, data, augment, BATCH, seed=0, **more)


def run(task: DomainGeneralization, out: Path, steps: int = 3, evaluate_every: int = 0) -> dict[str, float | None]:
    options = LoopOptions(
        steps=steps,
        seed=0,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        warmup_steps=0,
        evaluate_every=evaluate_every,
        checkpoint_every=0,
        precision="no",
        channels_last=False,
        progress=False,
        nesterov=False,
    )
    return train(task, options, out, Identity("recipe", "data"), torch.device("cpu"))
