"""From a recipe and images to a task that is ready to train."""

from dataclasses import dataclass

import numpy as np
import torch

from uda.datasets.groups import own_groups
from uda.datasets.packed import SquareImages
from uda.datasets.streams import Subset
from uda.errors import UserError
from uda.experiments.experiment import Settings
from uda.experiments.parts import build_objectives, pixel_view, random_view, square, starting_encoder
from uda.experiments.pool import PoolLoaded
from uda.random import derived_seed
from uda.recipe import ImbalanceRecipe
from uda.ssl import Info
from uda.ssl.objective import Objective
from uda.ssl.views import OrGiven
from uda.tasks import find_method
from uda.tasks.imbalance import Imbalanced, TailedData


@dataclass(frozen=True)
class Inputs:
    """Squares that views are cut from."""

    train: SquareImages
    test: SquareImages


def prepare_inputs(recipe: ImbalanceRecipe, loaded: PoolLoaded, settings: Settings) -> Inputs:
    """Lay out squares, on the GPU where they fit."""
    assert loaded.test is not None  # `with_test` has seen to it
    train, test = (square(recipe, side.images, settings.device) for side in (loaded.train, loaded.test))
    return Inputs(train, test)


def tested_rows(loaded: PoolLoaded) -> np.ndarray:
    """Return the rows of the test table that are tested on: those with a label."""
    assert loaded.test is not None
    return np.flatnonzero(loaded.test.table.labels >= 0)


def tailed_data(loaded: PoolLoaded, inputs: Inputs) -> TailedData:
    """Return what the task holds; UserError where a class has no image to learn from."""
    assert loaded.test is not None
    table, rows = loaded.train.table, tested_rows(loaded)
    for name, count in table.counts().items():
        if not count:
            raise UserError(f"class '{name}' has no readable training image; give it one, or leave its folder out")
    counts = np.array(list(table.counts().values()), dtype=np.int64)
    test_labels = loaded.test.table.labels[rows]
    groups, tested = own_groups(loaded.test.table), Subset(inputs.test, rows)
    of_tested = None if groups is None else groups[rows]
    return TailedData(inputs.train, table.labels, counts, tested, test_labels, table.classes, of_tested)


def build_task(recipe: ImbalanceRecipe, data: TailedData, seed: int) -> Imbalanced:
    """Return the task with its initial weights, which depend on the seed alone: arms of a comparison share them."""
    encoder = starting_encoder(recipe, seed)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    kind, counts = find_method("imbalance", recipe.method["name"]), torch.from_numpy(data.counts)
    method = kind(encoder, counts, **recipe.method_options)
    view = OrGiven(recipe.data.image_size, pixel_view(recipe))
    info = Info(len(data.images), len(data.counts), recipe.data.image_size, seed, view, random_view(recipe))
    torch.manual_seed(derived_seed(seed, 0, f"initial {recipe.method['name']}"))
    objectives: list[tuple[Objective, float]] = [(own, 1.0) for own in method.own_objectives(encoder, info)]
    objectives += build_objectives(recipe, encoder, info)
    return Imbalanced(
        encoder,
        method,
        objectives if recipe.training.steps else [],  # no head without a training
        data,
        view,
        recipe.training.batch_size,
        seed,
        recipe.training.steps,
        recipe.training.backbone_lr_scale,
    )
