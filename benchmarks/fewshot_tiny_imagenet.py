"""Few-shot boosting from random weights: whether rotation, location or both help novel classes.

python -m benchmarks.fewshot_tiny_imagenet    (about two hours on two CPU cores; goes on where it stopped)

The question of Gidaris et al. (ICCV 2019) at a budget of minutes: 64 base classes of 60 images (Tiny-ImageNet, 64 px),
20 novel ones, a small network from random weights, a cosine classifier alone, with rotation, with location (and, as
published, with the class of the patches), with both, and with the placebo of each, three seeds. All arms of a seed
share initial weights and batches, and all runs the same 2,000 episodes. The last step counts; nothing was tuned on the
novel classes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import CPU, data_folder, mean, write_result
from benchmarks.jobs import FAST, Row, kept, paired_gains, published_row, side_by_side, with_published
from uda.experiments.experiment import loop_options
from uda.experiments.fewshot.experiment import FewshotExperiment
from uda.layers import published_layers, replaced_objectives
from uda.recipe import FewshotRecipe, Tree, build_as
from uda.training.checkpoint import Identity
from uda.training.loop import train

NAME = "fewshot_tiny_imagenet"
PLAIN = "plain"
ARMS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "rotation": ("rotation",),
    "location": ("location",),
    "both": ("rotation", "location"),
    "placebo:rotation": ("placebo:rotation",),
    "placebo:location": ("placebo:location",),
}
OPTIONS: dict[str, Tree] = {"rotation": {"head": "block"}, "location": {"patch_class": 1.0}}
SMALL: Tree = {
    "data": {"image_size": 64, "stored_size": 72},
    "encoder": {"backbone": "smallconv", "weights": "none"},
    "training": {"steps": 1200, "batch_size": 64, "optimizer": "adamw", "lr": 0.003} | FAST,
}


def recipe_of(arm: str) -> FewshotRecipe:
    """Return the recipe of an arm."""
    objectives: Tree = {name: OPTIONS[name.removeprefix("placebo:")] for name in ARMS[arm]}
    own: Tree = {"method": "cosine", "objectives": objectives}
    ends: Tree = {"data": {"source": str(data_folder("tiny_imagenet_fewshot"))}}
    quiet: Tree = {"training": {"evaluate_every": 0, "checkpoint_every": 0}}
    published = replaced_objectives(published_layers("fewshot", None, frozen=False, image_size=64), [own])
    return build_as(FewshotRecipe, [*published, ends, SMALL, quiet, own])


def run(arm: str, seed: int, folder: Path) -> Row:
    """Run one arm with one seed; a result that is there already is returned as it is."""
    which = {"arm": arm, "seed": seed}

    def made() -> Row:
        recipe, experiment = recipe_of(arm), FewshotExperiment()
        loaded = experiment.load(experiment.find(recipe, CPU), recipe, CPU)
        task = experiment.build(recipe, loaded, experiment.prepare(recipe, loaded, CPU), seed)
        with TemporaryDirectory() as out:
            train(task, loop_options(recipe, seed, CPU), Path(out), Identity(recipe.hash(), "study", seed), CPU.device)
        by_classifier = {
            str(one.shots): {name: found.mean for name, found in one.by_classifier.items()} for one in task.tested
        }
        return which | {"metrics": task.last_metrics, "by_classifier": by_classifier}

    return kept(folder / f"{arm}-{seed}.json".replace(":", "-"), published_row(NAME, shared(), which), made)


def shared() -> dict[str, Any]:
    """Return the recipe without what differs between the arms, and without places."""
    content = recipe_of(PLAIN).model_dump(mode="json")
    for key in ("source", "root"):
        content["data"].pop(key)
    for key in ("objectives", "preflight"):
        content.pop(key)
    return content


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return every arm's means, and what it gains over none and over its placebo, paired by seed."""
    by_arm = {arm: {row["seed"]: row["metrics"] for row in rows if row["arm"] == arm} for arm in ARMS}
    found: dict[str, Any] = {}
    for arm, own in by_arm.items():
        names = [name for metrics in list(own.values())[:1] for name in metrics]
        entry: dict[str, Any] = {"seeds": sorted(own)}
        entry["metrics"] = {name: mean([metrics[name] for metrics in own.values()]) for name in names}
        if arm != PLAIN:
            entry["gain"] = paired_gains(own, by_arm[PLAIN], names)
            entry["gain_over_placebo"] = paired_gains(own, by_arm.get(f"placebo:{arm}", {}), names)
        found[arm] = entry
    return found


def main() -> None:
    """Run all arms, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    rows: list[Row] = []
    for row in side_by_side(
        run, [(arm, seed, Path("runs") / NAME) for seed in flags.seeds for arm in ARMS], flags.workers
    ):
        rows.append(row)
        said = ", ".join(f"{name} {value:.3f}" for name, value in row["metrics"].items())
        print(f"{row['arm']}, seed {row['seed']}: {said} ({len(rows)})", flush=True)
        known = with_published(rows, NAME, shared(), ("arm", "seed"))
        ordered = sorted(known, key=lambda r: (list(ARMS).index(r["arm"]), r["seed"]))
        content = {"threads_of_each_run": 1, "recipe": shared(), "summary": summary(ordered), "runs": ordered}
        write_result(NAME, content)


if __name__ == "__main__":
    main()
