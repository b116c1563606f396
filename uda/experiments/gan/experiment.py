"""Generative adversarial networks, as an experiment: images to paint, two players, and how alike the paintings are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from uda.errors import UserError
from uda.experiments.experiment import Experiment, SeedResult, Settings, loop_options
from uda.experiments.gan.assemble import Inputs, build_task, check_recipe, gan_data, label, prepare_inputs
from uda.experiments.gan.outputs import beside_sections, seed_content, write_seed_outputs
from uda.experiments.parts import check_objectives, training_warnings
from uda.experiments.pool import PoolFound, PoolLoaded, find_pool, load_pool
from uda.experiments.preflight import copied_task, evaluations, for_each
from uda.metrics.generation import FEWEST
from uda.probes.extractor import CLASSIFIER, find_extractor
from uda.recipe import GanRecipe
from uda.report.page import Section
from uda.ssl import Need
from uda.tasks.gan import Adversarial
from uda.tasks.gan.task import STANDING
from uda.training.timing import duration, seconds_per_step, timed
from uda.wording import counted


class GanExperiment(Experiment):
    """Images to learn to paint, and figures of what was painted."""

    headline: ClassVar[str] = "kid"

    def check(self, recipe: GanRecipe) -> None:
        """Refuse parts that do not fit together."""
        check_recipe(recipe)

    def find(self, recipe: GanRecipe, settings: Settings) -> PoolFound:
        """Find the images and the extractor, and what objectives cannot have of generated images."""
        found = find_pool(recipe.data, settings.download)
        check_objectives(recipe, Need.PIXELS | Need.MAP, "task 'gan', whose generated images are made anew,")
        report = recipe.report
        if report.extractor != CLASSIFIER:
            title = find_extractor(report.extractor, report.extractor_weights, report.extractor_size).title
        elif len([count for count in found.table.counts().values() if count > 1]) < 2:
            raise UserError(
                f"report.extractor=classifier is trained on the images' classes, and {found.table.name} has no two of "
                "two images; give class folders, or name a timm model"
            )
        else:
            title = "smallconv, to be trained on the real images' classes"
        real = min(report.images, len(found.table))
        line = f"measured by: {title}, on {counted(real, 'real image')} and {report.images} generated ones"
        warnings = [*found.warnings, *training_warnings(recipe, len(found.table))]
        if real < FEWEST:
            warnings.append(
                f"{counted(real, 'image')} of each kind are too few for KID, which wants {FEWEST}: it is null; set "
                "report.images higher, or add images"
            )
        return replace(found, lines=(*found.lines, line), warnings=tuple(warnings))

    def load(self, found: PoolFound, recipe: GanRecipe, settings: Settings) -> PoolLoaded:
        """Decode the images."""
        return load_pool(found, recipe.data, settings.progress)

    def prepare(self, recipe: GanRecipe, loaded: PoolLoaded, settings: Settings) -> Inputs:
        """Lay out squares, and compute what real images are measured by."""
        return prepare_inputs(recipe, loaded, settings)

    def build(self, recipe: GanRecipe, loaded: PoolLoaded, inputs: Inputs, seed: int) -> Adversarial:
        """Return the task with its initial weights."""
        return build_task(recipe, gan_data(recipe, loaded, inputs), inputs.yardstick, seed)

    def label(self, recipe: GanRecipe) -> str:
        """Return the method's name with its objectives."""
        return label(recipe)

    def look_before(
        self, recipe: GanRecipe, loaded: PoolLoaded, inputs: Inputs, task: Adversarial, settings: Settings
    ) -> dict[str, Any]:
        """Say how long training will take; a resumed run has been told."""
        if recipe.preflight and recipe.training.steps and not settings.resume:
            with torch.random.fork_rng():
                settings.say(_expected_time(recipe, task, settings))
        return {}

    def content(
        self, folder: Path, recipe: GanRecipe, loaded: PoolLoaded, task: Adversarial, seed: int
    ) -> dict[str, Any]:
        """Return the figures of the generated images."""
        return seed_content(recipe, self.label(recipe), loaded, task, seed)

    def write(
        self,
        folder: Path,
        recipe: GanRecipe,
        loaded: PoolLoaded,
        inputs: Inputs,
        task: Adversarial,
        content: dict[str, Any],
    ) -> None:
        """Write the generator, its samples and the page."""
        write_seed_outputs(folder, recipe, loaded, task, content, self.origin(task, inputs))

    def beside(self, ours: SeedResult, theirs: SeedResult) -> Sequence[Section]:
        """Return the samples of both arms from the same latents, and both curves of the discriminator's features."""
        return beside_sections(ours, theirs)


def _expected_time(recipe: GanRecipe, task: Adversarial, settings: Settings) -> str:
    """Return how long training will take, from a few steps of a copy, and from painting and measuring a few images."""
    options = loop_options(recipe, recipe.seeds[0], settings)
    copied = copied_task(task, task.yardstick)
    step = seconds_per_step(copied, options, settings.device)
    few, looks = min(64, recipe.report.images), evaluations(options)
    painted: list[torch.Tensor] = []
    painting = timed(lambda: painted.append(copied.sample(torch.arange(few), "time")[0]), settings.device)
    standing = STANDING * copied.batch_size  # painted at each look besides
    look = painting * (recipe.report.images + standing) / (few + standing)
    seeing = timed(lambda: task.yardstick.extractor.features(painted[0], settings.device), settings.device)
    look += seeing * recipe.report.images / few
    return (
        f"training takes about {duration(options.steps * step + looks * look)}{for_each(len(recipe.seeds))}: "
        f"{counted(options.steps, 'step')} of {step:.2g} s and {counted(looks, 'look')} of {look:.2g} s at "
        f"{recipe.report.images} generated images"
    )
