"""Pre-training, as an experiment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from uda.datasets.packed import SquareImages
from uda.datasets.sampling import spread
from uda.errors import UserError
from uda.experiments.content import accuracy_differences, interval_kind
from uda.experiments.experiment import Experiment, SeedResult, Settings
from uda.experiments.parts import (
    build_objectives,
    check_objectives,
    check_sizes,
    check_unused,
    given_by,
    random_view,
    square,
    starting_encoder,
    training_view,
    training_warnings,
    write_backbone,
)
from uda.experiments.pool import PoolFound, PoolLoaded, find_pool, load_pool, usable_labels
from uda.experiments.seed import page_frame, seed_frame
from uda.experiments.tail import cut
from uda.nn.encoder import TimmEncoder, create_encoder
from uda.random import derived_seed
from uda.recipe import PretrainRecipe, Recipe
from uda.report.pretrain import PretrainReport, write_pretrain_report
from uda.ssl import Info, Need, find_objective
from uda.ssl.views import NoAugmentation
from uda.tasks import find_method
from uda.tasks.pretrain import Pool, Pretrain
from uda.training.history import History

_SHOWN = 1500
"""Images in the report's map of features."""


@dataclass(frozen=True)
class Inputs:
    """Squares that views are cut from."""

    train: SquareImages
    test: SquareImages | None


