"""Universal domain adaptation, as an experiment."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from uda.experiments.experiment import Experiment, SeedResult, Settings, loop_options
from uda.experiments.parts import training_warnings
from uda.experiments.unida.assemble import (
    Inputs,
    build_task,
    check_backbone,
    check_held_out,
    check_recipe,
    margin_warnings,
    method_label,
    prepare_inputs,
    unida_data,
)
from uda.experiments.unida.content import image_bootstrap, seed_content
from uda.experiments.unida.domains import Domains, Found, decode_domains, find_domains
from uda.experiments.unida.outputs import backbone_of, write_seed_outputs
from uda.experiments.unida.preflight import lines, look_before, time_line
from uda.nn.encoder import create_encoder
from uda.probes.selection import COLUMN, LAST
from uda.recipe import UnidaRecipe
from uda.tasks.unida import Answer, UniDA
from uda.training.checkpoint import Identity
from uda.training.history import History
from uda.training.loop import train
from uda.training.selected import load_selected


class UnidaExperiment(Experiment):
    """Two domains, a method, and what is known of the target at the end."""

    headline: ClassVar[str] = "universal_score"

    def check(self, recipe: UnidaRecipe) -> None:
        """Refuse parts that do not fit together."""
        check_recipe(recipe)

    def find(self, recipe: UnidaRecipe, settings: Settings) -> Found:
        """Find both domains, and the weights: that they cannot be had shall be known before anything is decoded."""
        found = find_domains(recipe.data, settings.download)
        check_held_out(recipe, found.source)
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
        check_backbone(recipe, encoder)
        own = (*training_warnings(recipe, len(found.target)), *margin_warnings(recipe, len(found.sets.source)))
        return replace(found, warnings=(*found.warnings, *own))

    def load(self, found: Found, recipe: UnidaRecipe, settings: Settings) -> Domains:
        """Decode both domains."""
        loaded = decode_domains(found, recipe.data, settings.progress)
        check_held_out(recipe, loaded.source.table)  # fewer where some cannot be read
        return loaded

    def prepare(self, recipe: UnidaRecipe, loaded: Domains, settings: Settings) -> Inputs:
        """Lay out pixels, or compute the frozen features."""
        return prepare_inputs(recipe, loaded, settings.device, settings.progress)

    def build(self, recipe: UnidaRecipe, loaded: Domains, inputs: Inputs, seed: int) -> UniDA:
        """Return the task with its initial weights."""
        return build_task(recipe, unida_data(loaded, inputs), inputs.backbone, seed)

    def label(self, recipe: UnidaRecipe) -> str:
        """Return the method's name, "(head only)" where its features cannot move."""
        return method_label(recipe)

    def origin(self, task: UniDA, inputs: Inputs) -> str:
        """Return where the backbone's weights came from."""
        return backbone_of(task, inputs).origin

    def look_before(
        self, recipe: UnidaRecipe, loaded: Domains, inputs: Inputs, task: UniDA, settings: Settings
    ) -> dict[str, Any]:
        """Look at both domains, and say how long training will take; a resumed run has been told."""
        if not recipe.preflight:
            return {}
        with torch.random.fork_rng():
            found = look_before(recipe, loaded, inputs, settings.device)
            if not settings.resume:
                for line in lines(found):
                    settings.say(line)
                options = loop_options(recipe, recipe.seeds[0], settings)
                settings.say(time_line(task, options, settings.device, len(recipe.seeds)))
        return found

    def fit(
        self, recipe: UnidaRecipe, task: UniDA, folder: Path, identity: Identity, seed: int, settings: Settings
    ) -> None:
        """Train the task, and go back to the evaluation that the recipe's selection chooses."""
        selects = recipe.selection != LAST
        options = replace(loop_options(recipe, seed, settings), select=COLUMN + recipe.selection if selects else "")
        train(task, options, folder, identity, settings.device, settings.resume)
        if selects:
            load_selected(folder, task, identity)
            task.evaluate()

    def content(self, folder: Path, recipe: UnidaRecipe, loaded: Domains, task: UniDA, seed: int) -> dict[str, Any]:
        """Return the figures of the target."""
        return seed_content(recipe, loaded, task, _answer(task), seed, History(folder / "history.csv", ()).read())

    def write(
        self, folder: Path, recipe: UnidaRecipe, loaded: Domains, inputs: Inputs, task: UniDA, content: dict[str, Any]
    ) -> None:
        """Write backbone, predictions and report."""
        write_seed_outputs(folder, recipe, loaded, inputs, task, _answer(task), content, self.origin(task, inputs))

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return the intervals of the difference over target images."""
        answer, other = _answer(ours.task), _answer(theirs.task)
        same = ours.content["fingerprints"]["target"] == theirs.content["fingerprints"]["target"]
        if ours.task.data.class_names != theirs.task.data.class_names or not same:
            return {}
        return image_bootstrap(ours.task, answer, ours.seed, minus=other)


def _answer(task: UniDA) -> Answer:
    assert task.last_answer is not None  # training ends with an evaluation
    return task.last_answer
