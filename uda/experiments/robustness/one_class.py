"""What a one-class run leaves behind."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uda.errors import UserError
from uda.experiments.robustness.images import Loaded
from uda.metrics import auroc_interval
from uda.recipe import RobustnessRecipe
from uda.report import page, plots, tables
from uda.report.curves import curves_section
from uda.report.page import Figure, Section
from uda.ssl import find_objective
from uda.ssl.rotation import Rotation
from uda.ssl.turn_shift import TurnShift
from uda.tasks.robustness import OneClassTask
from uda.training.history import History
from uda.training.outputs import write_text


def check_one_class(recipe: RobustnessRecipe) -> None:
    """Refuse a one-class run that nothing could be scored by."""
    kinds = [find_objective(name) for name in recipe.objectives]
    if not recipe.training.steps or not any(issubclass(kind, Rotation | TurnShift) for kind in kinds):
        raise UserError(
            "one_class learns from transforms of the normal class, and scores by them; give --objective turn_shift (or "
            "rotation) and some --steps"
        )
    if recipe.data.noise != "none":
        raise UserError("one_class looks at no labels but those of the normal class; leave data.noise out")


def interval_of(task: OneClassTask) -> list[float] | None:
    """Return the bootstrap interval of the AUROC."""
    normal = task.normal_rows()
    scores, groups = task.last_scores, task.data.test_groups
    own, other = (None, None) if groups is None else (groups[normal], groups[~normal])
    interval = auroc_interval(scores[normal], scores[~normal], known_groups=own, unknown_groups=other)
    return None if interval.low is None or interval.high is None else [interval.low, interval.high]


def write_one_class(
    folder: Path,
    recipe: RobustnessRecipe,
    loaded: Loaded,
    task: OneClassTask,
    paths: tuple[str, ...],
    frame: dict[str, Any],
) -> None:
    """Write `scores.csv`, for nothing is classified, and `report.html`."""
    names = np.array(loaded.class_names, dtype=object)
    scores, normal = task.last_scores, task.normal_rows()
    table = pd.DataFrame({"path": paths, "class": names[task.data.test_labels], "unknown_score": scores})
    write_text(folder / "scores.csv", table.to_csv(index=False))
    by_class = [
        {
            "class": str(names[number]),
            "images": int(of.sum()),
            "AUROC": tables.number("auroc", _auroc(scores, normal, of)),
        }
        for number in range(len(names))
        if (of := (task.data.test_labels == number)).any() and not (of & normal).any()
    ]
    text = (
        f"Learned from images of '{names[task.normal_class()]}' alone, without a classifier. The score of an image is "
        "how badly its rotations (and shifts) are recognized; higher means less like the normal class."
    )
    sections = [
        Section("Answer", text, tables=[tables.metrics_table(frame["metrics"], ci95=frame["ci95"])]),
        Section(
            "Scores",
            "",
            [
                Figure(
                    plots.score_histogram(scores, ~normal, np.inf), "Scores of test images, normal and others", "Scores"
                )
            ],
            [pd.DataFrame(by_class)],
        ),
        curves_section(History(folder / "history.csv", ()).read()),
        page.problems(frame["unreadable"], frame["notes"]),
        page.recipe(frame["recipe"]),
    ]
    page.write(folder / "report.html", frame["title"], "One class", sections)


def _auroc(scores: np.ndarray, normal: np.ndarray, others: np.ndarray) -> float | None:
    return auroc_interval(scores[normal], scores[others], n_resamples=1).estimate
