"""From a recipe and images to a task that is ready to train."""

from dataclasses import dataclass

import numpy as np
import torch

from uda.datasets.groups import own_groups
from uda.datasets.label_noise import noisy_labels
from uda.datasets.packed import SquareImages
from uda.datasets.streams import Images, Subset
from uda.experiments.experiment import Settings
from uda.experiments.parts import build_objectives, pixel_view, random_view, square, starting_encoder
from uda.experiments.pool import usable_labels
from uda.experiments.robustness.images import Loaded, rows_of
from uda.random import derived_seed
from uda.recipe import RobustnessRecipe
from uda.ssl import Info
from uda.ssl.views import OrGiven
from uda.tasks import find_method
from uda.tasks.robustness import OneClass, OneClassTask, Robust, RobustData

_NOISE_RATE = 0.4
_THUMBNAIL = 8  # pixels of a side of what instance-dependent noise tells images by


@dataclass(frozen=True)
class Inputs:
    """Squares that views are cut from."""

    pool: SquareImages
    test: SquareImages | None
    near: Images | None
    far: Images | None


def prepare_inputs(recipe: RobustnessRecipe, loaded: Loaded, settings: Settings) -> Inputs:
    """Lay out squares, on the GPU where they fit."""
    sides = [loaded.pool.test, loaded.near, loaded.far]
    test, near, far = (None if side is None else square(recipe, side.images, settings.device) for side in sides)
    return Inputs(square(recipe, loaded.pool.train.images, settings.device), test, near, far)


def robust_data(recipe: RobustnessRecipe, loaded: Loaded, inputs: Inputs, seed: int) -> RobustData:
    """Return what the task holds: labels with the recipe's noise, drawn by the seed, −1 where training sees none."""
    table, test = loaded.pool.train.table, loaded.pool.test
    rows = rows_of(table, test is not None, recipe.data.validation)
    given = np.full_like(table.labels, -1)
    given[rows.learned] = table.labels[rows.learned]
    given = usable_labels(given, recipe.data.labels, seed, own_groups(table))
    if recipe.method["name"] == OneClass.name:
        normal = OneClass.number_of(recipe.method["normal"], table.classes)
        given[given != normal] = -1
    if recipe.data.noise != "none":
        features = None
        if recipe.data.noise == "instance":
            small = loaded.pool.train.images.square(np.arange(len(table)), _THUMBNAIL, recipe.data.fit)
            features = small.flatten(1).numpy().astype(np.float32)
        given = noisy_labels(
            given, len(table.classes), recipe.data.noise, noise_rate(recipe), seed, features, table.classes
        )
    if test is None or inputs.test is None:
        tested: Images = Subset(inputs.pool, rows.tested)
        asked = table.select(rows.tested)
    else:
        tested, asked = inputs.test, test.table
    learned = inputs.pool, given, table.labels, rows.validation
    return RobustData(*learned, tested, asked.labels, table.classes, own_groups(asked))


def noise_rate(recipe: RobustnessRecipe) -> float:
    """Return how many labels go wrong where some do."""
    return _NOISE_RATE if recipe.data.noise_rate is None else recipe.data.noise_rate


def tested_rows(recipe: RobustnessRecipe, loaded: Loaded) -> np.ndarray:
    """Return which rows of the pool's own table are tested on where it has no test split."""
    return rows_of(loaded.pool.train.table, False, recipe.data.validation).tested


def build_task(recipe: RobustnessRecipe, data: RobustData, seed: int) -> Robust:
    """Return the task with its initial weights, which depend on the seed alone: arms of a comparison share them."""
    encoder = starting_encoder(recipe, seed)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    n_classes = len(data.class_names)
    method = find_method("robustness", recipe.method["name"])(encoder, n_classes, **recipe.method_options)
    view = OrGiven(recipe.data.image_size, pixel_view(recipe))
    info = Info(len(data.rows), n_classes, recipe.data.image_size, seed, view, random_view(recipe))
    kind = OneClassTask if recipe.method["name"] == OneClass.name else Robust
    return kind(
        encoder,
        method,
        build_objectives(recipe, encoder, info) if recipe.training.steps else [],  # no head without a training
        data,
        view,
        recipe.training.batch_size,
        seed,
        recipe.training.backbone_lr_scale,
    )
