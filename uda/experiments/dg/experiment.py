"""Domain generalization, as an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from uda.errors import UserError
from uda.experiments.content import accuracy_differences
from uda.experiments.dg.assemble import (
    Inputs,
    build_task,
    check_recipe,
    method_label,
    prepare_inputs,
    source_domains,
)
from uda.experiments.dg.domains import Domains, Found, find_domains, load_domains
from uda.experiments.dg.outputs import activations_section, seed_content, write_seed_outputs
from uda.experiments.dg.preflight import expected_time
from uda.experiments.dg.selection import check_folds, fit
from uda.experiments.experiment import Experiment, SeedResult, Settings
from uda.experiments.parts import check_objectives, given_by, training_warnings
from uda.nn.encoder import create_encoder
from uda.recipe import DgRecipe
from uda.report.page import Section
from uda.ssl import Need
from uda.tasks import find_method
from uda.tasks.dg import DomainGeneralization
from uda.training.checkpoint import Identity
from uda.wording import counted


class DgExperiment(Experiment):
    """Domains to learn from, a method with objectives, and a domain that was never seen."""

    headline: ClassVar[str] = "accuracy"

    def check(self, recipe: DgRecipe) -> None:
        """Refuse parts that do not fit together."""
        check_recipe(recipe)

    def find(self, recipe: DgRecipe, settings: Settings) -> Found:
        """Find the domains and the weights, and what the backbone gives to the method and the objectives."""
        found = find_domains(recipe.data, settings.download)
        n_domains, method = len(found.sources), find_method("dg", recipe.method["name"])
        if n_domains < method.fewest_domains:
            raise UserError(
                f"method '{method.name}' compares source domains and {found.sources[0].name} is a single one; name a "
                "data set or a folder with more domains, or another --method"
            )
        if recipe.selection == "leave_one_out" and n_domains <= method.fewest_domains:
            raise UserError(
                f"selection=leave_one_out leaves each source domain out in turn, and method '{method.name}' needs "
                f"{counted(method.fewest_domains, 'domain')} beside it; there {'is' if n_domains == 1 else 'are'} "
                f"{n_domains} in all: choose by source images instead (selection=source)"
            )
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
        method(encoder, 2, **recipe.method_options)
        given = Need.INDEX | Need.PIXELS | given_by(encoder) | (Need.NOTHING if recipe.adapt else Need.LABELS)
        check_objectives(recipe, given, f"task 'dg' with backbone '{recipe.encoder.backbone}'")
        warnings = [*found.warnings, *training_warnings(recipe, sum(map(len, found.sources)))]
        if recipe.adapt:
            warnings.append("images of the held-out domain are learned from (adapt=true): this is adaptation")
        return replace(found, warnings=tuple(warnings))

    def load(self, found: Found, recipe: DgRecipe, settings: Settings) -> Domains:
        """Decode the domains."""
        return load_domains(found, recipe.data, settings.progress)

    def prepare(self, recipe: DgRecipe, loaded: Domains, settings: Settings) -> Inputs:
        """Lay out squares."""
        return prepare_inputs(recipe, loaded, settings)

    def build(self, recipe: DgRecipe, loaded: Domains, inputs: Inputs, seed: int) -> DomainGeneralization:
        """Return the task with its initial weights."""
        data = source_domains(recipe, loaded, inputs)
        if recipe.selection == "leave_one_out":
            check_folds(data, [side.table.name for side in loaded.sources])
        return build_task(recipe, data, seed)

    def label(self, recipe: DgRecipe) -> str:
        """Return the method's name with its objectives."""
        return method_label(recipe)

    def look_before(
        self, recipe: DgRecipe, loaded: Domains, inputs: Inputs, task: DomainGeneralization, settings: Settings
    ) -> dict[str, Any]:
        """Say how long training will take; a resumed run has been told."""
        if recipe.preflight and not settings.resume:
            with torch.random.fork_rng():
                settings.say(expected_time(recipe, task, settings))
        return {}

    def fit(
        self,
        recipe: DgRecipe,
        task: DomainGeneralization,
        folder: Path,
        identity: Identity,
        seed: int,
        settings: Settings,
    ) -> None:
        """Train the task, and go back to the evaluation that the recipe's selection chooses."""
        fit(recipe, task, folder, identity, seed, settings)

    def content(
        self, folder: Path, recipe: DgRecipe, loaded: Domains, task: DomainGeneralization, seed: int
    ) -> dict[str, Any]:
        """Return the figures of the unseen domain."""
        return seed_content(folder, recipe, loaded, task, seed)

    def write(
        self,
        folder: Path,
        recipe: DgRecipe,
        loaded: Domains,
        inputs: Inputs,
        task: DomainGeneralization,
        content: dict[str, Any],
    ) -> None:
        """Write backbone, predictions and report."""
        write_seed_outputs(folder, recipe, loaded, task, content, self.origin(task, inputs))

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return the intervals of the differences in accuracy, where both arms were tested on the same images."""
        mine, others = ours.task.last_right, theirs.task.last_right
        same = ours.content["fingerprints"] == theirs.content["fingerprints"]
        return accuracy_differences(mine, others, ours.seed, ours.task.last_groups) if same else {}

    def beside(self, ours: SeedResult, theirs: SeedResult) -> Sequence[Section]:
        """Return class activation maps of both arms on the same images of the unseen domain."""
        if ours.content["fingerprints"] != theirs.content["fingerprints"]:
            return ()
        return (activations_section(ours, theirs),)
