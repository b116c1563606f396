"""Auxiliary rotation on CIFAR-10 images: corruptions, attacks, other images and calibration, whichever way it goes.

python -m benchmarks.robustness_cifar                  (40 minutes on two CPU cores; goes on where it stopped)
python -m benchmarks.robustness_cifar --adversarial    (the same after adversarial training, as long again)

The paper's question (Hendrycks et al., NeurIPS 2019) at a budget of minutes: a small network from random weights, with
rotation, without, and with rotation's placebo (the same views and head, random answers), three seeds. All arms of a
seed share initial weights, batches and views. The last step counts; nothing was tuned on these test images. Near are
objects of Office-Caltech10, none of which CIFAR-10 has a class for; far is lung tissue.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import CPU, data_folder, mean, write_result
from benchmarks.jobs import FAST, Row, kept, paired_gains, published_row, side_by_side, with_published
from uda.experiments.robustness.experiment import RobustnessExperiment
from uda.layers import published_layers, replaced_objectives
from uda.recipe import RobustnessRecipe, Tree, build_as
from uda.training.checkpoint import Identity

PLAIN, ROTATION = "plain", "rotation"
ARMS = (PLAIN, ROTATION, f"placebo:{ROTATION}")
EPS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
SHOWN = (
    *("accuracy", "corruption_accuracy", "pgd-20_linf_0.5_accuracy", "pgd-20_linf_1_accuracy"),
    *("pgd-20_linf_2_accuracy", "pgd-20_linf_8_accuracy", "near_auroc_max_softmax", "far_auroc_max_softmax"),
    *("ece", "ece_scaled", "corruption_ece", "nll"),
)
SMALL: Tree = {
    "data": {"image_size": 32},
    "encoder": {"backbone": "smallconv", "weights": "none"},
    "training": {"batch_size": 128, "optimizer": "adamw", "lr": 0.003, "evaluate_every": 0, "checkpoint_every": 0}
    | FAST,
    "report": {"images": 1000, "attacks": ["pgd-20"], "eps": EPS, "attacked": 500},
}
STEPS = {False: 1500, True: 500}


def recipe_of(arm: str, adversarial: bool) -> RobustnessRecipe:
    """Return the recipe of an arm."""
    method: Tree = (
        {"name": "adversarial", "eps": 8, "step": 2, "attack_steps": 5} if adversarial else {"name": "standard"}
    )
    own: Tree = {"method": method} | ({} if arm == PLAIN else {"objectives": {arm: {"weight": 0.5}}})
    ends: Tree = {"data": {"source": str(data_folder("cifar10"))}}
    others: Tree = {"data": {"near": str(data_folder("office_caltech10")), "far": str(data_folder("lung_histology"))}}
    published = replaced_objectives(published_layers("robustness", None, frozen=False, image_size=32), [own])
    steps: Tree = {"training": {"steps": STEPS[adversarial]}}
    return build_as(RobustnessRecipe, [*published, ends, others, SMALL, steps, own])


def run(arm: str, seed: int, adversarial: bool, folder: Path) -> Row:
    """Run one arm with one seed; a result that is there already is returned as it is."""
    which = {"arm": arm, "seed": seed}

    def made() -> Row:
        recipe, experiment = recipe_of(arm, adversarial), RobustnessExperiment()
        loaded = experiment.load(experiment.find(recipe, CPU), recipe, CPU)
        task = experiment.build(recipe, loaded, experiment.prepare(recipe, loaded, CPU), seed)
        with TemporaryDirectory() as out:
            experiment.fit(recipe, task, Path(out), Identity(recipe.hash(), "study", seed), seed, CPU)
        assert task.findings is not None
        return which | {"metrics": task.findings.metrics(), "errors": task.findings.errors()}

    known = published_row(result_name(adversarial), shared(adversarial), which)
    return kept(folder / f"{arm.replace(':', '-')}-{seed}.json", known, made)


def result_name(adversarial: bool) -> str:
    """Return what the results are called."""
    return "robustness_cifar_adversarial" if adversarial else "robustness_cifar"


def shared(adversarial: bool) -> dict[str, Any]:
    """Return the recipe without what differs between the arms, and without places."""
    content = recipe_of(PLAIN, adversarial).model_dump(mode="json")
    for key in ("source", "root", "near", "far"):
        content["data"].pop(key)
    for key in ("objectives", "preflight"):
        content.pop(key)
    return content


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return every arm's means, and what rotation gains over no rotation and over its placebo, paired by seed."""
    by_arm = {arm: {row["seed"]: row["metrics"] for row in rows if row["arm"] == arm} for arm in ARMS}
    names = [name for row in rows[:1] for name in row["metrics"]]
    found: dict[str, Any] = {}
    for arm, own in by_arm.items():
        found[arm] = {
            "seeds": sorted(own),
            "metrics": {n: mean([metrics[n] for metrics in own.values()]) for n in names},
        }
    for other in (PLAIN, f"placebo:{ROTATION}"):
        found[f"rotation minus {other}"] = paired_gains(by_arm[ROTATION], by_arm[other], names)
    return found


def main() -> None:
    """Run all arms, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adversarial", action="store_true", help="after adversarial training")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    name = result_name(flags.adversarial)
    wanted = [(arm, seed, flags.adversarial, Path("runs") / name) for seed in flags.seeds for arm in ARMS]
    rows: list[Row] = []
    for row in side_by_side(run, wanted, flags.workers):
        rows.append(row)
        said = ", ".join(f"{key} {row['metrics'][key]:.3f}" for key in SHOWN[:4])
        print(f"{row['arm']}, seed {row['seed']}: {said} ({len(rows)})", flush=True)
        known = with_published(rows, name, shared(flags.adversarial), ("arm", "seed"))
        ordered = sorted(known, key=lambda r: (ARMS.index(r["arm"]), r["seed"]))
        content = {"threads_of_each_run": 1, "recipe": shared(flags.adversarial), "summary": summary(ordered)}
        write_result(name, content | {"runs": ordered})


if __name__ == "__main__":
    main()
