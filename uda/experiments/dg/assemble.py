"""From a recipe and domains to a task that is ready to train."""

from dataclasses import dataclass

import numpy as np
import torch

from uda.datasets.groups import joint_groups, own_groups
from uda.datasets.sampling import fewest_images, held_out
from uda.datasets.streams import Concatenated, Images
from uda.errors import UserError
from uda.experiments.dg.domains import Domains
from uda.experiments.experiment import Settings
from uda.experiments.parts import (
    build_objectives,
    check_moves,
    check_sizes,
    pixel_view,
    random_view,
    square,
    starting_encoder,
)
from uda.random import derived_seed
from uda.recipe import DgRecipe
from uda.ssl import Info
from uda.tasks import find_method
from uda.tasks.dg import DomainGeneralization, SourceDomains
from uda.tasks.dg.mixstyle import MixStyle
from uda.wording import counted


@dataclass(frozen=True)
class Inputs:
    """Squares that views are cut from: all source domains one after the other, and the target."""

    source: Images
    target: Images


def check_recipe(recipe: DgRecipe) -> None:
    """Refuse, before anything is read or trained, parts that do not fit together."""
    check_moves(recipe, "domain generalization")
    if recipe.encoder.batch_statistics == "target":
        raise UserError(
            "encoder.batch_statistics=target looks at the domain that is held out; domain generalization tests with "
            "running statistics, so leave it out"
        )
    if recipe.compat == "official":
        check_official(recipe)
    if recipe.selection == "source" and not recipe.data.validation:
        raise UserError("selection=source chooses by source images not trained on; set data.validation=0.1")
    if recipe.adapt and not (recipe.objectives or recipe.entropy_weight):
        raise UserError("adapt=true has nothing to learn from the target; give an --objective or an entropy_weight")
    if recipe.training.compile and recipe.method["name"] == MixStyle.name:
        raise UserError(
            "method 'mixstyle' mixes inside the backbone, which a compiled one does not notice; leave training.compile "
            "out"
        )
    check_sizes(recipe)


def check_official(recipe: DgRecipe) -> None:
    """Refuse compat=official where the class loss does not take the pass of a re-assembled puzzle."""
    about = "compat=official has the class loss on all images of a re-assembled puzzle, ordered or not"
    if not any(options.get("form") == "assembled" for options in recipe.objectives.values()):
        raise UserError(f"{about}, and there is none; add --objective jigsaw, or leave compat out")
    name = recipe.method["name"]
    if not find_method("dg", name).shares_pass:
        raise UserError(f"{about}, and method '{name}' sees whole images of its own; leave compat out")


def method_label(recipe: DgRecipe) -> str:
    """Return the method's name as reports print it, with what it must not be compared without saying."""
    name = "+".join([recipe.method["name"], *recipe.objectives])
    said = [*(["class loss on all images"] if recipe.compat == "official" else [])]
    said += ["target images used"] if recipe.adapt else []
    return f"{name} ({', '.join(said)})" if said else name


def prepare_inputs(recipe: DgRecipe, domains: Domains, settings: Settings) -> Inputs:
    """Lay out squares, on the GPU where they fit."""
    source = Concatenated(tuple(square(recipe, side.images, settings.device) for side in domains.sources))
    return Inputs(source, square(recipe, domains.target.images, settings.device))


def source_domains(recipe: DgRecipe, domains: Domains, inputs: Inputs) -> SourceDomains:
    """Return what the task holds; validation images are a share of every class of every domain."""
    labels, of_domain = domains.labels, domains.domain_of
    strata = np.where(labels >= 0, labels * len(domains.sources) + of_domain, -1)
    groups = joint_groups([side.table for side in domains.sources])
    kept = held_out(strata, recipe.data.validation, groups)
    if recipe.selection == "source" and not len(kept):
        raise UserError(
            f"selection=source chooses by source images not trained on, and data.validation={recipe.data.validation:g} "
            f"keeps none: it takes {counted(fewest_images(recipe.data.validation), 'image')} of a class and domain; "
            "raise it, or choose another rule"
        )
    return SourceDomains(
        inputs.source,
        labels,
        of_domain,
        kept,
        inputs.target,
        domains.target.table.labels,
        domains.class_names,
        groups,
        own_groups(domains.target.table),
    )


def build_task(recipe: DgRecipe, data: SourceDomains, seed: int) -> DomainGeneralization:
    """Return the task with its initial weights, which depend on the seed alone: arms of a comparison share them."""
    encoder = starting_encoder(recipe, seed)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    method = find_method("dg", recipe.method["name"])(encoder, len(data.class_names), **recipe.method_options)
    view = pixel_view(recipe)
    seen = len(data.source) + (len(data.target) if recipe.adapt else 0)
    n_classes = 0 if recipe.adapt else len(data.class_names)
    info = Info(seen, n_classes, recipe.data.image_size, seed, view, random_view(recipe))
    return DomainGeneralization(
        encoder,
        method,
        build_objectives(recipe, encoder, info),
        data,
        view,
        recipe.training.batch_size,
        seed,
        draw=recipe.data.draw,
        on_all=recipe.compat == "official",
        adapt=recipe.adapt,
        entropy_weight=recipe.entropy_weight,
        backbone_lr_scale=recipe.training.backbone_lr_scale,
    )
