"""From a recipe and two domains to a task that is ready to train."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.cache import default_cache_dir
from uda.datasets.packed import PackedImages, SquareImages
from uda.datasets.streams import FrozenFeatures, Images
from uda.errors import UserError
from uda.nn.encoder import Encoder, FeatureEncoder, TimmEncoder, create_encoder
from uda.pair import Domain, Domains
from uda.probes.frozen import cached_passes, compute_passes, weights_hash
from uda.random import derived_seed
from uda.recipe import Recipe
from uda.ssl import OBJECTIVES, Info, Need, check_needs, find_objective
from uda.ssl.views import AUGMENTATIONS, NoAugmentation, PickPass
from uda.tasks.unida import Setup, UniDA, UnidaData, find_method


@dataclass(frozen=True)
class Inputs:
    """What the encoder of a run sees: pixels, or in frozen mode features that `backbone` has computed."""

    source: Images
    target: Images
    backbone: TimmEncoder | None


def check_recipe(recipe: Recipe) -> None:
    """Refuse, before anything is read or trained, parts that do not fit together."""
    find_method(recipe.method["name"])
    given = Need.INDEX if recipe.encoder.freeze else Need.INDEX | Need.PIXELS | Need.MAP
    where = "frozen mode (--freeze)" if recipe.encoder.freeze else f"task '{recipe.task}'"
    for name in recipe.objectives:
        check_needs(find_objective(name), given, where, OBJECTIVES.values())
    if recipe.encoder.adapter and not recipe.encoder.freeze:
        raise UserError("encoder.adapter=true needs frozen features; add --freeze, or leave the adapter out")
    if recipe.data.packed_size < recipe.data.image_size:
        raise UserError(
            f"data.stored_size={recipe.data.packed_size} is below the image size {recipe.data.image_size}; raise it"
        )


def method_label(recipe: Recipe) -> str:
    """Return the method's name as reports print it; "(head only)" where its features cannot move."""
    name = "+".join([recipe.method["name"], *recipe.objectives])
    if recipe.encoder.freeze and recipe.encoder.adapter:
        return f"{name} (frozen features, adapter)"
    head_only = recipe.encoder.freeze and find_method(recipe.method["name"]).moves_features
    return f"{name} (head only)" if head_only else name


def prepare_inputs(recipe: Recipe, domains: Domains, device: torch.device, progress: bool) -> Inputs:
    """Lay out pixels, or compute the frozen features once; the same for every seed and every head of a recipe."""
    if not recipe.encoder.freeze:
        source, target = (square(recipe, side.images, device) for side in (domains.source, domains.target))
        return Inputs(source, target, None)
    torch.manual_seed(derived_seed(0, 0, "initial backbone"))  # random weights too are the same when a run resumes
    backbone = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
    passes = [frozen_features(recipe, backbone, side, device, progress) for side in (domains.source, domains.target)]
    return Inputs(passes[0], passes[1], backbone)


def training_view(recipe: Recipe) -> NoAugmentation | PickPass:
    """Return what a batch undergoes in training (in frozen mode, which pass is taken) and in evaluation."""
    return PickPass() if recipe.encoder.freeze else AUGMENTATIONS[recipe.data.augment](recipe.data.image_size)


def square(recipe: Recipe, images: PackedImages, device: torch.device) -> SquareImages:
    """Return stored squares that views are cut from; on the GPU where they fit."""
    return SquareImages(images, recipe.data.packed_size, recipe.data.fit, device=device)


def frozen_features(
    recipe: Recipe,
    backbone: TimmEncoder,
    domain: Domain,
    device: torch.device,
    progress: bool,
    passes: int | None = None,
) -> FrozenFeatures:
    """Return the features of the evaluation view and, after it, of augmented ones; kept in the cache."""
    augment = AUGMENTATIONS[recipe.data.augment](recipe.data.image_size)
    count = recipe.encoder.passes if passes is None else passes

    def augmented(number: int) -> Callable[[Tensor, Tensor], Tensor]:
        # The passes are data, not training: the same for every seed, so that seeds share them.
        return lambda pixels, rows: augment(Batch(pixels, rows, None, "frozen"), Clock(number, count))

    views = [lambda pixels, rows: augment.plain(pixels), *(augmented(number) for number in range(1, count))]
    key = (
        f"1 {domain.images.fingerprint} {weights_hash(backbone)} {backbone.name} {augment!r} {recipe.data.packed_size} "
        f"{recipe.data.fit} {count}"
    )
    return FrozenFeatures(
        cached_passes(
            default_cache_dir(),
            key,
            lambda: compute_passes(
                backbone, square(recipe, domain.images, device), views, device, domain.table.name, progress
            ),
        )
    )


def unida_data(domains: Domains, inputs: Inputs) -> UnidaData:
    """Return what the task holds of both domains."""
    source_labels, target_labels = domains.source.table.labels, domains.target.table.labels
    return UnidaData(inputs.source, source_labels, inputs.target, target_labels, domains.class_names)


def build_task(recipe: Recipe, data: UnidaData, backbone: TimmEncoder | None, seed: int) -> UniDA:
    """Return the task with its initial weights, which depend on the seed alone: arms of a comparison share them.

    backbone: the one that has computed the features in frozen mode, else None.
    """
    torch.manual_seed(derived_seed(seed, 0, "initial backbone"))
    encoder: Encoder
    if backbone is None:
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
    else:
        encoder = FeatureEncoder(backbone.dim, recipe.encoder.adapter)
    augment = training_view(recipe)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    setup = Setup(encoder.dim, data.n_classes, len(data.target))
    method = find_method(recipe.method["name"])(setup, **recipe.method_options)
    info = Info(len(data.target), 0, recipe.data.image_size, seed, augment)
    objectives = []
    for name, options in recipe.objectives.items():
        torch.manual_seed(derived_seed(seed, 0, f"initial {name}"))
        own = {key: value for key, value in options.items() if key != "weight"}
        objectives.append((find_objective(name)(encoder, info, **own), float(options["weight"])))
    return UniDA(
        encoder,
        method,
        objectives,
        data,
        augment,
        augment.plain,
        recipe.rejection,
        recipe.training.batch_size,
        seed,
        backbone_lr_scale=recipe.training.backbone_lr_scale,
        target_statistics=recipe.encoder.batch_statistics == "target",
    )
