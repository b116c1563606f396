"""Frozen features on all 12 ordered pairs of Office-Caltech10: source-only and DANCE, head only and with adapter.

python -m benchmarks.unida_frozen    (about 20 minutes on two CPU cores; writes results/unida_frozen.json as it goes)
"""

import argparse
import itertools
import statistics
from collections import defaultdict
from typing import Any

from benchmarks.common import CPU, data_folder, mean, run_seed, shared, write_result
from uda.experiments.unida.assemble import prepare_inputs
from uda.experiments.unida.domains import load_domains
from uda.recipe import UnidaRecipe, build_as, published_layers

DOMAINS = ("amazon", "caltech10", "dslr", "webcam")
ARMS = tuple(itertools.product(("source_only", "dance"), (False, True)))
SHOWN = ("h_score", "per_class_accuracy", "auroc")


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    flags = parser.parse_args()
    root = data_folder("office_caltech10")
    rows: list[dict[str, Any]] = []
    for source, target in itertools.permutations(DOMAINS, 2):
        for method, adapter in ARMS:
            recipe = build_as(
                UnidaRecipe,
                [
                    *published_layers("unida", "office_caltech10", frozen=True),
                    {"data": {"source": str(root / source), "target": str(root / target), "split": "4/3/3"}},
                    {"encoder": {"backbone": "tf_efficientnet_lite0", "freeze": True, "adapter": adapter}},
                    {"method": {"name": method}, "training": {"steps": flags.steps}, "seeds": flags.seeds},
                ],
            )
            domains = load_domains(recipe.data, progress=False)
            inputs = prepare_inputs(recipe, domains, CPU.device, progress=False)
            runs = [run_seed(recipe, domains, inputs, seed) for seed in flags.seeds]
            rows += [{"source": source, "target": target, "adapter": adapter, **run} for run in runs]
            h_scores = [run["by_rejection"]["fixed"]["h_score"] for run in runs]
            print(f"{source} → {target}: {runs[0]['method']}: fixed-threshold H {h_scores}", flush=True)
        write_result("unida_frozen", {"recipe": shared(recipe), "runs": rows, "means": means(rows)})
    print(table(rows))


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds for each method and rejection rule, per pair and over pairs."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for rule, metrics in row["by_rejection"].items():
            groups[row["method"], rule][f"{row['source']} → {row['target']}"].append(metrics)
    found: dict[str, Any] = {}
    for (method, rule), pairs in groups.items():
        per_pair = {pair: {name: mean([m[name] for m in each]) for name in SHOWN} for pair, each in pairs.items()}
        spread = {
            pair: {name: statistics.stdev([m[name] for m in each]) if len(each) > 1 else None for name in SHOWN}
            for pair, each in pairs.items()
        }
        average = {name: mean([values[name] for values in per_pair.values()]) for name in SHOWN}
        found[f"{method} / {rule}"] = {"mean over pairs": average, "pairs": per_pair, "std over seeds": spread}
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return the means over seeds as a Markdown table: H-score / per-class accuracy / AUROC, in percent."""
    found = means(rows)
    pairs = list(next(iter(found.values()))["pairs"])
    lines = [f"| pair | {' | '.join(found)} |", f"|---{'|---' * len(found)}|"]
    for pair in [*pairs, "mean over pairs"]:
        cells = [found[arm]["pairs"][pair] if pair in pairs else found[arm][pair] for arm in found]
        lines.append(f"| {pair} | " + " | ".join(" / ".join(f"{100 * c[m]:.1f}" for m in SHOWN) for c in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
