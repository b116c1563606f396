"""From flags to recipes: the last layer, the arm that --compare asks for, and what --resume goes on with."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda.errors import UserError, baseline_errors_named
from uda.experiments.parts import dataset_name
from uda.experiments.series import check_begun
from uda.layers import (
    assignment,
    check_objectives_named,
    is_frozen,
    layers_of_run,
    named_data,
    named_size,
    published_layers,
    read_layer,
    replaced_objectives,
    written_out,
)
from uda.places import check_out
from uda.recipe import RECIPES, Recipe, build, differences
from uda.ssl.placebo import PREFIX


def recipe_layers(flags: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the recipe's layers, weakest first; a resumed run starts from the recipe it was begun with."""
    config = [read_layer(flags.config)] if flags.config else []
    begun = []
    if flags.resume and flags.out is not None:  # --resume without --out is refused where the folder is chosen
        check_out(flags.out, resume=True)
        begun.append(read_layer(flags.out / "recipe.yaml"))
    for layer in (*config, *begun):
        if layer.get("task", flags.task) != flags.task:
            where = flags.config if layer in config else flags.out
            raise UserError(f"'{where}' is for task '{layer['task']}', not '{flags.task}'; leave --task out")
    settings = [assignment(text) for text in flags.set]
    if flags.objective is not None:
        swept = [assignment(text) for text in flags.sweep or () if "=" in text]
        check_objectives_named(flags.objective, [*config, *begun], [*settings, *swept])
    given = [*config, *settings, flag_layer(flags)]
    if begun:
        return [*begun, *given]
    given = [*layers_of_run(given), *given]
    names = dataset_name(*named_data(given))
    task: list[dict[str, Any]] = [{"task": flags.task}]
    published = published_layers(flags.task, names, is_frozen(given), named_size(given))
    return [*task, *replaced_objectives(published, given), *given]


def flag_layer(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that were given as a layer of the recipe."""
    data = {
        "source": flags.source,
        "target": flags.target,
        "labels": flags.labels,
        "unlabelled": flags.unlabelled,
        "setting": flags.setting,
        "split": flags.split,
        "root": flags.data_root,
        "image_size": flags.image_size,
        "strict": flags.strict,
    }
    fields = type(RECIPES[flags.task].model_fields["data"].default).model_fields
    for key, value in data.items():
        if value is not None and key not in fields:
            raise UserError(f"--{key} means nothing to task '{flags.task}'; leave it out, or choose another --task")
    encoder = {"backbone": flags.backbone, "weights": flags.weights, "freeze": flags.freeze}
    training = {"steps": flags.steps, "batch_size": flags.batch_size}
    layer: dict[str, Any] = {}
    for section, values in (("data", data), ("encoder", encoder), ("training", training)):
        found = {key: value for key, value in values.items() if value is not None}
        if found:
            layer[section] = found
    partly_labelled = flags.labels is not None or flags.unlabelled is not None
    if flags.task == "pretrain" and partly_labelled and flags.method is None:
        layer["method"] = {"name": "supervised"}  # labels join the objectives: S4L
    if flags.method is not None:
        layer["method"] = {"name": flags.method}
    if flags.objective is not None:
        layer["objectives"] = {name: {} for name in flags.objective}
    if flags.seeds is not None:
        layer["seeds"] = flags.seeds
    return layer


def baseline_recipe(recipe: Recipe, layers: Sequence[dict[str, Any]], overrides: Sequence[str]) -> Recipe:
    """Return what --compare runs beside the recipe: the same without self-supervision, or with the overrides.

    `placebo` among the overrides stands for the same objectives with random answers. Raises UserError where nothing
    would differ, or the seeds would.
    """
    placebo = "placebo" in overrides
    if placebo and (not recipe.objectives or any(name.startswith(PREFIX) for name in recipe.objectives)):
        raise UserError("--compare placebo wants an --objective, whose answers the other arm has at random")
    changes = [assignment(text) for text in overrides if text != "placebo"] or ([] if placebo else [_bare(recipe)])
    if placebo:
        changes.append({"objectives": {f"{PREFIX}{name}": options for name, options in recipe.objectives.items()}})
    kept = []
    for layer in map(written_out, layers):
        # Options that were set without a method's name are those of this arm's method.
        own = {"method": {"name": recipe.method["name"]} | layer["method"]} if layer.get("method") else {}
        without = placebo or not overrides
        kept.append({k: v for k, v in layer.items() if k != "objectives" or not without} | own)
    with baseline_errors_named():
        baseline = build([*kept, *changes])
    if baseline.seeds != recipe.seeds:
        raise UserError("--compare cannot change the seeds, for both arms share them; give them by --seeds")
    if getattr(recipe, "report", None) != getattr(baseline, "report", None):
        raise UserError(
            "--compare cannot change report.*, for both arms are examined alike; set these for both by --set"
        )
    if not differences(recipe, baseline):
        raise UserError(
            "--compare has nothing to compare: the other arm would be the same run; say what it should have instead, "
            "for example --compare method.temperature=0.1"
        )
    return baseline


def _bare(recipe: Recipe) -> dict[str, Any]:
    """Return what is left of a recipe without self-supervision: the supervised part, or the weights as they come."""
    if recipe.task == "unida":
        return {"method": "source_only"}
    if recipe.task == "dg":
        return {"method": "deepall", "compat": "paper"}
    if recipe.task in ("robustness", "gan"):
        return {}
    if recipe.task == "fewshot":  # unlabelled images join objectives alone
        return {"data": {"unlabelled": None}}
    if recipe.task == "imbalance":  # without objectives there is still a method to be measured by cross-entropy
        return {} if recipe.objectives else {"method": "ce"}
    return {} if recipe.method["name"] == "supervised" else {"training": {"steps": 0}}


def baseline_begun(baseline: Recipe | None, folder: Path, seeds: list[int], check: bool) -> Recipe | None:
    """Return the baseline that a comparison was begun with, so that --resume alone ends it; `check` refuses another."""
    if not (folder / "recipe.yaml").is_file():
        return baseline
    if baseline is not None and check:
        check_begun(folder, baseline)
    return build([read_layer(folder / "recipe.yaml"), {"seeds": seeds}])
