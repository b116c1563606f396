"""What the tasks' experiments have in common: images, views, encoders and objectives from the names in a recipe."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from timm.models import model_entrypoint
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.cache import Unreadable, default_cache_dir, pack
from uda.datasets.catalog import find_dataset
from uda.datasets.packed import PackedImages, SquareImages
from uda.datasets.sampling import spread
from uda.datasets.streams import FrozenFeatures, Images, Subset
from uda.datasets.table import ImageTable
from uda.datasets.tiling import Cutting, tiled
from uda.errors import UserError
from uda.nn.encoder import Encoder, TimmEncoder, create_encoder
from uda.probes.frozen import cached_passes, compute_passes, image_ids, weights_hash
from uda.random import derived_seed
from uda.recipe import Recipe
from uda.sections import GroupedRecipe, ImagesRecipe
from uda.ssl import OBJECTIVES, Info, Need, Objective, check_needs, find_objective, find_random_views
from uda.ssl.medical_views import Histology
from uda.ssl.objective import RandomView
from uda.ssl.placebo import PREFIX
from uda.ssl.stain import stain_statistics
from uda.ssl.views import AUGMENTATIONS, NoAugmentation, OfFamily, PickPass
from uda.training.outputs import write_tensors
from uda.wording import counted

THUMBNAIL = 96  # pixels of a side
MEASURED = 1000  # training images of which the statistics of their stains are taken


@dataclass(frozen=True)
class Domain:
    """One side: the table without unreadable files, its decoded images, and the files left out."""

    table: ImageTable
    images: PackedImages
    unreadable: tuple[Unreadable, ...] = ()

    def select(self, rows: np.ndarray) -> "Domain":
        """Return some of the images; what was left out stays said."""
        return replace(self, table=self.table.select(rows), images=self.images.select(rows))

    @property
    def fingerprint(self) -> str:
        """What images, in which order and with which labels these are, wherever they lie; figures depend on it."""
        digest = hashlib.sha256(self.images.fingerprint.encode())
        digest.update(self.table.labels.astype("<i8").tobytes() + os.fsencode("\0".join(self.table.classes)))
        return digest.hexdigest()[:32]

    @property
    def losses(self) -> tuple[str, ...]:
        """What to tell the user, who was told before how many images were found: how many there are."""
        if not self.unreadable:
            return ()
        remaining, lost = len(self.table), len(self.unreadable)
        if "image" in self.table.columns:  # tiles
            remaining = len(set(self.table.columns["image"]))
        return (
            f"{self.table.name}: {lost} of {counted(remaining + lost, 'image')} cannot be read and "
            f"{'is' if lost == 1 else 'are'} left out, {remaining} remain; the report lists the files",
        )


def load_domain(table: ImageTable, recipe: ImagesRecipe, progress: bool = True) -> Domain:
    """Decode one table through the packed cache, or cut it into tiles; `recipe.strict` refuses unreadable files."""
    if isinstance(recipe, GroupedRecipe) and recipe.tiles:
        cutting = Cutting(recipe.tiles, recipe.tile_step or recipe.tiles, recipe.background)
        images, kept, unreadable = tiled(table, cutting, recipe.strict, progress)
        return Domain(kept, images, tuple(unreadable))
    images, kept, unreadable = pack(table, recipe.packed_size, strict=recipe.strict, progress=progress)
    return Domain(kept, images, tuple(unreadable))


def dataset_name(source: str | None, target: str | None) -> str | None:
    """Return the data set by which published recipes are called: the catalog's name, "builtin", or None for folders."""
    names = [name for name in (source, target) if name]
    if all(name.split("/")[0] == "builtin" for name in names):
        return "builtin"
    for name in names:
        dataset = None if Path(name).exists() else find_dataset(name.split("/")[0])
        if dataset is not None:
            return dataset.name
    return None


