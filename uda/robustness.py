"""The Python interface of robustness reports: `uda.robustness_report` for any model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from uda.datasets.packed import SquareImages
from uda.datasets.streams import Images
from uda.errors import UserError
from uda.experiments.content import environment
from uda.experiments.parts import load_domain
from uda.experiments.pool import find_pool
from uda.experiments.predict import InMemory
from uda.experiments.robustness.examination import Seen, baseline_of, examined, plan_of, settings_text
from uda.experiments.robustness.outputs import content_of, tables, write_findings
from uda.experiments.robustness.sample import corrupted_figure
from uda.places import check_out, choose_device, progress_shown
from uda.probes.robustness import ClassMapped, Examined, Findings, Subject, examine
from uda.recipe import validated
from uda.sections import ExaminationRecipe, PoolRecipe
from uda.ssl.views import NoAugmentation
from uda.training.outputs import write_json

Labelled = tuple[Tensor, Sequence[int] | np.ndarray | Tensor]


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
        out.mkdir(parents=True, exist_ok=True)
        content = content_of(self.findings)
        frame = {
            "title": self.title,
            "recipe": {"report": self.recipe.model_dump(mode="json")},
            "metrics": content["metrics"],
            "ci95": content["ci95"],
            "class_names": self.class_names,
            "notes": self.notes,
        }
        sample = corrupted_figure(self.examined)
        write_findings(out, self.findings, frame, settings_text(self.recipe, self.image_size), sample)
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
    near: Mapping[str, Tensor] | None = None,
    far: Mapping[str, Tensor] | None = None,
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
    images, labels, names, notes = _labelled(data, image_size)
    size = images.batch(np.arange(1)).shape[-1]
    subject = _subject(model, class_map, names, turns).to(chosen)
    _check_classes(subject, images, labels, chosen)
    found = examined(
        recipe,
        (images, labels),
        size,
        None if validation is None else _given(validation),
        None if training is None else _given(training),
        {name: InMemory(pixels) for name, pixels in (near or {}).items()},
        {name: InMemory(pixels) for name, pixels in (far or {}).items()},
    )
    shown = progress_shown() if progress is None else progress
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
def _check_classes(subject: Subject, images: Images, labels: np.ndarray, device: torch.device) -> None:
    training = subject.training
    logits = subject.eval()(images.batch(np.arange(1)).to(device) / 255.0)
    subject.train(training)
    if logits.ndim != 2 or logits.shape[1] <= int(labels.max()):
        raise UserError(
            f"the model gives logits of the shape {tuple(logits.shape)} and the images have {int(labels.max()) + 1} "
            "classes; give a model of these classes, or say by class_map which of its classes each is"
        )


def _labelled(
    data: str | Path | Labelled, image_size: int | None
) -> tuple[Images, np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return test images as the model sees them, their labels, the classes and what was understood."""
    if isinstance(data, str | Path):
        if image_size is None:
            raise UserError("images from files want an image_size: the pixels of a side that the model takes")
        settings = PoolRecipe(source=str(data), image_size=image_size)
        found = find_pool(settings)
        table = found.test or found.table
        domain = load_domain(table, settings, progress=False)
        squares = SquareImages(domain.images, settings.packed_size, settings.fit)
        return Seen(squares, NoAugmentation(image_size)), domain.table.labels, table.classes, found.lines
    images, labels = _given(data)
    return images, labels, tuple(map(str, range(int(labels.max()) + 1))), ()


def _given(data: Labelled) -> tuple[InMemory, np.ndarray]:
    pixels, labels = data[0], np.asarray(data[1]).astype(np.int64)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3 or len(pixels) != len(labels):
        raise UserError(
            f"images are wanted as a uint8 tensor (N, 3, S, S) with N labels, not {pixels.dtype} {tuple(pixels.shape)} "
            f"with {len(labels)}; scale to 0 … 255 and convert"
        )
    if not len(pixels):
        raise UserError("there are no images to examine; give at least one")
    return InMemory(pixels), labels
