"""Every objective on 10,000 CIFAR-10 images: what its features are worth for the same number of images encoded.

python -m benchmarks.ssl_cifar    (about three hours on two CPU cores; goes on where it stopped)

A small backbone from random weights, the same optimizer for all, nothing tuned. Every arm puts the same number of
images through the trained encoder (crops and tiles count by their pixels; a teacher's own pass is not counted), so a
method of two views takes half as many steps as one of one view with the same batch. Beside the objectives: the weights
as they start, two placebos, and supervised training on all labels. kNN and linear accuracy are on the 2,000 test
images, from features of the 10,000; the last step counts. Seconds are those of the processor in the run's own process
(one thread), so that other work on the machine hardly shows. The images were re-saved as JPEG by their publisher.
Another budget than the table's goes to a file of its own: results/ssl_cifar_240000.json.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.common import CPU, RESULTS, data_folder, write_result
from benchmarks.jobs import holds
from uda.batch import Batch
from uda.clock import Clock
from uda.experiments.experiment import loop_options
from uda.experiments.pool import PoolLoaded, find_pool, load_pool
from uda.experiments.pretrain.experiment import Inputs, build_pretrain, prepare_pool
from uda.layers import Tree
from uda.metrics import accuracy_interval, paired_difference, summarize
from uda.nn.encoder import TimmEncoder
from uda.probes.knn import knn
from uda.probes.linear import fit_linear
from uda.recipe import PretrainRecipe, build_as
from uda.ssl import OBJECTIVES
from uda.tasks.pretrain import Pretrain
from uda.training.checkpoint import Identity
from uda.training.loop import train
from uda.training.outputs import write_json

BUDGET = 60_000
UNTRAINED, SUPERVISED = "untrained", "supervised"
PLACEBOS = ("placebo:rotation", "placebo:simclr")
PER_STEP = 256
"""Images through the encoder in a step: the batch follows from how many views an objective makes."""


def backbone_of(arm: str) -> str:
    """Return the backbone of an arm: a small convolutional network, or a small ViT where only that will do."""
    return "smallvit" if arm.startswith("mae") or arm.endswith("(smallvit)") else "smallconv"


def arms() -> list[str]:
    """Return all arms; what mae needs a ViT for has its references on that ViT too."""
    return [UNTRAINED, SUPERVISED, *OBJECTIVES, *PLACEBOS, f"{UNTRAINED} (smallvit)", f"{SUPERVISED} (smallvit)"]


def recipe_of(arm: str, batch_size: int, steps: int) -> PretrainRecipe:
    """Return an arm's recipe: the same optimizer for all, each objective with its own defaults."""
    name = arm.removesuffix(" (smallvit)")
    own: Tree = {"objectives": {name: {}}}
    if name == SUPERVISED:
        own = {"method": SUPERVISED}
    elif name == UNTRAINED:
        own = {}
    common: Tree = {
        "data": {"source": str(data_folder("cifar10")), "image_size": 32, "stored_size": 32},
        "encoder": {"backbone": backbone_of(arm), "weights": "none"},
        "training": {
            "steps": 0 if name == UNTRAINED else steps,
            "batch_size": batch_size,
            "optimizer": "adamw",
            "lr": 2e-3,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "warmup_steps": 20,
            "clip_norm": 3,
            "evaluate_every": 0,
            "checkpoint_every": 0,
        },
    }
    return build_as(PretrainRecipe, [common, own])