def check_sizes(recipe: Recipe) -> None:
    """Refuse a stored size that is below the size of views."""
    if recipe.data.packed_size < recipe.data.image_size:
        raise UserError(
            f"data.stored_size={recipe.data.packed_size} is below the image size {recipe.data.image_size}; raise it"
        )


def check_unused(recipe: Recipe, option: str, where: str) -> None:
    """Refuse another value than the default of a training option that nothing here uses.

    Whether it was named does not count: the recipe that a run leaves behind names every option.
    """
    if getattr(recipe.training, option) != type(recipe.training).model_fields[option].default:
        raise UserError(f"training.{option} has no effect {where}; leave it out")


def check_moves(recipe: Recipe, what: str, instead: str = "") -> None:
    """Refuse frozen mode where training moves the backbone; what: the training, instead: what else there is."""
    if recipe.encoder.freeze or recipe.encoder.adapter:
        raise UserError(f"{what} moves the backbone; leave --freeze and encoder.adapter out{instead}")


def check_objectives(recipe: Recipe, given: Need, where: str) -> None:
    """Refuse objectives that need what the task or its backbone does not give, or that its views make unlearnable."""
    check_views(recipe, measures=recipe.task == "pretrain")
    for name in recipe.objectives:
        check_needs(find_objective(name), given, where, OBJECTIVES.values())


def training_warnings(recipe: Recipe, n_images: int) -> list[str]:
    """Return a sentence for each way in which the training does not suit the objectives, which see n_images."""
    training, found = recipe.training, []
    size = training.batch_size
    if 0 < training.steps <= training.warmup_steps:
        found.append(
            f"the learning rate warms up over {training.warmup_steps} steps and training ends after {training.steps}, "
            f"before it is reached; set training.warmup_steps={training.steps // 10}"
        )
    if recipe.objectives and size > n_images:
        found.append(
            f"a batch of {size} holds some of the {n_images} images more than once; give --batch-size {n_images} or "
            "less"
        )
    for name in recipe.objectives:
        fewest = find_objective(name).fewest
        if size < fewest:
            found.append(
                f"objective '{name}' compares statistics of a batch, and {size} images say little of them; give "
                f"--batch-size {fewest} or more"
            )
    return found


def given_by(encoder: TimmEncoder) -> Need:
    """Return what of an objective's needs the backbone gives: an unpooled map (most CNNs), or tokens (ViTs)."""
    return {4: Need.MAP, 3: Need.TOKENS}.get(encoder.unpooled_dims, Need.NOTHING)


def starting_encoder(recipe: Recipe, seed: int) -> TimmEncoder:
    """Return the encoder that training starts from; random weights depend on the seed alone."""
    torch.manual_seed(derived_seed(seed, 0, "initial backbone"))
    return create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)


def random_view(recipe: Recipe, images: Images | None = None) -> RandomView:
    """Return the strong augmentation of a recipe; images: what it may measure its statistics on."""
    options = {key: value for key, value in recipe.views.items() if key != "name"}
    view = find_random_views(recipe.views["name"])(recipe.data.image_size, **options)
    if images is not None and isinstance(view, Histology) and view.normalize:
        measured = torch.cat([images.batch(rows).cpu() for rows in np.array_split(spread(len(images), MEASURED), 4)])
        view = replace(view, statistics=stain_statistics(measured))
    return view


def check_views(recipe: Recipe, measures: bool = False) -> None:
    """Refuse views under which an objective cannot be learned, or that want statistics which the task does not measure.

    measures: whether the task hands its images to `random_view`.
    """
    if recipe.views["name"] != "histology":
        return
    if not measures and recipe.views["normalize"]:
        raise UserError(
            f"views.normalize takes statistics of the training images, which task '{recipe.task}' does not measure; "
            "set views.normalize=0"
        )
    asking = [name for name in recipe.objectives if find_objective(name).asks_turns]
    if asking and recipe.data.augment == "views" and recipe.views["turns"]:
        raise UserError(
            f"objective '{asking[0]}' asks how an image was turned, and data.augment=views turns every image by a "
            "random right angle before; set views.turns=false, or data.augment=crop-flip"
        )


