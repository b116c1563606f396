"""Long tails of CIFAR-10 images: every method, and supervised against self-supervised features as the tail grows.

python -m benchmarks.imbalance_cifar            (three hours on two CPU cores; goes on where it stopped)
python -m benchmarks.imbalance_cifar --part ratios

methods: every method at ratio 10 and 100, from random weights and after SimCLR on the same tail, and at 100 with
rotation (one turn of each image) as an auxiliary objective. ratios: cross-entropy from random weights, the same after
SimCLR, and SimCLR's features as they are with a linear probe, at ratios from 1 to 100: accuracy and balancedness as
curves. A small network, three seeds; all arms of a seed share initial weights, batches and views, and pre-training
never sees an image beyond the tail. Total images shrink as the ratio grows, for the largest class stays as it is.
Nothing was tuned on these test images. The images were re-saved as JPEG by their publisher.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.common import CPU, data_folder, mean, write_result
from benchmarks.jobs import FAST, Row, kept, paired_gains, published_row, side_by_side, with_published
from uda.experiments.experiment import run as run_experiment
from uda.experiments.imbalance.experiment import ImbalanceExperiment
from uda.experiments.pretrain.experiment import PretrainExperiment
from uda.recipe import ImbalanceRecipe, PretrainRecipe, Tree, build_as
from uda.tasks.imbalance import METHODS

NAME = "imbalance_cifar"
RANDOM, SIMCLR, ROTATION, NONE, AS_IT_COMES = "random", "simclr", "rotation", "none", "as it comes"
RATIOS = (1, 3, 10, 30, 100)
STEPS, PRETRAINING_STEPS = 600, 800
FIGURES = ("accuracy", "many_accuracy", "medium_accuracy", "few_accuracy", "balancedness", "probe_accuracy")
QUIET = replace(CPU, say=lambda text: None)
TRAINING: Tree = {
    "batch_size": 128,
    "optimizer": "adamw",
    "lr": 0.003,
    "schedule": "cosine",
    "evaluate_every": 0,
    "checkpoint_every": 0,
} | FAST


class Arm(NamedTuple):
    """What is run: `AS_IT_COMES` as method trains nothing and fits a linear probe."""

    ratio: int
    start: str
    method: str
    objective: str


def arms(part: str) -> list[Arm]:
    """Return the arms of a part of the study."""
    if part == "ratios":
        kinds = ((RANDOM, "ce"), (SIMCLR, "ce"), (SIMCLR, AS_IT_COMES))
        return [Arm(ratio, start, method, NONE) for ratio in RATIOS for start, method in kinds]
    plain = [Arm(ratio, start, name, NONE) for ratio in (10, 100) for name in METHODS for start in (RANDOM, SIMCLR)]
    return [*plain, *(Arm(100, RANDOM, name, ROTATION) for name in METHODS)]


def data_of(ratio: int) -> Tree:
    """Return the images of a ratio."""
    return {"source": str(data_folder("cifar10")), "image_size": 32, "stored_size": 32, "ratio": ratio}


def recipe_of(arm: Arm, steps: int, weights: str) -> ImbalanceRecipe:
    """Return the recipe of an arm."""
    trains = arm.method != AS_IT_COMES
    own: Tree = {"method": {"name": arm.method if trains else "ce"}}
    own |= {} if arm.objective == NONE else {"objectives": {arm.objective: {"weight": 0.5, "form": "one"}}}
    encoder: Tree = {"backbone": "smallconv", "weights": weights}
    training = TRAINING | {"steps": steps if trains else 0, "backbone_lr_scale": 1}
    common: Tree = {"data": data_of(arm.ratio), "encoder": encoder, "training": training, "preflight": False}
    return build_as(ImbalanceRecipe, [common, own])


def pretrained(ratio: int, seed: int, steps: int, folder: Path) -> Row:
    """Pre-train on the images of a ratio; a backbone that is there already stays."""
    out = folder / f"pretrained-{ratio}-{seed}"

    def made() -> Row:
        common: Tree = {
            "data": data_of(ratio),
            "objectives": {SIMCLR: {}},
            "encoder": {"backbone": "smallconv", "weights": "none"},
            "training": TRAINING | {"steps": steps, "warmup_steps": 20},
            "seeds": [seed],
        }
        return {
            "metrics": run_experiment(PretrainExperiment(), build_as(PretrainRecipe, [common]), out, QUIET)["metrics"]
        }

    return kept(out / "row.json", None, made)


def run(arm: Arm, seed: int, steps: int, folder: Path) -> Row:
    """Run one arm with one seed; a result that is there already is returned as it is."""
    which = arm._asdict() | {"seed": seed}

    def made() -> Row:
        backbone = folder / f"pretrained-{arm.ratio}-{seed}" / "backbone.safetensors"
        recipe = recipe_of(arm, steps, str(backbone) if arm.start == SIMCLR else "none")
        recipe = recipe.model_copy(update={"seeds": [seed]})
        with TemporaryDirectory() as out:
            content = run_experiment(ImbalanceExperiment(), recipe, Path(out), QUIET)
        per_class = {"classes": content["classes"]} | content["per_class"]
        return which | {"metrics": content["metrics"], "per_class": per_class}

    return kept(path_of(arm, seed, folder), published(arm, seed, steps), made)


def path_of(arm: Arm, seed: int, folder: Path) -> Path:
    """Return where a run's row is kept."""
    return folder / f"{'-'.join(map(str, arm)).replace(' ', '_')}-{seed}.json"