def encoded_images(task: Pretrain, batch_size: int) -> float:
    """Return how many images of full size a step puts through the encoder that is trained."""
    rows = np.arange(batch_size)
    labels = torch.from_numpy(task.pool.usable[rows])
    batch = Batch(task.pool.images.batch(rows), torch.from_numpy(rows), labels, "images")
    pixels = 0.0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal pixels
        pixels += inputs[0].shape[0] * inputs[0].shape[2] * inputs[0].shape[3]

    # Some objectives enter the backbone at other places than its `forward`, but none passes its first convolution by.
    backbone = cast(TimmEncoder, task.encoder).backbone
    entry = next(module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d))
    handle = entry.register_forward_pre_hook(count)
    streams = dict.fromkeys(task.streams(), batch)
    clock = Clock(0, 100, 0, batch_size, len(task.pool.images))
    task.prepare(clock)
    pixels = 0.0
    task(streams, "all", clock)
    handle.remove()
    return pixels / 32**2


def run(arm: str, seed: int, budget: int, folder: Path) -> dict[str, Any]:
    """Train one arm with one seed and measure its features; a result that is there already is returned as it is."""
    path = folder / f"{arm.replace(':', '-')}-{seed}.json"
    if path.is_file():
        return dict(json.loads(path.read_text()))
    known = [row for row in published(budget) if (row["arm"], row["seed"]) == (arm, seed)]
    if known:
        return known[0]
    torch.set_num_threads(1)
    loaded, inputs, recipe, each = plan(arm, seed, budget)
    trains, batch_size = not arm.startswith(UNTRAINED), recipe.training.batch_size
    task = build_pretrain(recipe, loaded, inputs, seed)
    looking = _time_evaluation(task)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        options = loop_options(recipe, seed, CPU)
        train(task, options, Path(out), Identity(recipe.hash(), loaded.fingerprint, seed), CPU.device)
        seconds = time.process_time() - started - looking[0]
        history = Path(out) / "history.csv"
        last = _last_losses(history) if history.exists() else {}
    assert task.last_metrics is not None
    neighbors, linear = accuracies(task, loaded, inputs)
    result = {
        "arm": arm,
        "backbone": backbone_of(arm),
        "seed": seed,
        "steps": recipe.training.steps,
        "batch_size": batch_size,
        "encoded_images_per_image": round(each, 3),
        "knn_accuracy": neighbors,
        "linear_accuracy": linear,
        "seconds_per_1000": round(1000 * seconds / (recipe.training.steps * batch_size * each), 3) if trains else None,
        "effective_rank": task.last_metrics["effective_rank"],
        "feature_std": task.last_metrics["feature_std"],
        "warnings": task.warnings,
        "last_losses": last,
    }
    write_json(path, result)
    return result


def plan(arm: str, seed: int, budget: int) -> tuple[PoolLoaded, Inputs, PretrainRecipe, float]:
    """Return the images, the recipe that encodes `budget` of them, and how many encoded ones an image is."""
    first = recipe_of(arm, 32, 1)
    loaded = load_pool(find_pool(first.data), first.data, progress=False)
    inputs = prepare_pool(first, loaded, CPU)
    trains = not arm.startswith(UNTRAINED)
    each = encoded_images(build_pretrain(first, loaded, inputs, seed), 32) / 32 if trains else 1.0
    batch_size = max(16, round(PER_STEP / each / 8) * 8)
    return loaded, inputs, recipe_of(arm, batch_size, max(1, round(budget / (each * batch_size)))), each


def accuracies(task: Pretrain, loaded: PoolLoaded, inputs: Inputs) -> tuple[float | None, float | None]:
    """Return the kNN and the linear accuracy of a task's features on the test images."""
    assert loaded.test is not None
    assert inputs.test is not None
    features, test = task.encode(inputs.train), task.encode(inputs.test)
    labels, truth = loaded.train.table.labels, loaded.test.table.labels
    classes = len(loaded.class_names)
    neighbors = accuracy_interval(knn(test, features, labels, classes).predictions, truth)
    linear = accuracy_interval(fit_linear(features, labels, classes, seed=0).predict(test), truth)
    return neighbors.estimate, linear.estimate


