"""The Python interface of robustness reports: `uda.robustness_report` for any model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from uda.attacks import frozen
from uda.datasets.groups import own_groups
from uda.datasets.packed import SquareImages
from uda.datasets.resolve import resolve
from uda.datasets.streams import Images
from uda.errors import UserError
from uda.experiments.content import environment
from uda.experiments.parts import load_domain
from uda.experiments.pool import TEST_SPLITS
from uda.experiments.predict import InMemory
from uda.experiments.robustness.estimate import report_seconds
from uda.experiments.robustness.examination import (
    baseline_of,
    check_autoattack,
    examined,
    plan_of,
    setting,
    settings_text,
)
from uda.experiments.robustness.outputs import content_of, tables, write_findings
from uda.experiments.robustness.sample import corrupted_figure
from uda.experiments.seen import Seen
from uda.places import check_out, choose_device, progress_shown
from uda.probes.robustness import ClassMapped, Examined, Findings, Subject, examine
from uda.recipe import validated
from uda.sections import ExaminationRecipe, PoolRecipe
from uda.ssl.views import NoAugmentation
from uda.training.outputs import write_json
from uda.training.timing import duration

Pixels = Tensor | np.ndarray
Labelled = tuple[Pixels, Sequence[int] | np.ndarray | Tensor]


@dataclass(frozen=True)
class Robustness:
    """What a report has found: `metrics` (None where undefined), `tables` (corruptions, attacks, others), `save`."""

    findings: Findings
    examined: Examined
    recipe: ExaminationRecipe
    title: str
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    image_size: int
    device: torch.device

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every figure by name."""
        return self.findings.metrics()

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every measurement: the tables `corruptions`, `attacks` and `others`."""
        return tables(self.findings)

    def save(self, folder: str | Path) -> Path:
        """Write `robustness.json`, `robustness.csv`, `metrics.json` and `report.html` into a new folder; return it."""
        out = Path(folder)
        check_out(out)
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"'{out}' is not empty; name a new folder for the report")
        out.mkdir(parents=True, exist_ok=True)
        content = content_of(self.findings, setting(self.recipe, self.image_size))
        frame = {
            "title": self.title,
            "recipe": {"report": self.recipe.model_dump(mode="json")},
            "metrics": content["metrics"],
            "ci95": content["ci95"],
            "class_names": self.class_names,
            "notes": self.notes,
        }
        sample = corrupted_figure(self.examined)
        own = self.recipe, self.image_size
        write_findings(out, self.findings, frame, settings_text(*own), setting(*own), sample)
        run = {"task": "robustness", "method": self.title, "seeds": [0], "steps": 0, "classes": list(self.class_names)}
        shown = {key: content[key] for key in ("metrics", "ci95", "ci95_kind")}
        write_json(out / "metrics.json", run | shown | {"environment": environment(self.device)})
        return out


def robustness_report(
    model: nn.Module,
    data: str | Path | Labelled,
    *,
    image_size: int | None = None,
    class_map: Mapping[str, Sequence[int]] | None = None,
    validation: Labelled | None = None,
    training: Labelled | None = None,
    near: Mapping[str, Pixels] | None = None,
    far: Mapping[str, Pixels] | None = None,
    turns: nn.Module | None = None,
    title: str | None = None,
    device: str | None = None,
    progress: bool | None = None,
    **report: Any,
) -> Robustness:
    """Examine any classifier on clean, corrupted, attacked and other images, and how sure it is of its answers.

    model: float views (B, 3, S, S) in [0, 1] → logits (B, K); of a timm model the normalization of its weights is put
    before it. data: a folder with one folder a class (in alphabetical order the model's classes), a data set, or uint8
    images (N, 3, S, S) with labels (N,). image_size: the S of images from files. class_map: of each class folder the
    model's classes that it stands for. validation: images to fit the temperature on; without any it is fitted on each
    half of the test images for the other. training: some that the model was trained on, for scores on features; these
    want a timm model. near, far: images of no known class, by name. turns: a head on the features that tells four
    rotations apart. report: keys of a recipe's section `report` (`images=500`, `attacks=["pgd-20"]`). Raises UserError
    for what does not fit together.
    """
    recipe = validated(ExaminationRecipe, dict(report), "report.")
    plan, chosen = plan_of(recipe), choose_device(device)
    images, labels, names, notes, groups = _labelled(data, image_size)
    size = images.batch(np.arange(1)).shape[-1]
    subject = _subject(model, class_map, names, turns).to(chosen)
    n_classes = _classes_told(subject, images, chosen)
    if n_classes <= int(labels.max()) or (isinstance(data, str | Path) and n_classes != len(names)):
        raise UserError(
            f"the model tells {n_classes} classes and the images are of {len(names)}; give a model of these classes, "
            "or say by class_map which of its classes each is"
        )
    check_autoattack(recipe, n_classes)
    beside = {name: given for name, given in (("validation", validation), ("training", training)) if given is not None}
    for name, (_, own) in beside.items():
        if int(np.max(np.asarray(own))) >= n_classes:
            raise UserError(
                f"{name} has labels up to {int(np.max(np.asarray(own)))}, and the model tells {n_classes} classes"
            )
    found = examined(
        recipe,
        (images, labels),
        size,
        names,
        None if validation is None else _given(validation),
        None if training is None else _given(training),
        _others(near),
        _others(far),
        groups=groups,
    )
    shown = progress_shown() if progress is None else progress
    if shown:
        print(f"the report takes about {duration(report_seconds(subject, found, plan, chosen))}")
    findings = examine(subject, found, plan, baseline_of(recipe, size), print if shown else lambda text: None)
    name = title or type(model).__name__
    return Robustness(findings, found, recipe, name, names, notes, size, chosen)


class _TimmBody(nn.Module):
    """A timm model up to its classifier, behind the normalization of its weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, config: Mapping[str, Any]):
        super().__init__()
        self.model = model
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(config[key]).view(1, -1, 1, 1), persistent=False)

    def forward(self, views: Tensor) -> Tensor:
        body: Any = self.model
        return body.forward_head(body.forward_features((views - self.mean) / self.std), pre_logits=True)


