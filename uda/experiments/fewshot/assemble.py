"""From a recipe and images to a task that is ready to train."""

from dataclasses import dataclass

import numpy as np
import torch

from uda.datasets.groups import own_groups
from uda.datasets.sampling import held_out
from uda.datasets.streams import Images
from uda.datasets.table import ImageTable
from uda.experiments.experiment import Settings
from uda.experiments.fewshot.images import Loaded, labels_of
from uda.experiments.parts import build_objectives, pixel_view, random_view, square, starting_encoder
from uda.probes.episodes import sample_episodes
from uda.random import derived_seed
from uda.recipe import FewshotRecipe
from uda.ssl import Info
from uda.tasks import find_method
from uda.tasks.fewshot import Fewshot, FewshotData, Protocol


@dataclass(frozen=True)
class Inputs:
    """Squares that views are cut from."""

    base: Images
    novel: Images
    unlabelled: Images | None


def prepare_inputs(recipe: FewshotRecipe, loaded: Loaded, settings: Settings) -> Inputs:
    """Lay out squares, on the GPU where they fit."""
    more = None if loaded.unlabelled is None else square(recipe, loaded.unlabelled.images, settings.device)
    base, novel = (square(recipe, side.images, settings.device) for side in (loaded.base, loaded.novel))
    return Inputs(base, novel, more)


def fewshot_data(recipe: FewshotRecipe, loaded: Loaded, inputs: Inputs) -> FewshotData:
    """Return what the task holds; the images held out are a share of every base class, none where nothing trains."""
    base, novel = loaded.base.table, loaded.novel.table
    kept = held_out_rows(recipe, base)
    return FewshotData(
        inputs.base,
        labels_of(base, kept),
        base.labels,
        kept,
        inputs.novel,
        novel.labels,
        base.classes,
        novel.classes,
        inputs.unlabelled,
    )


def check_episodes(recipe: FewshotRecipe, novel: ImageTable) -> None:
    """Refuse novel classes with too few images for the episodes that the recipe tests on."""
    own = protocol_of(recipe)
    for shots in own.shots:
        sample_episodes(novel.labels, 1, own.ways, shots, own.queries, own.seed, own.unlabelled)


def held_out_rows(recipe: FewshotRecipe, base: ImageTable) -> np.ndarray:
    """Return the rows of base images that are held out, a share of every class; none where nothing trains."""
    share = recipe.data.validation if recipe.training.steps else 0.0
    return held_out(base.labels, share, own_groups(base))


def protocol_of(recipe: FewshotRecipe) -> Protocol:
    """Return what novel classes are tested by."""
    own = recipe.episodes
    classifier = own.classifier or find_method("fewshot", recipe.method["name"]).tells_by
    return Protocol(own.ways, tuple(own.shots), own.queries, own.episodes, own.unlabelled, classifier)


def build_task(recipe: FewshotRecipe, data: FewshotData, seed: int) -> Fewshot:
    """Return the task with its initial weights, which depend on the seed alone: arms of a comparison share them."""
    encoder = starting_encoder(recipe, seed)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    n_classes = len(data.class_names)
    method = find_method("fewshot", recipe.method["name"])(encoder, n_classes, **recipe.method_options)
    view = pixel_view(recipe)
    joins = data.unlabelled is not None
    seen = len(data.images) + (len(data.unlabelled) if data.unlabelled is not None else 0)
    info = Info(seen, 0 if joins else n_classes, recipe.data.image_size, seed, view, random_view(recipe))
    objectives = build_objectives(recipe, encoder, info)
    scale = recipe.training.backbone_lr_scale
    return Fewshot(
        encoder, method, objectives, data, protocol_of(recipe), view, recipe.training.batch_size, seed, scale
    )
