"""Rotation beside the discriminator of a GAN: what is painted, and what the discriminator does not forget.

python -m benchmarks.gan --data digits     (some 10 CPU-minutes a run; goes on where it stopped)
python -m benchmarks.gan --data cifar

SNGAN, SSGAN (rotation on a quarter of the images), its placebo (the same turns with random answers) and an SSGAN that
is told classes; of a seed the first three share initial weights, latents and batches. Networks are narrow (width 32,
the published 256 and 128), each player moves once a step, and the budget is short: 2,000 steps of 64 images. Width,
batch, learning rates and Adam's first beta were chosen by eye and KID among six runs of SNGAN on digits, five with a
seed of its own (100) and one with seed 0; no setting was tried with rotation or on CIFAR-10.

Digits (MNIST, 6,000 to learn from) are measured by the features of a small classifier trained on the real ones, the
same for all runs, since ImageNet's say little of them; CIFAR-10 images (10,000, re-saved as JPEG) by
`tf_efficientnet_lite0` with ImageNet weights at 96 px. KID is the headline: the FID of 2,000 images is biased by more
than the arms differ. The probe is fitted on training images and tested on test images at every look, which gives the
curve of what is forgotten.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.common import CPU, DOCS, data_folder, mean, write_result
from benchmarks.gan_tables import SHOWN, picture
from benchmarks.jobs import FAST, Row, kept, paired_gains, published_row, side_by_side, with_published
from uda.experiments.experiment import loop_options
from uda.experiments.gan.assemble import build_task, check_recipe, gan_data, prepare_inputs
from uda.experiments.gan.outputs import COLUMNS, label_counts, shown
from uda.experiments.pool import find_pool, load_pool
from uda.layers import published_layers, replaced_objectives
from uda.metrics import summarize
from uda.probes.generation import Yardstick
from uda.recipe import GanRecipe, Tree, build_as
from uda.report.grid import grid
from uda.tasks.gan.task import GanData
from uda.training.checkpoint import Identity
from uda.training.history import History
from uda.training.loop import train

SNGAN, SSGAN, PLACEBO, CONDITIONAL = "sngan", "rotation", "placebo:rotation", "rotation, conditional"
ARMS = (SNGAN, SSGAN, PLACEBO, CONDITIONAL)
FIGURES = ("kid", "fid", "precision", "recall", "probe_accuracy", "confidence", "effective_classes", "asked_accuracy")
CONFIDENT = 0.9
"""Confidence from which on the classifier counts as sure."""

SMALL: Tree = {
    "method": {"n_dis": 1, "latent": 64, "ngf": 32, "ndf": 32, "ema": 0.99},
    "training": FAST
    | {"batch_size": 64, "lr": 0.001, "betas": [0.5, 0.9], "evaluate_every": 500, "checkpoint_every": 0},
    "report": {"images": 2000, "probed": 2000},
}
STEPS = 2000
DATA: dict[str, Tree] = {
    "digits": {"report": {"extractor": "classifier", "extractor_size": 32}},
    "cifar": {"report": {"extractor": "tf_efficientnet_lite0", "extractor_size": 96}},
}


def source(data: str) -> Tree:
    """Return where the images of a study lie."""
    if data == "digits":
        return {"data": {"source": "digits/mnist", "root": str(data_folder("office_caltech10").parent)}}
    return {"data": {"source": str(data_folder("cifar10"))}}


def recipe_of(arm: str, data: str, steps: int) -> GanRecipe:
    """Return the recipe of an arm."""
    method: Tree = {"name": "sngan"} | ({"conditional": True} if arm == CONDITIONAL else {})
    own: Tree = {"method": method, "training": {"steps": steps}}
    if arm != SNGAN:
        own["objectives"] = {PLACEBO if arm == PLACEBO else SSGAN: {"weight": 1.0, "head": "spectral"}}
    published = replaced_objectives(published_layers("gan", None, frozen=False), [own])
    return build_as(GanRecipe, [*published, SMALL, DATA[data], source(data), own])


def run(arm: str, seed: int, data: str, steps: int, folder: Path) -> Row:
    """Run one arm with one seed; a result that is there already is returned as it is."""
    which = {"arm": arm, "seed": seed}
    stem = f"{Path(picture(data, arm)).stem}-{seed}"

    def made() -> Row:
        recipe = recipe_of(arm, data, steps)
        check_recipe(recipe)
        loaded = load_pool(find_pool(recipe.data), recipe.data, progress=False)
        inputs = prepare_inputs(recipe, loaded, CPU)
        data_of_run = gan_data(recipe, loaded, inputs)
        task = build_task(recipe, data_of_run, inputs.yardstick, seed)
        with TemporaryDirectory() as out:
            train(task, loop_options(recipe, seed, CPU), Path(out), Identity(recipe.hash(), "study", seed), CPU.device)
            looks = History(Path(out) / "history.csv", ()).read().dropna(subset=["kid"])
        folder.mkdir(parents=True, exist_ok=True)
        samples = grid(shown(task).numpy(), COLUMNS, 2)
        (folder / f"{stem}.png").write_bytes(samples)
        if seed == SHOWN and steps == STEPS:
            (DOCS / picture(data, arm)).write_bytes(samples)
        measured = task.last_measured
        assert measured is not None
        sure = None if measured.confidences is None else float((measured.confidences >= CONFIDENT).mean())
        return which | {
            **{name: task.last_metrics[name] for name in FIGURES},
            "kid_ci95": measured.ci95.get("kid"),
            "sure": sure,
            "labels": label_counts(task),
            "sure_of_real": _sure_of_real(inputs.yardstick, data_of_run),
            "sure_labels": _sure(measured.labels, measured.confidences, len(loaded.class_names)),
            "n_real": len(inputs.yardstick.real),
            "n_fake": task.n_images,
            "extractor": inputs.yardstick.extractor.title,
            "classifier_accuracy": inputs.yardstick.classifier_accuracy,
            "curve": {str(int(look["step"])): _look(look) for look in looks.to_dict("records")},
        }

    known = published_row(result_name(data, steps), shared(data, steps), which)
    return kept(folder / f"{stem}.json", known, made)


def _sure(labels: np.ndarray | None, confidences: np.ndarray | None, n_classes: int) -> list[int] | None:
    """Return how many images of each class the classifier is sure of."""
    if labels is None or confidences is None:
        return None
    return [int(count) for count in np.bincount(labels[confidences >= CONFIDENT], minlength=n_classes)]


def _sure_of_real(yardstick: Yardstick, data: GanData) -> float | None:
    """Return the share of real test images that the classifier is sure of; None without any."""
    if yardstick.classifier is None or data.test_images is None:
        return None
    features = yardstick.extractor.features(data.test_images.batch(data.tested), yardstick.device)
    confidences = yardstick.classifier.probabilities(torch.from_numpy(features)).amax(1)
    return float((confidences >= CONFIDENT).float().mean())


def _look(row: Mapping[Any, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in ("kid", "fid", "probe_accuracy")}


def result_name(data: str, steps: int) -> str:
    """Return what the results are called."""
    return f"gan_{data}" if steps == STEPS else f"gan_{data}_{steps}"


def shared(data: str, steps: int) -> dict[str, Any]:
    """Return the recipe without what differs between the runs, and without the data's place."""
    content = recipe_of(SNGAN, data, steps).model_dump(mode="json")
    for key in ("source", "root"):
        content["data"].pop(key)
    for key in ("objectives", "preflight"):
        content.pop(key)
    return content


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return every arm's means and curve, and what rotation changes, paired by seed, against both other arms."""
    by_arm = {arm: {row["seed"]: row for row in rows if row["arm"] == arm} for arm in ARMS}
    found: dict[str, Any] = {}
    for arm, own in by_arm.items():
        if not own:
            continue
        entry: dict[str, Any] = {"seeds": sorted(own)}
        entry |= {name: mean([row[name] for row in own.values()]) for name in (*FIGURES, "sure")}
        entry["kid_ci95"] = summarize([row["kid"] for row in own.values()]).ci95
        steps = next(iter(own.values()))["curve"]
        entry["probe_curve"] = {
            step: mean([row["curve"].get(step, {}).get("probe_accuracy") for row in own.values()]) for step in steps
        }
        found[arm] = entry
    for other in (SNGAN, PLACEBO):
        gains = paired_gains(by_arm[SSGAN], by_arm[other], FIGURES)
        found |= {f"{SSGAN} minus {other}": gains} if gains else {}
    return found


def main() -> None:
    """Run all arms, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    steps, name = flags.steps, result_name(flags.data, flags.steps)
    wanted = [(arm, seed, flags.data, steps, Path("runs") / name) for seed in flags.seeds for arm in flags.arms]
    rows: list[Row] = []
    for row in side_by_side(run, wanted, flags.workers):
        rows.append(row)
        said = ", ".join(f"{figure} {row[figure]:.3g}" for figure in ("kid", "probe_accuracy", "effective_classes"))
        print(f"{row['arm']}, seed {row['seed']}: {said} ({len(rows)} of {len(wanted)})", flush=True)
        known = with_published(rows, name, shared(flags.data, steps), ("arm", "seed"))
        ordered = sorted(known, key=lambda r: (ARMS.index(r["arm"]), r["seed"]))
        content = {"threads_of_each_run": 1, "recipe": shared(flags.data, steps), "summary": summary(ordered)}
        write_result(name, content | {"runs": ordered})


if __name__ == "__main__":
    main()
