"""From a recipe's section `report` to what is looked at."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from uda.attacks import Norm
from uda.datasets.corruptions import COMMON, NAMES
from uda.datasets.published_corruptions import PublishedPart, published_corruptions
from uda.datasets.sampling import spread, stratified
from uda.datasets.streams import Images, Subset
from uda.errors import UserError, unknown_name
from uda.metrics import ALEXNET, ALEXNET_CLEAN
from uda.probes.robustness import (
    AUTO,
    KINDS,
    Baseline,
    Corrupted,
    Examined,
    Generated,
    NamedAttack,
    NoiseImages,
    Plan,
    Published,
)
from uda.sections import ExaminationRecipe

RESULT = "robustness.json"
_COMPARED = 5000  # images of the training that scores on features compare with
_OTHERS = 1000  # images of each other set


def plan_of(recipe: ExaminationRecipe, batch_size: int = 128) -> Plan:
    """Return what is done to test images beside corruptions; UserError for an attack that does not exist."""
    radii: dict[Norm, list[float]] = {"linf": recipe.eps, "l2": recipe.eps_l2}
    if recipe.attacks and not any(radii.values()):
        raise UserError("attacks want a radius: give report.eps (or report.eps_l2), or report.attacks=[] for none")
    attacks = [
        NamedAttack(name, levels, norm, recipe.restarts if name.startswith("pgd") else 1)
        for name in recipe.attacks
        for norm in radii
        for levels in radii[norm]
    ]
    return Plan(attacks, recipe.attacked, batch_size)


def check_autoattack(recipe: ExaminationRecipe, n_classes: int) -> None:
    """Refuse AutoAttack, before anything is trained, where it is not installed or the classes are too few."""
    if AUTO not in recipe.attacks:
        return
    if find_spec("pyautoattack") is None:
        raise UserError("AutoAttack needs the library pyautoattack: pip install 'uda-ssl[attacks]'")
    if n_classes < 4:
        raise UserError(f"AutoAttack needs at least 4 classes, not {n_classes}: use pgd-N with report.restarts")


def corruption_names(recipe: ExaminationRecipe) -> tuple[str, ...]:
    """Return the corruptions that a recipe names: "all" is all 19, "common" the 15 of published figures."""
    found: list[str] = []
    for name in recipe.corruptions:
        if name not in ("all", "common", "none", *NAMES):
            raise unknown_name("corruption", name, ["all", "common", "none", *NAMES], "they are in the README")
        found += {"all": NAMES, "common": COMMON, "none": ()}.get(name, (name,))
    return tuple(dict.fromkeys(found))


def preset_of(recipe: ExaminationRecipe, image_size: int) -> str:
    """Return whose constants corruptions have; "auto" decides by the size of images."""
    return recipe.preset if recipe.preset != "auto" else "cifar" if image_size <= 64 else "imagenet"


def corrupted_of(
    recipe: ExaminationRecipe,
    images: Images,
    labels: np.ndarray,
    size: int,
    class_names: tuple[str, ...],
    stored: Callable[[Tensor], Tensor],
) -> Corrupted | None:
    """Return the corrupted images: made of the test images, or read as published; None where none are asked for.

    stored: images as they are read → what the model sees of them.
    """
    names = corruption_names(recipe)
    if not names:
        return None
    if recipe.corrupted is not None:
        every = published_corruptions(recipe.corrupted, None if set(names) == set(NAMES) else names)
        parts = [_numbered(part, class_names) for part in every if part.severity in recipe.severities]
        # Arrays (CIFAR-10-C) are of whole stored images and are seen as those are; folders (ImageNet-C) of views.
        seen = stored if parts[0].classes is None else partial(_of_size, size)
        found = Published({(part.name, part.severity): part for part in parts}, seen, recipe.images)
        found.at(parts[0].name, parts[0].severity)[0].batch(np.arange(1))  # what cannot be read is found out now
        return found
    preset = preset_of(recipe, size)
    return Generated(
        images, labels, names, recipe.severities, preset, legacy=recipe.legacy, jpeg_quality=recipe.jpeg_quality
    )


def _of_size(size: int, images: Tensor) -> Tensor:
    """Return images that have the side which the model takes; UserError for others."""
    height, width = images.shape[2:]
    if (height, width) != (size, size):
        raise UserError(
            f"the published images have {height} x {width} pixels and the model takes {size}; give --image-size "
            f"{max(height, width)}"
        )
    return images


def _numbered(part: PublishedPart, class_names: tuple[str, ...]) -> PublishedPart:
    """Return a published part whose labels are places in class_names; UserError for classes not among these."""
    if part.classes is None:
        if int(part.labels.max()) >= len(class_names):
            raise UserError(
                f"the published corruptions have labels up to {int(part.labels.max())}, and there are "
                f"{len(class_names)} classes; name those of the same data set"
            )
        return part
    strange = [name for name in part.classes if name not in class_names]
    if strange:
        raise UserError(
            f"the published corruptions have a class '{strange[0]}', which is not among {', '.join(class_names[:5])}, "
            "…; name those of the same data set"
        )
    places = np.array([class_names.index(name) for name in part.classes])
    return replace(part, labels=places[part.labels], classes=class_names)


def setting(recipe: ExaminationRecipe, image_size: int) -> dict[str, Any]:
    """Return what errors under corruption depend on beside the model and the images."""
    return {
        "preset": preset_of(recipe, image_size),
        "severities": sorted(recipe.severities),
        "legacy": recipe.legacy,
        "jpeg_quality": recipe.jpeg_quality,
        "corrupted": None if recipe.corrupted is None else Path(recipe.corrupted).name,
    }


def baseline_of(recipe: ExaminationRecipe, image_size: int) -> Baseline | None:
    """Return whose errors the mCE divides by; UserError where the run named has none."""
    if recipe.baseline is None:
        full = set(recipe.severities) == {1, 2, 3, 4, 5}
        return (
            Baseline("AlexNet on ImageNet", ALEXNET, ALEXNET_CLEAN)
            if preset_of(recipe, image_size) == "imagenet" and full
            else None
        )
    path = Path(recipe.baseline) / RESULT
    if not path.is_file():
        raise UserError(
            f"report.baseline='{recipe.baseline}' holds no {RESULT}; name the folder of a finished robustness run, "
            "of one seed"
        )
    content = json.loads(path.read_text())
    own = setting(recipe, image_size)
    differing = [key for key in own if content["setting"].get(key) != own[key]]
    if differing:
        raise UserError(
            f"report.baseline='{recipe.baseline}' was examined with another {differing[0]} "
            f"({content['setting'].get(differing[0])}, not {own[differing[0]]}), and errors then do not compare; "
            "examine both alike"
        )
    errors = {name: float(np.mean(values)) for name, values in content["errors"].items()}
    return Baseline(str(recipe.baseline), errors, float(content["clean_error"]))


def examined(
    recipe: ExaminationRecipe,
    test: tuple[Images, np.ndarray],
    size: int,
    class_names: tuple[str, ...],
    validation: tuple[Images, np.ndarray] | None = None,
    training: tuple[Images, np.ndarray] | None = None,
    near: Mapping[str, Images] | None = None,
    far: Mapping[str, Images] | None = None,
    stored: Callable[[Tensor], Tensor] | None = None,
    groups: np.ndarray | None = None,
) -> Examined:
    """Return the images of a report, the test images cut to the sample that the recipe asks for.

    All images as the model is to see them; stored: what it sees of images as they are read, None: those very images;
    groups: (N,) of the test images, None where nothing says what belongs together.
    Without a far set, three kinds of noise are one.
    """
    images, labels = test
    rows = stratified(labels, recipe.images)
    sample, labels = Subset(images, rows), labels[rows]
    found: dict[str, Images] = {name: _some(other, _OTHERS) for name, other in (far or {}).items()}
    if not found:
        count = min(_OTHERS, len(rows))
        found = {f"{kind} noise": NoiseImages(kind, count, size) for kind in KINDS}
    if training is not None and len(training[1]) > _COMPARED:
        kept = stratified(training[1], _COMPARED)
        training = Subset(training[0], kept), training[1][kept]
    return Examined(
        sample,
        labels,
        corrupted_of(recipe, sample, labels, size, class_names, stored or partial(_of_size, size)),
        validation if validation is not None and len(validation[1]) else None,
        training,
        {name: _some(other, _OTHERS) for name, other in (near or {}).items()},
        found,
        None if groups is None else groups[rows],
    )


def settings_text(recipe: ExaminationRecipe, image_size: int) -> str:
    """Return in a sentence which corruptions these are."""
    if recipe.corrupted is not None:
        return f"Corrupted images as published, in '{recipe.corrupted}'."
    preset = preset_of(recipe, image_size)
    quirks = ", with the quirks of the published code" if recipe.legacy else ""
    saved = f", re-saved as JPEG of quality {recipe.jpeg_quality}" if recipe.jpeg_quality else ""
    return f"Corruptions with the constants of the preset '{preset}'{quirks}{saved}, made of the test images."


def _some(images: Images, most: int) -> Images:
    return Subset(images, spread(len(images), most)) if len(images) > most else images
