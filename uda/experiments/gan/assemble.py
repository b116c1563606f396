"""From a recipe and images to two players that are ready to train, and what their images are measured by."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.cache import default_cache_dir
from uda.datasets.packed import SquareImages
from uda.datasets.sampling import spread
from uda.datasets.streams import Subset
from uda.errors import UserError
from uda.experiments.experiment import Settings
from uda.experiments.parts import build_objectives, check_unused, pixel_view, random_view, square
from uda.experiments.pool import PoolLoaded
from uda.experiments.seen import Seen
from uda.nn.generator import check_size
from uda.probes.extractor import CLASSIFIER, Extractor, find_extractor, trained_extractor
from uda.probes.frozen import cached_passes
from uda.probes.generation import Yardstick
from uda.probes.linear import held_out_rows
from uda.random import derived_seed
from uda.recipe import GanRecipe
from uda.ssl import Info, Objective
from uda.ssl.views import OrGiven
from uda.tasks import find_method
from uda.tasks.gan import Adversarial, GanData

_PASSING = ("differentiable", "glyph", "weak")
"""Families of random views that a gradient passes through."""


@dataclass(frozen=True)
class Inputs:
    """Squares that views are cut from, and what generated images are measured by, the same for all seeds."""

    train: SquareImages
    test: SquareImages | None
    yardstick: Yardstick


def check_recipe(recipe: GanRecipe) -> None:
    """Refuse, before anything is read or trained, parts that do not fit together."""
    encoder, method = recipe.encoder, recipe.method
    if encoder.backbone != "residual" or encoder.weights not in (None, "none") or encoder.freeze or encoder.adapter:
        raise UserError(
            "the discriminator of task 'gan' is a residual network that starts from random weights; leave --backbone, "
            "--weights, --freeze and encoder.adapter out, and give its width by method.ndf"
        )
    check_size(recipe.data.image_size)
    if recipe.data.packed_size < recipe.data.image_size:
        raise UserError(
            f"data.stored_size={recipe.data.stored_size} is below the image size of {recipe.data.image_size}; raise it"
        )
    if recipe.training.optimizer != "adamw":
        check_unused(recipe, "betas", f"with training.optimizer={recipe.training.optimizer}")
    check_unused(recipe, "backbone_lr_scale", "in task 'gan'")
    if recipe.objectives and method["alpha"] and recipe.views["name"] not in _PASSING:
        raise UserError(
            f"no gradient passes through views.name={recipe.views['name']} to the generator; give differentiable, weak "
            "or glyph, or method.alpha=0"
        )
    if method["augment"] and len(set(method["augment"])) < len(method["augment"]):
        raise UserError("method.augment names an augmentation twice; name each once")


def label(recipe: GanRecipe) -> str:
    """Return how reports call the run: SNGAN with rotation is SSGAN, which stands in brackets."""
    made = "+".join([recipe.method["name"], *recipe.objectives])
    said = ["conditional"] if recipe.method["conditional"] else []
    said += ["SSGAN"] if list(recipe.objectives) == ["rotation"] else []
    return f"{made} ({', '.join(said)})" if said else made


def prepare_inputs(recipe: GanRecipe, loaded: PoolLoaded, settings: Settings) -> Inputs:
    """Lay out squares, on the GPU where they fit, and compute the real images' features."""
    train = square(recipe, loaded.train.images, settings.device)
    test = None if loaded.test is None else square(recipe, loaded.test.images, settings.device)
    rows = spread(len(train), recipe.report.images)
    extractor = _extractor(recipe, train, loaded.train.table.labels, rows, settings.device)
    real = _real_features(recipe, extractor, loaded, train, rows, settings.device)
    labels = loaded.train.table.labels[rows]
    return Inputs(train, test, Yardstick(extractor, real, labels, len(loaded.class_names), settings.device))


