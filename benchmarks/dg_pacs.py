"""Leave-one-domain-out on PACS: whether the puzzle helps a domain that was never seen.

python -m benchmarks.dg_pacs            (about four hours on two CPU cores; goes on where it stopped)
python -m benchmarks.dg_pacs --small    (a small network from random weights, about an hour)

DeepAll and JiGen on all four held-out domains, on sketch and cartoon also rotation (one turn of each image, as often
and with as much weight as a puzzle, so that it costs as much) and JiGen's placebo (the same puzzles with random
answers), three seeds each. All arms of a seed share initial weights, batches and views. The budget
is short; the last step counts, nothing is selected, and the held-out domain is looked at once, after it. The learning
rates: JiGen's schedule at ten times its rate for the pretrained network, which has a ninth of its steps; for the small
network that of `configs/dg/builtin.yaml`. Neither was tuned.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import CPU, data_folder, mean, write_result
from benchmarks.jobs import FAST, Row, kept, paired_gains, published_row, side_by_side, with_published
from uda.experiments.dg.assemble import build_task, prepare_inputs, source_domains
from uda.experiments.dg.domains import find_domains, load_domains
from uda.experiments.experiment import loop_options
from uda.layers import published_layers, replaced_objectives
from uda.recipe import DgRecipe, Tree, build_as
from uda.training.checkpoint import Identity
from uda.training.loop import train

DEEPALL, JIGEN = "deepall", "jigsaw"
ARMS = (DEEPALL, JIGEN, "rotation", f"placebo:{JIGEN}")
DOMAINS = ("sketch", "cartoon", "art_painting", "photo")
EVERY_ARM = DOMAINS[:2]
FIGURES = ("accuracy", "per_class_accuracy", "source_accuracy", "ece")
PRETRAINED: Tree = {
    "data": {"image_size": 128},
    "encoder": {"backbone": "tf_efficientnet_lite0"},
    "training": {"steps": 180, "batch_size": 64, "lr": 0.01},
}
SMALL: Tree = {
    "data": {"image_size": 33},
    "encoder": {"backbone": "smallconv", "weights": "none"},
    "training": {"steps": 1000, "batch_size": 64, "optimizer": "adamw", "lr": 0.003} | FAST,
}


def recipe_of(arm: str, domain: str, small: bool) -> DgRecipe:
    """Return the recipe of an arm with a domain held out."""
    puzzle: Tree = {"form": "assembled", "weight": 0.7, "gray": 0}
    own: Tree = {"method": DEEPALL}
    if arm != DEEPALL:
        own["objectives"] = {arm: puzzle if arm.endswith(JIGEN) else {"form": "one", "weight": 0.7}}
    ends: Tree = {"data": {"source": str(data_folder("pacs128")), "target": domain}}
    quiet: Tree = {"training": {"evaluate_every": 0, "checkpoint_every": 0}}
    published = replaced_objectives(published_layers("dg", "pacs", frozen=False), [own])
    return build_as(DgRecipe, [*published, ends, SMALL if small else PRETRAINED, quiet, own])


def run(arm: str, domain: str, seed: int, small: bool, folder: Path) -> Row:
    """Run one arm with one seed; a result that is there already is returned as it is."""
    which = {"arm": arm, "domain": domain, "seed": seed}

    def made() -> Row:
        recipe = recipe_of(arm, domain, small)
        domains = load_domains(find_domains(recipe.data), recipe.data, progress=False)
        task = build_task(recipe, source_domains(recipe, domains, prepare_inputs(recipe, domains, CPU)), seed)
        with TemporaryDirectory() as out:
            train(task, loop_options(recipe, seed, CPU), Path(out), Identity(recipe.hash(), "study", seed), CPU.device)
        return which | {name: task.last_metrics[name] for name in FIGURES}

    known = published_row(result_name(small), shared(small), which)
    return kept(folder / f"{arm.replace(':', '-')}-{domain}-{seed}.json", known, made)


def result_name(small: bool) -> str:
    """Return what the results are called."""
    return "dg_pacs_small" if small else "dg_pacs"


def shared(small: bool) -> dict[str, Any]:
    """Return the recipe without what differs between the runs: the domains and the objectives."""
    content = recipe_of(DEEPALL, DOMAINS[0], small).model_dump(mode="json")
    for key in ("source", "target", "root"):
        content["data"].pop(key)
    for key in ("method", "objectives", "preflight"):
        content.pop(key)
    return content


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return every arm's means by held-out domain, and what it gains over DeepAll, paired by seed."""
    found: dict[str, Any] = {}
    for domain in DOMAINS:
        base = {row["seed"]: row for row in rows if (row["domain"], row["arm"]) == (domain, DEEPALL)}
        for arm in ARMS:
            own = {row["seed"]: row for row in rows if (row["domain"], row["arm"]) == (domain, arm)}
            if not own:
                continue
            entry: dict[str, Any] = {"seeds": sorted(own)}
            entry |= {name: mean([row[name] for row in own.values()]) for name in FIGURES}
            gains = paired_gains(own, base, ["accuracy"])
            if arm != DEEPALL and gains:
                entry["gain"] = gains["accuracy"]
            found.setdefault(domain, {})[arm] = entry
    return found


def main() -> None:
    """Run all arms, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the small network from random weights")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    folder = Path("runs") / result_name(flags.small)
    wanted = [
        (arm, domain, seed, flags.small, folder)
        for seed in flags.seeds
        for domain in DOMAINS
        for arm in ARMS
        if domain in EVERY_ARM or arm in (DEEPALL, JIGEN)
    ]
    rows: list[Row] = []
    for row in side_by_side(run, wanted, flags.workers):
        rows.append(row)
        print(f"{row['arm']}, {row['domain']}, seed {row['seed']}: {row['accuracy']:.3f} ({len(rows)})", flush=True)
        known = with_published(rows, result_name(flags.small), shared(flags.small), ("arm", "domain", "seed"))
        ordered = sorted(known, key=lambda r: (DOMAINS.index(r["domain"]), ARMS.index(r["arm"]), r["seed"]))
        content = {"threads_of_each_run": 1, "recipe": shared(flags.small), "summary": summary(ordered)}
        write_result(result_name(flags.small), content | {"runs": ordered})


if __name__ == "__main__":
    main()