def build_objectives(recipe: Recipe, encoder: Encoder, info: Info) -> list[tuple[Objective, float]]:
    """Return the objectives of a recipe with their weights; a placebo has the initial heads of what it stands for."""
    made: list[tuple[Objective, float]] = []
    for name, options in recipe.objectives.items():
        torch.manual_seed(derived_seed(info.seed, 0, f"initial {name.removeprefix(PREFIX)}"))
        own = {key: value for key, value in options.items() if key != "weight"}
        made.append((find_objective(name)(encoder, info, **own), float(options["weight"])))
    return made


def pixel_view(recipe: Recipe, images: Images | None = None) -> NoAugmentation:
    """Return what stored pixels undergo in training and in evaluation; images: as in `random_view`."""
    size = recipe.data.image_size
    return (
        OfFamily(size, random_view(recipe, images))
        if recipe.data.augment == "views"
        else AUGMENTATIONS[recipe.data.augment](size)
    )


def training_view(recipe: Recipe, images: Images | None = None) -> NoAugmentation | PickPass:
    """Return what a batch undergoes in training (in frozen mode, which pass is taken) and in evaluation."""
    return PickPass() if recipe.encoder.freeze else pixel_view(recipe, images)


def square(recipe: Recipe, images: PackedImages, device: torch.device) -> SquareImages:
    """Return stored squares that views are cut from; on the GPU where they fit."""
    return SquareImages(images, recipe.data.packed_size, recipe.data.fit, device=device)


def frozen_features(
    recipe: Recipe, backbone: TimmEncoder, domain: Domain, device: torch.device, progress: bool
) -> FrozenFeatures:
    """Return the features of the evaluation view and, after it, of augmented ones; kept in the cache."""
    augment = pixel_view(recipe)
    count = recipe.encoder.passes

    def augmented(number: int) -> Callable[[Tensor, Tensor], Tensor]:
        # The passes are data, not training: the same for every seed, so that seeds share them.
        return lambda pixels, ids: augment(Batch(pixels, ids, None, "frozen"), Clock(number, count))

    views = [lambda pixels, ids: augment.plain(pixels), *(augmented(number) for number in range(1, count))]
    key = f"2 {weights_hash(backbone)} {backbone.name} {augment!r} {recipe.data.packed_size} {recipe.data.fit} {count}"
    images, hashes = square(recipe, domain.images, device), domain.images.hashes
    title = f"features of {domain.table.name}" if progress else None

    def compute(rows: np.ndarray) -> Tensor:
        return compute_passes(backbone, Subset(images, rows), image_ids(hashes[rows]), views, device, title)

    return FrozenFeatures(cached_passes(default_cache_dir(), key, hashes, compute))


def thumbnails(recipe: Recipe, domain: Domain, rows: np.ndarray) -> Tensor:
    """Return small squares of those rows for a report, (M, 3, s, s) uint8."""
    return domain.images.square(rows, min(THUMBNAIL, recipe.data.packed_size), recipe.data.fit)


def write_backbone(path: Path, backbone: TimmEncoder) -> None:
    """Write the weights that load strictly into `timm.create_model(name, num_classes=0)`.

    The metadata hold that name (`timm`), the normalization (`mean`, `std`) and, where timm does not know the model by
    itself, the module to import first (`import`).
    """
    metadata = {key: " ".join(map(str, getattr(backbone, key).flatten().tolist())) for key in ("mean", "std")}
    metadata["timm"] = backbone.name
    defined_in = model_entrypoint(backbone.name).__module__
    if not defined_in.startswith("timm."):
        metadata["import"] = defined_in
    write_tensors(path, backbone.backbone.state_dict(), metadata)
