"""The built-in data: the demo's recipe against source-only, and what each part of it is worth.

python -m benchmarks.demo    (about half an hour on two CPU cores; writes results/demo.json as it goes)

The seeds are 10 to 14; the recipe was chosen on other seeds (100 and above; an earlier one was tested on 0 to 4). All
arms share the steps, the views, the rejection rule, the initial weights and the batches. `source_only` looks at the
target only to test; `dance` is the demo's recipe without the answers of neighbors.
"""

import argparse
from dataclasses import asdict
from typing import Any

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
    "dance": {"method": {"name": "dance", "start": 0.5}},
}
SHOWN = ("h_score", "known_accuracy", "unknown_accuracy", "closed_accuracy", "auroc")


def main() -> None:
    """Run all arms seed by seed, and print the means and the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11, 12, 13, 14])
    flags = parser.parse_args()
    recipes = {
        arm: build_as(UnidaRecipe, [*published_layers("unida", "builtin", frozen=False), layer])
        for arm, layer in ARMS.items()
    }
    rule = recipes[DEMO].rejection
    domains = load_domains(recipes[DEMO].data, progress=False)
    inputs = prepare_inputs(recipes[DEMO], domains, CPU.device, progress=False)
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in flags.seeds:
        for arm, recipe in recipes.items():
            runs[arm].append(run_seed(recipe, domains, inputs, seed))
            print(f"seed {seed}, {arm}: H {runs[arm][-1]['by_rejection'][rule]['h_score']}", flush=True)
        content = {
            "images_sha256": IMAGES_SHA256,
            "recipe": recipes[DEMO].model_dump(mode="json"),
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
