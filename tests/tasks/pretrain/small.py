"""Small real parts for the tests of pre-training and probing: a pool in memory, a task on it, a run of some steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.tiny import table
from uda.datasets.table import ImageTable
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.pool import PoolFound, PoolLoaded, load_pool
from uda.experiments.pretrain.experiment import build_pretrain, prepare_pool
from uda.recipe import PretrainRecipe, Tree, build_as
from uda.tasks.pretrain import Pretrain
from uda.training.checkpoint import Identity
from uda.training.loop import train

SIZE = 32
CPU = torch.device("cpu")
KINDS = ("apple", "bird", "cat")
SETTINGS = Settings(CPU, progress=False)


def recipe(*layers: Tree) -> PretrainRecipe:
    """Return the recipe of the smallest network, with changes: 24 images are 4 steps of 6."""
    small: Tree = {
        "data": {"image_size": SIZE, "stored_size": SIZE},
        "encoder": {"backbone": "smallconv", "weights": "none"},
        "training": {
            **{"steps": 12, "batch_size": 6, "lr": 0.05, "warmup_steps": 0},
            **{"evaluate_every": 0, "checkpoint_every": 5},
        },
    }
    return build_as(PretrainRecipe, [small, *layers])


def pool(given: PretrainRecipe, images: ImageTable | None = None, test: ImageTable | None = None) -> PoolLoaded:
    """Return a pool in memory: 24 images of three classes, unless others are given."""
    images = images or table("photo", KINDS, 8)
    return load_pool(PoolFound(images, test, (), ()), given.data, progress=False)


def task(
    given: PretrainRecipe, seed: int = 0, images: ImageTable | None = None, test: ImageTable | None = None
) -> Pretrain:
    """Return a fresh task on that pool."""
    loaded = pool(given, images, test)
    return build_pretrain(given, loaded, prepare_pool(given, loaded, SETTINGS), seed)


def run(
    given: PretrainRecipe, out: Path, made: Pretrain | None = None, resume: bool = False, **changes: Any
) -> dict[str, float | None]:
    """Train a task to the end (or on); return the metrics."""
    options = replace(loop_options(given, 0, SETTINGS), **changes)
    return train(made or task(given), options, out, Identity("recipe", "data"), CPU, resume)


def constant(count: int = 24) -> ImageTable:
    """Return images that are all alike, of three classes: nothing can tell them apart."""
    pixels = torch.full((count, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    return ImageTable("gray", tuple(f"gray/{n}" for n in range(count)), np.arange(count) % 3, KINDS, pixels)
