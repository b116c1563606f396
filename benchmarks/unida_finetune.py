"""Full fine-tuning on real images: source-only against DANCE at a size that two CPU cores can finish.

python -m benchmarks.unida_finetune [--out DIR]    (about 25 minutes; writes results/unida_finetune.json as it goes)

The output folders in DIR hold the reports with their curves; the JSON holds the curves as numbers.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.common import CPU, data_folder, shared, write_result
from uda.experiments.experiment import run
from uda.experiments.unida.experiment import UnidaExperiment
from uda.recipe import UnidaRecipe, build_as, published_layers

PAIRS = (("dslr", "amazon"), ("amazon", "webcam"))
CURVES = ("h_score", "auroc", "known_accuracy", "unknown_accuracy")


def main() -> None:
    """Run both arms on both pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--pairs", nargs="+", default=["-".join(pair) for pair in PAIRS])
    parser.add_argument("--result", default="unida_finetune", help="name of the JSON in results/")
    flags = parser.parse_args()
    root = data_folder("office_caltech10")
    results: list[dict[str, Any]] = []
    recipe = None
    for source, target in (pair.split("-") for pair in flags.pairs):
        arms = {}
        for method in ("source_only", "dance"):
            recipe = build_as(
                UnidaRecipe,
                [
                    *published_layers("unida", "office_caltech10", frozen=False),
                    {"data": {"source": str(root / source), "target": str(root / target), "split": "4/3/3"}},
                    {"data": {"image_size": 128}, "encoder": {"backbone": "tf_efficientnet_lite0"}},
                    {"method": {"name": method}, "rejection": "fixed", "seeds": flags.seeds},
                    {"training": {"steps": flags.steps, "evaluate_every": 100, "checkpoint_every": 100}},
                ],
            )
            out = flags.out / f"{source}-{target}-{method}"
            content = run(UnidaExperiment(), recipe, out, CPU)
            arms[method] = {
                "per_seed": content["per_seed"],
                "by_rejection": content["by_rejection"],
                "curves": curves(out),
            }
            gathered = {"source": source, "target": target, "arms": arms}
            results = [*[r for r in results if (r["source"], r["target"]) != (source, target)], gathered]
            write_result(flags.result, {"recipe": shared(recipe), "pairs": results})
            print(source, target, method, content["metrics"], flush=True)


def curves(out: Path) -> list[dict[str, Any]]:
    """Return the evaluations in a run's history: step, and the metrics that the curves show."""
    history = pd.read_csv(out / "history.csv")
    evaluated = history[history["h_score"].notna()]
    columns = [name for name in ("seed", "step", *CURVES) if name in history]
    rows = evaluated[columns].to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


if __name__ == "__main__":
    main()
