"""The Python interface of the tasks that name images: `uda.adapt`, and the result of a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uda.datasets.given import given_images
from uda.errors import UserError
from uda.experiments import EXPERIMENTS
from uda.experiments.dg.assemble import build_task as build_generalization
from uda.experiments.experiment import Settings, read_metrics, run
from uda.experiments.imbalance.assemble import build_task as build_tailed
from uda.experiments.parts import dataset_name
from uda.experiments.predict import classify
from uda.experiments.robustness.assemble import build_task as build_robust
from uda.experiments.robustness.classifier import give_classifier
from uda.experiments.unida.assemble import build_task
from uda.experiments.unida.candidates import copy_candidates
from uda.layers import Tree, is_frozen, layers_of_run, named_data, published_layers, read_layer
from uda.nn.encoder import TimmEncoder, create_encoder
from uda.places import check_out, choose_device, copy_run, kept_if_used, new_folder, progress_shown
from uda.probes.selection import LAST
from uda.recipe import DgRecipe, ImbalanceRecipe, RobustnessRecipe, UnidaRecipe, build, build_as
from uda.tasks.dg import DomainGeneralization, SourceDomains
from uda.tasks.imbalance import Imbalanced, TailedData
from uda.tasks.robustness import OneClass, Robust, RobustData
from uda.tasks.unida import UniDA, UnidaData
from uda.training.checkpoint import load_checkpoint
from uda.training.selected import load_selected
from uda.wording import counted

_MOST_WARNINGS = 10


@dataclass
class Result:
    """A finished run: its figures, and its model to classify other images with."""

    folder: Path
    recipe: UnidaRecipe | DgRecipe | RobustnessRecipe | ImbalanceRecipe
    content: dict[str, Any]
    device: torch.device

    @property
    def metrics(self) -> dict[str, float | None]:
        """The figures on the target domain (that was adapted to, or held out); None where undefined."""
        return self.content["metrics"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The known classes in the classifier's order."""
        return tuple(self.content["classes"])

    @property
    def seed_folder(self) -> Path:
        """The output folder of the first seed."""
        seeds = self.recipe.seeds
        return self.folder if len(seeds) == 1 else self.folder / f"seed-{seeds[0]}"

    def predict(
        self,
        images: "str | Path | Sequence[str | Path] | Tensor",
        strict: bool = False,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Return path, label (a class or `unknown`), confidence and unknown score of every image.

        images: a folder, flat or not (labels in it are not looked at), an image file, a list of both, or a uint8 tensor
        (N, 3, H, W). The threshold is the one that the run found on its target. Unreadable files are left out with a
        warning and listed in the table's `attrs["unreadable"]`; `strict` refuses them. progress: whether a bar is
        shown; by default where the error stream is a terminal.
        """
        given = given_images(images)
        for note in given.notes:
            print(f"note: {note}")
        task, backbone = restore(self)
        shown = progress_shown() if progress is None else progress
        table, unreadable = classify(task, backbone, self.recipe, given.table, self.classes, strict, shown)
        for image in unreadable[:_MOST_WARNINGS]:
            print(f"warning: left out {image.path}: {image.reason}")
        if len(unreadable) > _MOST_WARNINGS:
            print(f"warning: {counted(len(unreadable), 'unreadable file')} left out in all")
        table.attrs["unreadable"] = [(image.path, image.reason) for image in unreadable]
        return table

    def name_candidates(self, names: Mapping[int, str], into: str | Path) -> list[Path]:
        """Copy the images of candidate new classes into class folders below `into`; return the new files.

        names: the report's number of a candidate to the name that a person gives it; several may share a name. `into`
        is usually the source's folder: the next run then knows the class. Of several seeds the first one's are taken.
        """
        return copy_candidates(self.seed_folder, names, Path(into))

    def save(self, folder: str | Path) -> Path:
        """Copy the whole output folder, from which `uda.load` makes this result again; return its path."""
        return copy_run(self.folder, Path(folder))


def adapt(
    source: str | Path | None = None,
    target: str | Path | None = None,
    method: str | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    config: str | Path | None = None,
    progress: bool | None = None,
    **overrides: Any,
) -> Result:
    """Adapt a labelled source to an unlabelled target and return the result (universal domain adaptation).

    source, target: as on the command line; neither = the built-in data. method: the recipe's, or DANCE. overrides:
    recipe keys with double underscores for dots: `training__steps=300`, `encoder__freeze=True`, `seeds=[0, 1]`.
    progress: whether bars are shown; by default where the error stream is a terminal.
    """
    given: Tree = {"data": {k: str(v) for k, v in (("source", source), ("target", target)) if v is not None}}
    layers: list[Tree] = [read_layer(Path(config))] if config else []
    chosen_method: Tree = {"method": {"name": method}} if method else {}
    layers += [given | chosen_method, *(override(key, value) for key, value in overrides.items())]
    layers = [*layers_of_run(layers), *layers]
    published = published_layers("unida", dataset_name(*named_data(layers)), is_frozen(layers))
    recipe = build_as(UnidaRecipe, [*published, *layers])
    folder = Path(out) if out else new_folder(Path("runs") / f"unida-{recipe.method['name']}")
    check_out(folder)
    chosen = choose_device(device)
    shown = progress_shown() if progress is None else progress
    with kept_if_used(folder, new=not out):
        content = run(EXPERIMENTS["unida"], recipe, folder, Settings(chosen, progress=shown))
    return Result(folder, recipe, content, chosen)


def load_classifier(folder: str | Path, device: str | None = None) -> Result:
    """Return the result of a finished run from its output folder; of several seeds, predictions use the first."""
    path = Path(folder)
    content = read_metrics(path)
    if "sweep" in content:
        raise UserError(f"'{path}' holds a run for each combination of a sweep; name the folder of one of them")
    one_class = content["task"] == "robustness" and content["method"].startswith(OneClass.name)
    if content["task"] not in ("unida", "dg", "robustness", "imbalance") or one_class:
        raise UserError(
            f"'{path}' is a run of task '{content['task']}', which classifies nothing; name one of unida, dg, "
            "robustness or imbalance"
        )
    if "pairs" in content:
        raise UserError(
            f"'{path}' holds a run for each pair of domains; name one: '{path / content['pairs'][0]['folder']}'"
        )
    recipe = build([read_layer(path / "recipe.yaml")])
    assert isinstance(recipe, UnidaRecipe | DgRecipe | RobustnessRecipe | ImbalanceRecipe)
    return Result(path, recipe, content, choose_device(device))


def restore(result: Result) -> tuple[UniDA | DomainGeneralization | Robust | Imbalanced, TimmEncoder | None]:
    """Return a run's task with its trained weights, and in frozen mode the backbone that feeds it."""
    recipe, seed, folder = result.recipe, result.recipe.seeds[0], result.seed_folder
    # The run's own export stands in for the weights that it started from, which may not be on this machine.
    encoder = recipe.encoder.model_copy(update={"weights": str(folder / "backbone.safetensors")})
    own = recipe.model_copy(update={"encoder": encoder})
    backbone = None
    if encoder.freeze:
        backbone = create_encoder(encoder.backbone, encoder.weights, recipe.data.image_size)
    counts = result.content["images"]
    source, target = (_Counted(counts.get(name, 0)) for name in ("source", "target"))
    nothing = np.full(0, -1, dtype=np.int64)
    task: UniDA | DomainGeneralization | Robust | Imbalanced
    if isinstance(own, RobustnessRecipe):
        learned = np.zeros(counts["train"], dtype=np.int64)
        pool = RobustData(_Counted(counts["train"]), learned, nothing, nothing, target, nothing, result.classes)
        task = build_robust(own, pool, seed)
        if own.report.class_map is not None:
            give_classifier(own.model_copy(update={"encoder": recipe.encoder}), task)
    elif isinstance(own, ImbalanceRecipe):
        in_classes = np.array(result.content["per_class"]["train_images"], dtype=np.int64)
        tailed = TailedData(_Counted(counts["train"]), nothing, in_classes, target, nothing, result.classes)
        task = build_tailed(own, tailed, seed)
    elif isinstance(own, DgRecipe):
        data = SourceDomains(source, nothing, nothing, nothing, target, nothing, result.classes)
        task = build_generalization(own, data, seed)
    else:
        task = build_task(own, UnidaData(source, nothing, target, nothing, result.classes), backbone, seed)
    if isinstance(recipe, UnidaRecipe | DgRecipe) and recipe.selection != LAST:
        load_selected(folder, task, None)
    elif load_checkpoint(folder / "checkpoint", task, {}, None) is None:
        raise UserError(f"'{folder}' has no checkpoint to predict with; run it again")
    task.to(result.device)
    if recipe.training.channels_last:  # the layout of the run, and so its very figures
        task.to(memory_format=torch.channels_last)
    return task, backbone


@dataclass(frozen=True)
class _Counted:
    """Images of a finished run: only how many there were, which sizes its memory bank."""

    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: np.ndarray) -> Tensor:
        raise LookupError("a finished run does not hold the images that it was trained on")


def override(key: str, value: Any) -> Tree:
    """Return one overriding value as a layer: encoder__freeze=True → {"encoder": {"freeze": True}}."""
    layer: Any = value
    for part in reversed(key.split("__")):
        layer = {part: layer}
    return layer