def _time_evaluation(task: Pretrain) -> list[float]:
    """Return a list of one number that will hold the seconds spent on evaluation, which is no part of the training."""
    spent, evaluate = [0.0], task.evaluate

    def timed() -> dict[str, float | None]:
        started = time.process_time()
        metrics = evaluate()
        spent[0] += time.process_time() - started
        return metrics

    task.evaluate = timed  # type: ignore[method-assign]
    return spent


def _last_losses(history: Path) -> dict[str, float]:
    """Return the mean of each loss term over the last tenth of the run."""
    import pandas as pd

    table = pd.read_csv(history)
    tail = table.tail(max(1, len(table) // 10))
    return {name: round(float(tail[name].mean()), 4) for name in table.columns if name in OBJECTIVES}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over seeds of every arm, and what it gains over the untrained weights, paired by seed."""
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = {row["seed"]: row for row in rows if row["arm"] == arm}
        start = UNTRAINED if backbone_of(arm) == "smallconv" else f"{UNTRAINED} (smallvit)"
        before = {row["seed"]: row for row in rows if row["arm"] == start}
        shared = sorted(own.keys() & before.keys())
        entry: dict[str, Any] = {"backbone": backbone_of(arm), "seeds": sorted(own)}
        for name in ("knn_accuracy", "linear_accuracy", "seconds_per_1000", "effective_rank"):
            entry[name] = asdict(summarize([row[name] for row in own.values()]))
        entry["collapsed"] = [w for row in own.values() for w in row["warnings"] if "collapse" in w]
        for name in ("knn_accuracy", "linear_accuracy"):
            ours, theirs = ([rows_of[seed][name] for seed in shared] for rows_of in (own, before))
            entry[f"{name}_gain"] = asdict(paired_difference(ours, theirs)) if shared else None
        found[arm] = entry
    return found


def main() -> None:
    """Run all arms and seeds, two at a time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--budget", type=int, default=BUDGET, help="images through the encoder, of each run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[], help="these arms alone")
    flags = parser.parse_args()
    folder = Path("runs") / f"ssl_cifar-{flags.budget}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(arm, seed) for seed in flags.seeds for arm in (flags.only or arms())]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(flags.workers, mp_context=context) as pool:
        futures = [pool.submit(run, arm, seed, flags.budget, folder) for arm, seed in wanted]
        for (arm, seed), future in zip(wanted, futures, strict=True):
            if future.exception() is not None:
                print(f"{arm}, seed {seed} failed: {future.exception()}", flush=True)
                continue
            row = future.result()
            print(
                f"{arm}, seed {seed}: kNN {row['knn_accuracy']:.3f}, linear {row['linear_accuracy']:.3f}, "
                f"{row['seconds_per_1000']} s per 1,000",
                flush=True,
            )
            done = [each.result() for each in futures if each.done() and each.exception() is None]
            write(done, flags.budget)


def published(budget: int) -> list[dict[str, Any]]:
    """Return the runs that the budget's JSON holds, if they were made with this budget and this recipe."""
    path = RESULTS / f"{name_of(budget)}.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    same = content.get("budget") == budget and holds(_shared(), content.get("recipe"))
    return list(content["runs"]) if same else []


def write(rows: Iterable[dict[str, Any]], budget: int) -> None:
    """Write the budget's JSON."""
    every = list(rows)
    content = {
        "budget": budget,
        "threads_of_each_run": 1,
        "recipe": _shared(),
        "summary": summary(every),
        "runs": every,
    }
    write_result(name_of(budget), content)


def name_of(budget: int) -> str:
    """Return what the results of a budget are called."""
    return "ssl_cifar" if budget == BUDGET else f"ssl_cifar_{budget}"


def _shared() -> dict[str, Any]:
    content = recipe_of(UNTRAINED, 32, 1).model_dump(mode="json")
    for key in ("source", "root"):
        content["data"].pop(key)
    for key in ("steps", "batch_size"):
        content["training"].pop(key)
    return content


if __name__ == "__main__":
    main()
