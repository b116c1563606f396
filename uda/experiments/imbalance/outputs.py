"""What a finished seed leaves behind, what two arms show side by side, and how long it will take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uda.experiments.content import accuracy_differences, groups_content, interval_kind
from uda.experiments.experiment import SeedResult, Settings, loop_options
from uda.experiments.imbalance.assemble import tested_rows
from uda.experiments.parts import write_backbone
from uda.experiments.pool import PoolLoaded
from uda.experiments.predict import predictions_table
from uda.experiments.preflight import for_each, supervised_time
from uda.experiments.seed import page_frame, seed_frame
from uda.nn.encoder import TimmEncoder
from uda.recipe import ImbalanceRecipe
from uda.report.imbalance import ImbalanceReport, classes_section, space_section, write_imbalance_report
from uda.report.page import Section
from uda.tasks.imbalance import Imbalanced
from uda.training.history import History
from uda.training.outputs import write_text


def seed_content(
    recipe: ImbalanceRecipe, label: str, loaded: PoolLoaded, task: Imbalanced, seed: int
) -> dict[str, Any]:
    """Return what a seed's `metrics.json` holds; nothing in it depends on when or how fast the run was."""
    nothing = {name: np.zeros(len(parts)) for name, parts in task.last_right.items()}
    found = accuracy_differences(task.last_right, nothing, seed, task.last_groups)
    ci95 = {name: ends and [max(0.0, ends[0]), min(1.0, ends[1])] for name, ends in found.items()}
    kind, device = interval_kind(task.data.test_groups is not None), task.threshold.device
    tested = np.bincount(task.data.test_labels, minlength=len(task.data.counts))
    frame = seed_frame(recipe, label, seed, loaded, task.last_metrics, ci95, kind, device)
    return (
        frame
        | groups_content(task.data.test_groups)
        | {
            "source": loaded.title,
            "images": {"train": len(task.data.images), "test": len(task.data.test_labels)},
            "per_class": {
                "train_images": task.data.counts.tolist(),
                "test_images": tested.tolist(),
                "accuracy": _defined(task.class_accuracies),
                "probe_accuracy": _defined(task.probe_accuracies),
            },
        }
    )


def _defined(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def write_seed_outputs(
    folder: Path,
    recipe: ImbalanceRecipe,
    loaded: PoolLoaded,
    task: Imbalanced,
    content: dict[str, Any],
    origin: str,
) -> None:
    """Write `backbone.safetensors`, `predictions.csv` and `report.html` of one seed."""
    assert isinstance(task.encoder, TimmEncoder)
    assert task.last_answer is not None  # training ends with an evaluation
    assert loaded.test is not None
    write_backbone(folder / "backbone.safetensors", task.encoder)
    paths = tuple(loaded.test.table.paths[row] for row in tested_rows(loaded))
    table = predictions_table(paths, task.last_answer, loaded.class_names)
    write_text(folder / "predictions.csv", table.to_csv(index=False))
    write_imbalance_report(
        folder / "report.html",
        ImbalanceReport(
            **page_frame(recipe, loaded, content, origin, task.seed),
            history=History(folder / "history.csv", ()).read(),
            counts=task.data.counts,
            accuracies=task.class_accuracies,
            probe_accuracies=task.probe_accuracies,
            features=task.last_answer.features,
            labels=task.data.test_labels,
        ),
    )


def beside_sections(ours: SeedResult, theirs: SeedResult) -> Sequence[Section]:
    """Return the classes of two arms in one figure, in the order of our training images, and both feature spaces."""
    arms = [(arm.content["method"], arm.task) for arm in (ours, theirs)]
    if arms[0][0] == arms[1][0]:
        arms = [(f"{name} ({i + 1})", task) for i, (name, task) in enumerate(arms)]
    data = ours.task.data
    classes = classes_section(data.class_names, data.counts, [(name, task.class_accuracies) for name, task in arms])
    space = space_section(data.class_names, data.counts, [(name, task.probe_accuracies) for name, task in arms])
    return (classes, space)


def expected_time(recipe: ImbalanceRecipe, task: Imbalanced, settings: Settings) -> str:
    """Return how long training will take; objectives rest in a second stage."""
    options, images = loop_options(recipe, recipe.seeds[0], settings), task.data.test_images
    runs = for_each(len(recipe.seeds))
    return supervised_time(task, options, settings.device, images, "all test images", runs, task.first_steps)
