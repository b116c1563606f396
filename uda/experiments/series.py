"""Several recipes below one folder: all checked before the first is run, finished ones kept, each resumable."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uda.errors import UserError, baseline_errors_named
from uda.experiments.experiment import BASELINE, Experiment, Settings, read_metrics, run
from uda.layers import read_layer
from uda.recipe import Recipe, build, differences


@dataclass(frozen=True)
class Member:
    """One run of a series: what it is called, the folder it has below the series' own, its recipe and its baseline."""

    title: str
    folder: str
    recipe: Recipe
    baseline: Recipe | None = None


def check_series(experiment: Experiment, members: Iterable[Member], out: Path, settings: Settings) -> None:
    """Check every recipe and look up what it names, so that nothing runs, or is written, if one of them cannot be run.

    With resume, UserError where a run was begun with another recipe.
    """
    for member in members:
        folder = out / member.folder
        for recipe, own in ((member.recipe, folder), (member.baseline, folder / BASELINE)):
            if recipe is None:
                continue
            with baseline_errors_named() if recipe is member.baseline else nullcontext():
                experiment.check(recipe)
                experiment.find(recipe, settings)
            if settings.resume and (own / "recipe.yaml").is_file():
                check_begun(own, recipe)


def run_member(experiment: Experiment, member: Member, out: Path, settings: Settings) -> dict[str, Any]:
    """Run one of the series, or with resume finish it or take it as it is; return the content of `metrics.json`."""
    folder = out / member.folder
    settings.say(member.title)
    if settings.resume and _finished(folder, member):
        return read_metrics(folder)
    begun = settings.resume and (folder / "recipe.yaml").is_file()
    return run(experiment, member.recipe, folder, replace(settings, resume=begun), member.baseline)


def check_begun(folder: Path, recipe: Recipe) -> None:
    """Refuse to go on in a folder whose run was begun with another recipe, naming what differs; more seeds may join."""
    begun = build([read_layer(folder / "recipe.yaml")])
    found = differences(begun, recipe)
    more_seeds = len(begun.seeds) > 1 and set(begun.seeds) <= set(recipe.seeds)
    if begun.seeds != recipe.seeds and not more_seeds:
        found.append(f"seeds: {begun.seeds} → {recipe.seeds}")
    if found:
        raise UserError(
            f"'{folder}' was begun with another recipe ({'; '.join(found[:3])}); resume with the values it has, or "
            "give another --out"
        )


def _finished(folder: Path, member: Member) -> bool:
    if not (folder / "metrics.json").is_file():
        return False
    content = read_metrics(folder)
    compared = member.baseline is None or "difference" in content
    return compared and content["seeds"] == member.recipe.seeds