def _subject(
    model: nn.Module, class_map: Mapping[str, Sequence[int]] | None, names: tuple[str, ...], turns: nn.Module | None
) -> Subject:
    body: Any = model
    config = getattr(model, "pretrained_cfg", None)
    encoder, classifier = model, None
    if config is not None and hasattr(model, "forward_head") and isinstance(body.get_classifier(), nn.Linear):
        encoder, classifier = _TimmBody(model, config), body.get_classifier()
    if class_map is not None:
        missing = [name for name in names if name not in class_map]
        if missing:
            raise UserError(f"class_map has nothing for class '{missing[0]}'; name the model's classes it stands for")
        members = [class_map[name] for name in names]
        classifier = ClassMapped(nn.Identity() if classifier is None else classifier, members)
    return Subject(encoder, classifier, turns)


@torch.no_grad()
def _classes_told(subject: Subject, images: Images, device: torch.device) -> int:
    """Return how many classes a model tells; UserError where what it gives are no logits."""
    with frozen(subject):
        try:
            logits = subject(images.batch(np.arange(1)).to(device) / 255.0)
        except (RuntimeError, ValueError, IndexError) as error:
            shape = tuple(images.batch(np.arange(1)).shape)
            raise UserError(
                f"the model cannot take views of the shape {shape} ({str(error).splitlines()[0][:120]}); give images "
                "of its size, and a class_map of its own classes"
            ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        what = f"a tensor {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"the model gives {what}, and logits (B, K) are wanted; wrap it in a module that gives these")
    return logits.shape[1]


def _labelled(
    data: str | Path | Labelled, image_size: int | None
) -> tuple[Images, np.ndarray, tuple[str, ...], tuple[str, ...], np.ndarray | None]:
    """Return test images as the model sees them, their labels, the classes, what was understood, and their groups."""
    if isinstance(data, str | Path):
        if image_size is None:
            raise UserError("images from files want an image_size: the pixels of a side that the model takes")
        settings = PoolRecipe(source=str(data), image_size=image_size)
        found = resolve(str(data), None, every_source=True, need_labels=False)
        splits = [found.source_splits[name] for name in TEST_SPLITS if name in found.source_splits]
        table = splits[0] if splits else found.source  # its classes are those of all splits, in alphabetical order
        if not (table.labels >= 0).any():
            raise UserError(f"{table.name} has no labels to be examined by; give a folder with one folder a class")
        domain = load_domain(table, settings, progress=False)
        squares = SquareImages(domain.images, settings.packed_size, settings.fit)
        notes = (*found.lines, f"examined: {table.name}", *found.warnings, *domain.losses)
        seen, known = Seen(squares, NoAugmentation(image_size)), domain.table
        return seen, known.labels, table.classes, notes, own_groups(known)
    images, labels = _given(data)
    return images, labels, tuple(map(str, range(int(labels.max()) + 1))), (), None


def _others(sets: Mapping[str, Pixels] | None) -> dict[str, Images]:
    return {name: InMemory(_pixels(given, name)) for name, given in (sets or {}).items()}


def _given(data: Labelled) -> tuple[InMemory, np.ndarray]:
    """Return labelled images as they were given; UserError for anything but uint8 images with a class each."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UserError(f"labelled images are wanted as (images, labels), not {type(data).__name__}")
    pixels, given = _pixels(data[0], "images"), np.asarray(data[1])
    if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) != len(pixels):
        raise UserError(
            f"labels are wanted as {len(pixels)} whole numbers, one for each image, not {given.dtype} {given.shape}"
        )
    labels = given.astype(np.int64)
    if (labels < 0).all():
        raise UserError("none of the images has a label to be examined by; give class numbers from 0 on")
    return InMemory(pixels), labels


def _pixels(given: Pixels, name: str) -> Tensor:
    """Return square uint8 images (N, 3, S, S), N ≥ 1; UserError for anything else."""
    if not isinstance(given, Tensor | np.ndarray):
        raise UserError(f"{name} are wanted as a uint8 tensor (N, 3, S, S), not {type(given).__name__}")
    pixels = torch.as_tensor(given)
    square = pixels.ndim == 4 and pixels.shape[1] == 3 and pixels.shape[2] == pixels.shape[3]
    if pixels.dtype != torch.uint8 or not square or not len(pixels):
        raise UserError(
            f"{name} are wanted as a uint8 tensor (N, 3, S, S) of at least one image, not {pixels.dtype} "
            f"{tuple(pixels.shape)}; scale to 0 … 255 and convert"
        )
    return pixels
