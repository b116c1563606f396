"""From a recipe and two domains to a task that is ready to train."""

import math
from dataclasses import dataclass

import torch

from uda.datasets.groups import own_groups
from uda.datasets.sampling import fewest_images, held_out
from uda.datasets.streams import Images
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.parts import (
    build_objectives,
    check_objectives,
    check_sizes,
    frozen_features,
    given_by,
    random_view,
    square,
    starting_encoder,
    training_view,
)
from uda.experiments.unida.domains import Domains
from uda.nn.encoder import Encoder, FeatureEncoder, TimmEncoder
from uda.probes.selection import NEED_HELD_OUT, NEED_NONE
from uda.random import derived_seed
from uda.recipe import UnidaRecipe
from uda.ssl import Info, Need
from uda.tasks import find_method
from uda.tasks.unida import Setup, UniDA, UnidaData
from uda.wording import counted


@dataclass(frozen=True)
class Inputs:
    """What the encoder of a run sees: pixels, or in frozen mode features that `backbone` has computed."""

    source: Images
    target: Images
    backbone: TimmEncoder | None
    labelled: Images | None = None


def check_recipe(recipe: UnidaRecipe) -> None:
    """Refuse, before anything is read or trained, parts that do not fit together."""
    if recipe.encoder.freeze:
        check_objectives(recipe, Need.INDEX, "frozen mode (--freeze)")
    if recipe.encoder.adapter and not recipe.encoder.freeze:
        raise UserError("encoder.adapter=true needs frozen features; add --freeze, or leave the adapter out")
    if recipe.selection in NEED_HELD_OUT and not recipe.data.source_holdout:
        raise UserError(
            f"selection={recipe.selection} needs source images that are not trained on; hold some out with `--set "
            f"data.source_holdout=0.1`, or choose a rule that needs none: {', '.join(NEED_NONE)}"
        )
    check_sizes(recipe)


def margin_warnings(recipe: UnidaRecipe, n_classes: int) -> list[str]:
    """Return a sentence where entropy separation can act on no image: all entropies lie within its margin.

    They lie in [0, log K], and it acts where they are further than the margin from log(K)/2.
    """
    margin, furthest = recipe.method.get("margin"), math.log(n_classes) / 2
    if margin is None or margin < furthest:
        return []
    return [
        f"with {counted(n_classes, 'source class')} no entropy is further than {furthest:.2g} from log(K)/2, so that "
        f"entropy separation never acts at method.margin={margin:g}; set method.margin={furthest / 3:.2g}"
    ]


def check_held_out(recipe: UnidaRecipe, table: ImageTable) -> None:
    """Refuse a selection that asks about held-out source images where the share of every class rounds to none."""
    share = recipe.data.source_holdout
    if recipe.selection in NEED_HELD_OUT and not len(held_out(table.labels, share, own_groups(table))):
        raise UserError(
            f"selection={recipe.selection} needs source images that are not trained on, and "
            f"data.source_holdout={share:g} holds none out: give a class {fewest_images(share)} images or more, "
            f"or choose a rule that needs none: {', '.join(NEED_NONE)}"
        )


def check_backbone(recipe: UnidaRecipe, encoder: TimmEncoder) -> None:
    """Refuse objectives that need what the backbone, or the unlabelled target, does not give."""
    if not recipe.encoder.freeze:
        given = Need.INDEX | Need.PIXELS | given_by(encoder)
        check_objectives(recipe, given, f"task 'unida' with backbone '{recipe.encoder.backbone}'")


def method_label(recipe: UnidaRecipe) -> str:
    """Return the method's name as reports print it, with what it must not be compared without saying.

    "head only" where its features cannot move; "target labels" where it learned from some.
    """
    said = []
    if recipe.encoder.freeze and recipe.encoder.adapter:
        said.append("frozen features, adapter")
    elif recipe.encoder.freeze and find_method("unida", recipe.method["name"]).moves_features:
        said.append("head only")
    if recipe.data.target_labels:
        said.append(f"target labels: {recipe.data.target_labels} a class")
    elif recipe.data.labelled_target:
        said.append("labelled target images")
    name = "+".join([recipe.method["name"], *recipe.objectives])
    return f"{name} ({', '.join(said)})" if said else name


def prepare_inputs(recipe: UnidaRecipe, domains: Domains, device: torch.device, progress: bool) -> Inputs:
    """Lay out pixels, or compute the frozen features once; the same for every seed and every head of a recipe."""
    sides = [side for side in (domains.source, domains.target, domains.labelled) if side is not None]
    backbone: TimmEncoder | None = None
    images: list[Images]
    if recipe.encoder.freeze:
        backbone = starting_encoder(recipe, 0)  # random weights too are the same when a run resumes
        images = [frozen_features(recipe, backbone, side, device, progress) for side in sides]
    else:
        images = [square(recipe, side.images, device) for side in sides]
    return Inputs(images[0], images[1], backbone, images[2] if len(images) > 2 else None)


def unida_data(domains: Domains, inputs: Inputs) -> UnidaData:
    """Return what the task holds of both domains."""
    source_labels, target_labels = domains.source.table.labels, domains.target.table.labels
    few = None if domains.labelled is None else domains.labelled.table.labels
    return UnidaData(
        inputs.source,
        source_labels,
        inputs.target,
        target_labels,
        domains.class_names,
        inputs.labelled,
        few,
        own_groups(domains.source.table),
        own_groups(domains.target.table),
    )


def build_task(recipe: UnidaRecipe, data: UnidaData, backbone: Encoder | None, seed: int) -> UniDA:
    """Return the task with its initial weights, which depend on the seed alone: arms of a comparison share them.

    backbone: the one that has computed the features in frozen mode, else None.
    """
    encoder: Encoder
    if backbone is None:
        encoder = starting_encoder(recipe, seed)
    else:
        torch.manual_seed(derived_seed(seed, 0, "initial adapter"))
        encoder = FeatureEncoder(backbone.dim, recipe.encoder.adapter)
    augment = training_view(recipe)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    setup = Setup(encoder.dim, data.n_classes, len(data.target))
    method = find_method("unida", recipe.method["name"])(setup, **recipe.method_options)
    info = Info(len(data.target), 0, recipe.data.image_size, seed, augment, random_view(recipe))
    return UniDA(
        encoder,
        method,
        build_objectives(recipe, encoder, info),
        data,
        augment,
        augment.plain,
        recipe.rejection,
        recipe.training.batch_size,
        seed,
        backbone_lr_scale=recipe.training.backbone_lr_scale,
        target_statistics=recipe.encoder.batch_statistics == "target",
        held_out=held_out(data.source_labels, recipe.data.source_holdout, data.source_groups),
    )
