"""Long-tailed data, as an experiment: a tail cut or given, a method with objectives, and how each class fares."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from uda.errors import UserError
from uda.experiments.content import accuracy_differences
from uda.experiments.experiment import Experiment, SeedResult, Settings, loop_options
from uda.experiments.fitted import fit_classifier
from uda.experiments.imbalance.assemble import Inputs, build_task, prepare_inputs, tailed_data
from uda.experiments.imbalance.outputs import beside_sections, expected_time, seed_content, write_seed_outputs
from uda.experiments.learned import seen_before
from uda.experiments.parts import check_moves, check_objectives, check_sizes, given_by, training_warnings
from uda.experiments.pool import PoolFound, PoolLoaded, find_pool, load_pool
from uda.experiments.tail import counts_line, cut, with_test
from uda.nn.encoder import create_encoder
from uda.recipe import ImbalanceRecipe
from uda.report.page import Section
from uda.ssl import Need
from uda.tasks import find_method
from uda.tasks.imbalance import Imbalanced
from uda.training.checkpoint import Identity
from uda.training.loop import train


class ImbalanceExperiment(Experiment):
    """Images with classes of unequal sizes, a method with objectives, and accuracy class by class."""

    headline: ClassVar[str] = "accuracy"

    def check(self, recipe: ImbalanceRecipe) -> None:
        """Refuse parts that do not fit together."""
        check_moves(recipe, "learning from a long tail", ", or give --steps 0 for a probe on it")
        name = recipe.method["name"]
        if not recipe.training.steps and (name != "ce" or recipe.objectives):
            raise UserError(
                "--steps 0 trains nothing: it fits a linear probe on the features as they are; give --method ce and "
                "no --objective with it"
            )
        if name in recipe.objectives:
            raise UserError(f"method '{name}' learns by the objective '{name}' already; leave --objective {name} out")
        check_sizes(recipe)

    def find(self, recipe: ImbalanceRecipe, settings: Settings) -> PoolFound:
        """Find the images and the weights, hold out a test set, and cut the tail."""
        pool = find_pool(recipe.data, settings.download)
        found = cut(with_test(pool), recipe.data)
        if pool.test is None and recipe.data.ratio is None:
            seen = seen_before(recipe.encoder.weights, recipe.data.source, ", or both runs the same data.ratio")
            found = replace(found, warnings=(*found.warnings, *seen))
        if recipe.data.ratio is None:
            found = replace(found, lines=(*found.lines, counts_line(found.table)))
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
        find_method("imbalance", recipe.method["name"])(encoder, torch.ones(2), **recipe.method_options)
        given = Need.INDEX | Need.PIXELS | Need.LABELS | given_by(encoder)
        check_objectives(recipe, given, f"task 'imbalance' with backbone '{recipe.encoder.backbone}'")
        return replace(found, warnings=(*found.warnings, *training_warnings(recipe, len(found.table))))

    def load(self, found: PoolFound, recipe: ImbalanceRecipe, settings: Settings) -> PoolLoaded:
        """Decode the images."""
        return load_pool(found, recipe.data, settings.progress)

    def prepare(self, recipe: ImbalanceRecipe, loaded: PoolLoaded, settings: Settings) -> Inputs:
        """Lay out squares."""
        return prepare_inputs(recipe, loaded, settings)

    def build(self, recipe: ImbalanceRecipe, loaded: PoolLoaded, inputs: Inputs, seed: int) -> Imbalanced:
        """Return the task with its initial weights."""
        return build_task(recipe, tailed_data(loaded, inputs), seed)

    def label(self, recipe: ImbalanceRecipe) -> str:
        """Return the method's name with its objectives."""
        return "+".join([recipe.method["name"], *recipe.objectives]) if recipe.training.steps else "as it comes"

    def look_before(
        self, recipe: ImbalanceRecipe, loaded: PoolLoaded, inputs: Inputs, task: Imbalanced, settings: Settings
    ) -> dict[str, Any]:
        """Say how long training will take; a resumed run has been told."""
        if recipe.preflight and recipe.training.steps and not settings.resume:
            with torch.random.fork_rng():
                settings.say(expected_time(recipe, task, settings))
        return {}

    def fit(
        self,
        recipe: ImbalanceRecipe,
        task: Imbalanced,
        folder: Path,
        identity: Identity,
        seed: int,
        settings: Settings,
    ) -> None:
        """Train the task, or without steps fit a probe on the backbone; then look at its features."""
        task.to(settings.device)
        if not recipe.training.steps:
            settings.say(fit_classifier(task, task.method.classifier, task.data.images, task.data.labels))
        train(task, loop_options(recipe, seed, settings), folder, identity, settings.device, settings.resume)
        task.look()

    def content(
        self, folder: Path, recipe: ImbalanceRecipe, loaded: PoolLoaded, task: Imbalanced, seed: int
    ) -> dict[str, Any]:
        """Return the figures of the test images, and those of each class."""
        return seed_content(recipe, self.label(recipe), loaded, task, seed)

    def write(
        self,
        folder: Path,
        recipe: ImbalanceRecipe,
        loaded: PoolLoaded,
        inputs: Inputs,
        task: Imbalanced,
        content: dict[str, Any],
    ) -> None:
        """Write backbone, predictions and the page."""
        write_seed_outputs(folder, recipe, loaded, task, content, self.origin(task, inputs))

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return the intervals of the differences over test images, where both arms were tested on the same ones."""
        if not _same_test(ours, theirs):
            return {}
        mine, others = ours.task.last_right, theirs.task.last_right
        same_groups = np.array_equal(ours.task.data.counts, theirs.task.data.counts)
        names = [name for name in mine if same_groups or name in ("accuracy", "balanced_error", "probe_accuracy")]
        shown = {name: mine[name] for name in names}
        return accuracy_differences(shown, others, ours.seed, ours.task.last_groups)

    def beside(self, ours: SeedResult, theirs: SeedResult) -> Sequence[Section]:
        """Return the accuracy of both arms class by class, and the picture of both feature spaces."""
        return beside_sections(ours, theirs) if _same_test(ours, theirs) else ()


def _same_test(ours: SeedResult, theirs: SeedResult) -> bool:
    one, other = (arm.content["fingerprints"]["test"] for arm in (ours, theirs))
    return one == other
