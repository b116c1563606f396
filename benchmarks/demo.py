"""The built-in data: the demo's recipe against source-only, and what each part of it is worth.

python -m benchmarks.demo    (about a quarter of an hour on two CPU cores; writes results/demo.json as it goes)

The seeds are 20 to 24; the recipe was chosen on others (benchmarks/README.md, which also tells what was tested before).
All arms share the steps, the views, the rejection rule, the initial weights and the batches. `source_only` looks at the
target only to test.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.common import CPU, mean, run_seed, write_result
from uda.datasets.builtin import IMAGES_SHA256
from uda.experiments.unida.assemble import prepare_inputs
from uda.experiments.unida.domains import load_domains
from uda.metrics import paired_difference
from uda.recipe import UnidaRecipe, build_as, published_layers

DEMO = "the demo"
BASELINE = "source_only"
ARMS: dict[str, dict[str, Any]] = {
    DEMO: {},
    BASELINE: {"method": {"name": "source_only"}, "encoder": {"batch_statistics": "running"}},
    "source_only, target's batch statistics": {"method": {"name": "source_only"}},
}
SHOWN = ("h_score", "known_accuracy", "unknown_accuracy", "closed_accuracy", "auroc")


def recipes() -> dict[str, UnidaRecipe]:
    """Return the recipe of every arm."""
    published = published_layers("unida", "builtin", frozen=False)
    return {arm: build_as(UnidaRecipe, [*published, layer]) for arm, layer in ARMS.items()}


def run_arms(seed: int) -> dict[str, dict[str, Any]]:
    """Run every arm with one seed, on one thread."""
    torch.set_num_threads(1)
    demo = recipes()[DEMO]
    domains = load_domains(demo.data, progress=False)
    inputs = prepare_inputs(demo, domains, CPU.device, progress=False)
    return {arm: run_seed(recipe, domains, inputs, seed) for arm, recipe in recipes().items()}


def main() -> None:
    """Run all seeds, and print the means and the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    demo = recipes()[DEMO]
    rule = demo.rejection
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    with ProcessPoolExecutor(flags.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for seed, found in zip(flags.seeds, pool.map(run_arms, flags.seeds), strict=True):
            for arm, run in found.items():
                runs[arm].append(run)
                print(f"seed {seed}, {arm}: H {run['by_rejection'][rule]['h_score']}", flush=True)
            content = {
                "images_sha256": IMAGES_SHA256,
                "recipe": demo.model_dump(mode="json"),
                "rejection": rule,
                "runs": runs,
                "means": {arm: means(each, rule) for arm, each in runs.items()},
                f"h_score of {DEMO} minus": differences(runs, rule),
            }
            write_result("demo", content)
    for arm, each in runs.items():
        print(arm, means(each, rule))
    for arm, difference in differences(runs, rule).items():
        print(f"{DEMO} minus {arm}:", difference)


def means(runs: list[dict[str, Any]], rule: str) -> dict[str, float | None]:
    """Return the mean of the shown figures over seeds."""
    return {name: mean([run["by_rejection"][rule][name] for run in runs]) for name in SHOWN}


def differences(runs: dict[str, list[dict[str, Any]]], rule: str) -> dict[str, dict[str, Any]]:
    """Return the paired difference of the demo's H-score and every other arm's."""
    h_scores = {arm: [run["by_rejection"][rule]["h_score"] for run in each] for arm, each in runs.items()}
    return {arm: asdict(paired_difference(h_scores[DEMO], each)) for arm, each in h_scores.items() if arm != DEMO}


if __name__ == "__main__":
    main()
