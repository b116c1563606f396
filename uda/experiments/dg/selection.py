"""Which evaluation is the answer: the last, or the best by source images or by source domains left out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uda.errors import UserError
from uda.experiments.dg.assemble import build_task
from uda.experiments.experiment import Settings, loop_options
from uda.probes.selection import LAST, best_step
from uda.recipe import DgRecipe
from uda.tasks.dg import DomainGeneralization, SourceDomains
from uda.tasks.dg.task import ESTIMATE, fold
from uda.training.checkpoint import Identity
from uda.training.history import History
from uda.training.loop import train
from uda.training.selected import load_selected

COLUMNS = {"source": "source_accuracy", "leave_one_out": ESTIMATE}
FOLDS = "folds"


def fit(
    recipe: DgRecipe, task: DomainGeneralization, folder: Path, identity: Identity, seed: int, settings: Settings
) -> None:
    """Train the task, or finish it with resume, and go back to the evaluation that the recipe's selection chooses.

    With leave_one_out one more run for each source domain comes first, in `folds/`, from the same initial weights and
    with the same schedule: it is trained on the other source domains and tested on that one. The mean accuracy over
    these is the estimate of each evaluation's worth on an unseen domain, and the best one is taken.
    """
    options = replace(loop_options(recipe, seed, settings), select=COLUMNS.get(recipe.selection, ""))
    if recipe.selection == "leave_one_out":
        estimates = leave_one_out(recipe, task, folder, identity, seed, settings)
        task.start_estimates(estimates, recipe.training.steps)
    train(task, options, folder, identity, settings.device, settings.resume)
    if recipe.selection != LAST:
        task.done = load_selected(folder, task, identity)
        task.evaluate()


def leave_one_out(
    recipe: DgRecipe, task: DomainGeneralization, folder: Path, identity: Identity, seed: int, settings: Settings
) -> dict[int, float]:
    """Return the mean accuracy over source domains left out, by step."""
    accuracies: list[dict[int, float]] = []
    for domain in range(task.data.n_domains):
        out = folder / FOLDS / str(domain)
        settings.say(f"leave-one-domain-out {domain + 1} of {task.data.n_domains}")
        own = build_task(recipe, fair_fold(task.data, domain), seed)
        metrics = train(own, loop_options(recipe, seed, settings), out, identity, settings.device, settings.resume)
        history = History(out / "history.csv", ()).read()
        assert metrics["accuracy"] is not None  # `check_folds` has seen to it
        found = {recipe.training.steps: metrics["accuracy"]}
        if len(history):
            rows = history.dropna(subset=["accuracy"])
            found |= {int(step): float(a) for step, a in zip(rows["step"], rows["accuracy"], strict=True)}
        accuracies.append(found)
    steps = set.intersection(*(set(found) for found in accuracies))
    return {step: sum(found[step] for found in accuracies) / len(accuracies) for step in sorted(steps)}


def fair_fold(data: SourceDomains, domain: int) -> SourceDomains:
    """Return a fold in which images of classes that it does not train on have no label: no answer could be right."""
    part = fold(data, domain)
    trained = np.delete(part.labels, part.held_out)
    return replace(part, target_labels=np.where(np.isin(part.target_labels, trained), part.target_labels, -1))


def check_folds(data: SourceDomains, names: Sequence[str]) -> None:
    """Refuse a source domain, all by their names, that shares no class with the others: its fold estimates nothing."""
    for number, name in enumerate(names):
        if not (fair_fold(data, number).target_labels >= 0).any():
            raise UserError(
                f"selection=leave_one_out tests a run without {name} on it, and the other source domains have none of "
                "its classes to learn from; choose by source images instead (selection=source)"
            )


def selection_content(recipe: DgRecipe, history: pd.DataFrame) -> dict[str, Any]:
    """Return the rule, the step that it has chosen, and how many evaluations there were to choose from."""
    if not len(history):
        return {"rule": recipe.selection, "step": 0, "evaluations": 1}
    column = COLUMNS.get(recipe.selection)
    rows = history.dropna(subset=[column or "accuracy"]) if (column or "accuracy") in history else history[:0]
    chosen = None if column is None else best_step(dict(zip(rows["step"], rows[column], strict=True)))
    return {
        "rule": recipe.selection,
        "step": int(history["step"].iloc[-1] if chosen is None else chosen),
        "evaluations": max(1, len(rows)),
    }