def _extractor(
    recipe: GanRecipe, images: SquareImages, labels: np.ndarray, rows: np.ndarray, device: torch.device
) -> Extractor:
    """Return the recipe's extractor; rows: of the real images that are measured by it.

    One that is trained here does not see those on which `Yardstick` tests its classifier.
    """
    report = recipe.report
    if report.extractor != CLASSIFIER:
        return find_extractor(report.extractor, report.extractor_weights, report.extractor_size)
    known = rows[labels[rows] >= 0]
    tested = known[held_out_rows(torch.from_numpy(labels[known]), 0).numpy()]
    learned = np.setdiff1d(np.flatnonzero(labels >= 0), tested)
    seen = Seen(Subset(images, learned), pixel_view(recipe))
    return trained_extractor(seen, labels[learned], report.extractor_size, device)


def _real_features(
    recipe: GanRecipe,
    extractor: Extractor,
    loaded: PoolLoaded,
    images: SquareImages,
    rows: np.ndarray,
    device: torch.device,
) -> np.ndarray:
    """Return the extractor's features of real images as the discriminator sees them; kept in the cache."""
    view = pixel_view(recipe)
    plain = Seen(images, view)

    def compute(wanted: np.ndarray) -> Tensor:
        parts = np.array_split(rows[wanted], max(1, len(wanted) // 512))
        return torch.from_numpy(np.concatenate([extractor.features(plain.batch(part), device) for part in parts]))[None]

    key = f"gan 1 {extractor.key} {view!r} {recipe.data.packed_size} {recipe.data.fit}"
    passes = cached_passes(default_cache_dir(), key, loaded.train.images.hashes[rows], compute)
    return passes[0].numpy()


def gan_data(recipe: GanRecipe, loaded: PoolLoaded, inputs: Inputs) -> GanData:
    """Return what the task holds; UserError where a conditional method has images of no class."""
    table = loaded.train.table
    known = table.labels >= 0
    if recipe.method["conditional"] and (not known.all() or len(table.classes) < 2):
        raise UserError(
            f"method.conditional=true wants a class for every image, and {table.name} has "
            f"{int((~known).sum()) or len(table)} without; give class folders, or leave it out"
        )
    probed = _probed(table.labels, recipe.report.probed)
    if loaded.test is None:
        return GanData(inputs.train, table.labels, table.classes, probed, probed[:0])
    tested = _probed(loaded.test.table.labels, recipe.report.probed)
    if not len(tested):
        return GanData(inputs.train, table.labels, table.classes, probed, tested)
    labels = loaded.test.table.labels
    return GanData(inputs.train, table.labels, table.classes, probed, tested, inputs.test, labels)


def _probed(labels: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of the rows with a label, evenly spread; none where these are of one class."""
    rows = np.flatnonzero(labels >= 0)
    return rows[spread(len(rows), most)] if len(np.unique(labels[rows])) > 1 else rows[:0]


def build_task(recipe: GanRecipe, data: GanData, yardstick: Yardstick, seed: int) -> Adversarial:
    """Return the task with its initial weights, which depend on the seed alone: arms of a comparison share them."""
    torch.manual_seed(derived_seed(seed, 0, "initial networks"))
    size, n_classes = recipe.data.image_size, len(data.class_names)
    method = find_method("gan", recipe.method["name"])(size, n_classes, **recipe.method_options)
    view = OrGiven(size, pixel_view(recipe))
    info = Info(len(data.images), 0, size, seed, view, random_view(recipe))
    objectives = build_objectives(recipe, method.discriminator, info)
    training = recipe.training
    return Adversarial(
        method,
        objectives if training.steps else [],  # no head without a training
        data,
        view,
        yardstick,
        training.batch_size,
        seed,
        method.share or share_of(objectives, info),
        recipe.report.images,
        training.betas,
        training.discriminator_lr_scale,
    )


@torch.no_grad()
def share_of(objectives: list[tuple[Objective, float]], info: Info) -> float:
    """Return which part of a batch has, in the views of the costliest objective, as many pixels as the whole batch.

    A quarter for four rotations (as in SSGAN), one for one view of each image.
    """
    index, size = torch.arange(8), info.image_size
    gray = Batch(torch.full((8, 3, size, size), 0.5), index, None, "share")
    least = 1.0
    for objective, _ in objectives:
        views = objective.views(gray, Clock(0, 1))
        seen = [views.images] if views.crops is None else [views.images, views.crops]
        pixels = sum(part.shape[0] * part.shape[2] * part.shape[3] for part in seen)
        least = min(least, 8 * size * size / pixels)
    return least