def published(arm: Arm, seed: int, steps: int) -> Row | None:
    """Return the row of the committed results, if there is one."""
    return published_row(NAME, shared(steps), arm._asdict() | {"seed": seed})


def shared(steps: int) -> dict[str, Any]:
    """Return the recipe without what differs between the arms, and without places."""
    content = recipe_of(Arm(1, RANDOM, "ce", NONE), steps, "none").model_dump(mode="json")
    for key in ("source", "root", "ratio"):
        content["data"].pop(key)
    content["encoder"].pop("weights")
    for key in ("method", "objectives", "preflight"):
        content.pop(key)
    return content | {"pretraining_steps": PRETRAINING_STEPS}


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return every arm's means, the curves over the ratio, and what start and objective gain, paired by seed."""
    by_arm: dict[Arm, dict[int, Row]] = {}
    for row in rows:
        by_arm.setdefault(Arm(*(row[key] for key in Arm._fields)), {})[row["seed"]] = row["metrics"]
    means = {
        arm: {name: mean([metrics[name] for metrics in own.values()]) for name in FIGURES}
        for arm, own in by_arm.items()
    }
    curves: dict[str, Any] = {}
    for arm in sorted(by_arm):
        if arm.objective == NONE and arm.method in ("ce", AS_IT_COMES):
            curve = curves.setdefault(
                f"{arm.method} from {arm.start}", {"ratio": [], "accuracy": [], "balancedness": []}
            )
            curve["ratio"].append(arm.ratio)
            for name in ("accuracy", "balancedness"):
                curve[name].append(means[arm][name])
    gains = []
    for arm, own in sorted(by_arm.items()):
        other = Arm(arm.ratio, RANDOM, arm.method, NONE)
        seeds = sorted(own.keys() & by_arm.get(other, {}).keys())
        if arm == other or not seeds:
            continue
        gain: dict[str, Any] = arm._asdict() | {"against": "random weights, no objective", "seeds": seeds}
        gains.append(gain | paired_gains(own, by_arm[other], FIGURES))
    listed = [arm._asdict() | {"seeds": sorted(by_arm[arm]), "metrics": means[arm]} for arm in sorted(by_arm)]
    return {"arms": listed, "curves": curves, "gains": gains}


def main() -> None:
    """Pre-train where an arm wants it, run all arms, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("methods", "ratios", "all"), default="all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], help="these methods alone")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--pretraining-steps", type=int, default=PRETRAINING_STEPS)
    parser.add_argument("--result", default=NAME, help="what the results are called")
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    folder = Path("runs") / f"{flags.result}-{flags.steps}"
    parts = ("ratios", "methods") if flags.part == "all" else (flags.part,)
    chosen = list(dict.fromkeys(arm for part in parts for arm in arms(part)))
    chosen = [arm for arm in chosen if not flags.only or arm.method in flags.only]
    wanted = [(arm, seed, flags.steps, folder) for seed in flags.seeds for arm in chosen]
    wanted.sort(key=lambda job: job[0].objective != NONE)  # an objective makes a step longer: those come last
    lacking = [
        (arm.ratio, seed)
        for arm, seed, *_ in wanted
        if arm.start == SIMCLR and not path_of(arm, seed, folder).is_file() and not published(arm, seed, flags.steps)
    ]
    first = [(ratio, seed, flags.pretraining_steps, folder) for ratio, seed in dict.fromkeys(lacking)]
    for number, row in enumerate(side_by_side(pretrained, first, flags.workers), 1):
        print(f"pre-training {number} of {len(first)}: kNN {row['metrics']['knn_accuracy']:.3f}", flush=True)
    rows: list[Row] = []
    for row in side_by_side(run, wanted, flags.workers):
        rows.append(row)
        arm = Arm(*(row[key] for key in Arm._fields))
        said = ", ".join(f"{name} {row['metrics'][name]:.3f}" for name in ("accuracy", "balancedness"))
        print(f"{arm}, seed {row['seed']}: {said} ({len(rows)} of {len(wanted)})", flush=True)
        known = with_published(rows, flags.result, shared(flags.steps), (*Arm._fields, "seed"))
        ordered = sorted(known, key=lambda r: (*(r[key] for key in Arm._fields), r["seed"]))
        content = {"threads_of_each_run": 1, "recipe": shared(flags.steps), "summary": summary(ordered)}
        write_result(flags.result, content | {"runs": ordered})


if __name__ == "__main__":
    main()