class PretrainExperiment(Experiment):
    """A pool of images, objectives, and how good the features are at the end."""

    headline: ClassVar[str] = "knn_accuracy"

    def check(self, recipe: PretrainRecipe) -> None:
        """Refuse parts that do not fit together."""
        if recipe.study is not None:
            raise UserError(f"study={recipe.study} is many runs: give it to the command, without --sweep")
        if recipe.encoder.freeze:
            raise UserError("pre-training moves the backbone; leave --freeze out, or evaluate it by --task probe")
        if recipe.encoder.adapter:
            raise UserError("encoder.adapter=true stands on frozen features and pre-training has none; leave it out")
        method = find_method("pretrain", recipe.method["name"])
        using = method.uses_labels or _needs_labels(recipe)
        if recipe.data.labels is not None and recipe.training.steps and not using:
            raise UserError(
                "--labels says how many labels training may use and nothing here uses any; add --method supervised"
            )
        if not recipe.objectives and not method.uses_labels and recipe.training.steps:
            raise UserError(
                "there is nothing to learn from: name one or more by --objective (simclr, rotation, …), or add "
                "--method supervised"
            )
        if recipe.data.ratio is not None and recipe.data.groups not in (None, "none"):
            raise UserError("data.ratio cuts a tail before images are grouped by data.groups; leave one of them out")
        check_sizes(recipe)
        check_unused(recipe, "backbone_lr_scale", "in task 'pretrain'")

    def find(self, recipe: PretrainRecipe, settings: Settings) -> PoolFound:
        """Find the images, and what the backbone gives to objectives."""
        found = cut(find_pool(recipe.data, settings.download, recipe.data.unlabelled), recipe.data)
        given = Need.INDEX | Need.PIXELS
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
        labelled = bool((found.table.labels >= 0).any())
        given |= given_by(encoder) | (Need.LABELS if labelled else Need.NOTHING)
        check_objectives(recipe, given, f"pre-training '{recipe.encoder.backbone}' on {found.table.name}")
        if find_method("pretrain", recipe.method["name"]).uses_labels and not labelled:
            raise UserError(f"{found.table.name} has no labels to learn from; give --method self_supervised")
        crowded = [] if recipe.data.tiles else training_warnings(recipe, len(found.table))
        warnings = (*found.warnings, *crowded)
        return replace(found, warnings=warnings)

    def load(self, found: PoolFound, recipe: PretrainRecipe, settings: Settings) -> PoolLoaded:
        """Decode the images."""
        return load_pool(found, recipe.data, settings.progress)

    def prepare(self, recipe: PretrainRecipe, loaded: PoolLoaded, settings: Settings) -> Inputs:
        """Lay out squares, on the GPU where they fit."""
        return prepare_pool(recipe, loaded, settings)

    def build(self, recipe: PretrainRecipe, loaded: PoolLoaded, inputs: Inputs, seed: int) -> Pretrain:
        """Return the task with its initial weights."""
        return build_pretrain(recipe, loaded, inputs, seed)

    def label(self, recipe: PretrainRecipe) -> str:
        """Return the objectives' names, with the labels that join them."""
        names = list(recipe.objectives)
        if find_method("pretrain", recipe.method["name"]).uses_labels:
            names.insert(0, "supervised" + (f" ({recipe.data.labels} of the labels)" if recipe.data.labels else ""))
        return "+".join(names) or "untrained"

    def content(
        self, folder: Path, recipe: PretrainRecipe, loaded: PoolLoaded, task: Pretrain, seed: int
    ) -> dict[str, Any]:
        """Return the figures of the features."""
        assert task.last_metrics is not None
        device, kind = next(task.parameters()).device, interval_kind(loaded.groups is not None)
        frame = seed_frame(
            recipe, self.label(recipe), seed, loaded, task.last_metrics, task.last_intervals, kind, device
        )
        return frame | {
            "warnings": task.warnings,
            "source": loaded.title,
            "images": {"train": len(loaded.train.table), "test": len(loaded.test.table) if loaded.test else 0},
            **groups_content(loaded),
        }

    def write(
        self,
        folder: Path,
        recipe: PretrainRecipe,
        loaded: PoolLoaded,
        inputs: Inputs,
        task: Pretrain,
        content: dict[str, Any],
    ) -> None:
        """Write the backbone and the report."""
        encoder = task.exported()
        assert isinstance(encoder, TimmEncoder)
        write_backbone(folder / "backbone.safetensors", encoder)
        rows = spread(len(loaded.train.table), _SHOWN)
        write_pretrain_report(
            folder / "report.html",
            PretrainReport(
                **page_frame(recipe, loaded, content, self.origin(task, inputs), task.seed),
                history=History(folder / "history.csv", ()).read(),
                features=task.encode(task.pool.images, rows).numpy(),
                labels=task.pool.labels[rows],
                views=task.shown_views(),
                warnings=task.warnings,
            ),
        )

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return the intervals of the differences in accuracy, where both arms were tested on the same images."""
        if ours.content["fingerprints"] != theirs.content["fingerprints"] or not same_images(
            ours.task.pool, theirs.task.pool
        ):
            return {}
        return accuracy_differences(ours.task.last_right, theirs.task.last_right, ours.seed, ours.task.last_groups)


def groups_content(loaded: PoolLoaded) -> dict[str, Any]:
    """Return what `metrics.json` says of groups, where there are any."""
    return {} if loaded.groups is None else {"groups": dict(loaded.groups.content)}


def same_images(ours: Pool, theirs: Pool) -> bool:
    """Return whether two pools have the same labels in the same order, to learn from and to test on."""
    return np.array_equal(ours.labels, theirs.labels) and np.array_equal(ours.test_labels, theirs.test_labels)


def prepare_pool(recipe: Recipe, loaded: PoolLoaded, settings: Settings) -> Inputs:
    """Return the squares of both splits, on the GPU where they fit."""
    test = None if loaded.test is None else square(recipe, loaded.test.images, settings.device)
    return Inputs(square(recipe, loaded.train.images, settings.device), test)


def build_pretrain(recipe: PretrainRecipe, loaded: PoolLoaded, inputs: Inputs, seed: int) -> Pretrain:
    """Return the task with its initial weights, which depend on the seed alone."""
    encoder = starting_encoder(recipe, seed)
    table = loaded.train.table
    n_classes = len(table.classes)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    method = find_method("pretrain", recipe.method["name"])(encoder.dim, n_classes, **recipe.method_options)
    augment = training_view(recipe, inputs.train)
    assert isinstance(augment, NoAugmentation)
    info = Info(len(table), n_classes, recipe.data.image_size, seed, augment, random_view(recipe, inputs.train))
    pool = Pool(
        images=inputs.train,
        labels=table.labels,
        usable=usable_labels(table.labels, recipe.data.labels, seed, loaded.train_groups),
        class_names=table.classes,
        test_images=inputs.test,
        test_labels=loaded.test.table.labels if loaded.test else table.labels[:0],
        groups=loaded.train_groups,
        test_groups=loaded.test_groups,
    )
    objectives = build_objectives(recipe, encoder, info)
    return Pretrain(encoder, method, objectives, pool, augment, recipe.training.batch_size, seed)


def _needs_labels(recipe: PretrainRecipe) -> bool:
    return any(Need.LABELS in find_objective(name).needs for name in recipe.objectives)
