"""In-domain pre-training on histology: whether it beats other initial weights on LC25000's lung images.

python -m benchmarks.medical_lung          (80 CPU-minutes; goes on where it stopped)
python -m benchmarks.medical_lung --originals    (how many originals there are alone; a minute)
python -m benchmarks.medical_lung --one    (tiles of one immunohistochemistry image; a few minutes)

Nine hundred images of three classes, made from 567 originals by turning, mirroring and shifting: copies of one original
are found first, and stay on one side of every split. From random and from ImageNet weights, `tf_efficientnet_lite0` at
96 pixels learns by each objective from the images that are not tested on; a classifier on its frozen features is then
tested on whole groups, with all labels, a tenth and a hundredth of them, beside the starting weights and a placebo.
`leak` is the same probe of the starting weights on a split that divides the copies. The last step counts; nothing was
tuned on the test images.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import CPU, data_folder, write_result
from benchmarks.jobs import Row, kept, published_row, side_by_side, with_published
from uda.experiments.experiment import run as run_experiment
from uda.experiments.in_domain import IMAGENET, RANDOM, Start, pretraining, probing, study_content
from uda.experiments.pretrain.experiment import PretrainExperiment
from uda.experiments.probe.experiment import ProbeExperiment
from uda.layers import Tree
from uda.recipe import PretrainRecipe, ProbeRecipe, build_as

NAME, ONE = "medical_lung", "medical_one_image"
OBJECTIVES = ("moco", "barlow_twins", "dino", "rotation", "placebo:moco")
LEAK = "leak"
STEPS = 160
QUIET = replace(CPU, say=lambda text: None)
SMALL_HEADS: Tree = {  # heads of the papers' sizes would be most of the time
    "moco": {"queue": 2048},
    "placebo:moco": {"queue": 2048},
    "barlow_twins": {"width": 512},
    "dino": {"prototypes": 1024, "hidden": 512, "local_crops": 2},
    "rotation": {"form": "one", "upright": 0.0},
}


def study_recipe(objectives: Sequence[str], steps: int, data: Tree) -> PretrainRecipe:
    """Return the recipe of the study."""
    layer: Tree = {
        "study": "in-domain",
        "objectives": {name: SMALL_HEADS.get(name, {}) for name in objectives},
        "data": {"image_size": 96, "stored_size": 96, "groups": "auto", **data},
        "views": {"name": "histology"},
        "encoder": {"backbone": "tf_efficientnet_lite0"},
        "training": {
            "steps": steps,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 3e-4,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup_steps": 10,
            "clip_norm": 3,
            "evaluate_every": 0,
            "checkpoint_every": 50,
        },
    }
    return build_as(PretrainRecipe, [layer])


def lung() -> Tree:
    """Return the images of the study."""
    return {"source": str(data_folder("lung_histology"))}


def starts(objectives: Sequence[str]) -> list[Start]:
    """Return the starts, those without pre-training first."""
    return [Start(initial, objective) for objective in (None, *objectives) for initial in (RANDOM, IMAGENET)]


def run(initial: str, objective: str | None, seed: int, steps: int, folder: Path) -> Row:
    """Pre-train and probe one start with one seed; what is there already is kept, what was cut goes on."""
    start = Start(initial, None if objective == LEAK else objective)
    which: Row = {"initial": initial, "objective": objective, "seed": seed}
    recipe = study_recipe([start.objective] if start.objective else [], steps, lung())

    def made() -> Row:
        weights = None
        if start.objective is not None:
            trained = folder / f"{start.folder}-{seed}"
            settings = replace(QUIET, resume=(trained / "recipe.yaml").is_file())
            own = pretraining(recipe, start, seed)
            if not (trained / "metrics.json").is_file():
                run_experiment(PretrainExperiment(), own, trained, settings)
            weights = str(trained)
        asked = probing(recipe, start, seed, weights)
        if objective == LEAK:
            divided = asked.model_dump(mode="json")
            divided["data"]["groups"] = "none"
            asked = build_as(ProbeRecipe, [divided])
        with TemporaryDirectory() as out:
            return which | {"content": run_experiment(ProbeExperiment(), asked, Path(out), QUIET)}

    named = f"{initial}-{objective or 'plain'}-{seed}.json".replace(":", "-")
    return kept(folder / named, published_row(NAME, shared(steps), which), made)


def shared(steps: int) -> dict[str, Any]:
    """Return the recipe without what differs between the starts, and without places."""
    content = study_recipe((), steps, lung()).model_dump(mode="json")
    for key in ("source", "root"):
        content["data"].pop(key)
    for key in ("objectives", "seeds"):
        content.pop(key)
    return content | {"heads": SMALL_HEADS}


def summary(rows: Sequence[Row], objectives: Sequence[str], steps: int) -> dict[str, Any]:
    """Return the table of the study over the seeds that all starts have, and the leak beside it."""
    seeds = sorted({row["seed"] for row in rows})
    found = {
        start: [
            row["content"]
            for seed in seeds
            for row in rows
            if (row["initial"], row["objective"], row["seed"]) == (start.initial, start.objective, seed)
        ]
        for start in starts(objectives)
    }
    recipe = study_recipe(objectives, steps, lung()).model_copy(update={"seeds": seeds})
    whole = {start: contents for start, contents in found.items() if len(contents) == len(seeds)}
    if not whole:
        return {}
    content = study_content(recipe, whole, None)
    kept_parts = ("seeds", "starts", "differences", "groups", "images", "ci95_kind")
    leaks = [row for row in rows if row["objective"] == LEAK]
    return {key: content[key] for key in kept_parts} | {
        LEAK: [{"initial": r["initial"], "seed": r["seed"], "metrics": r["content"]["metrics"]} for r in leaks]
    }


def one_image(steps: int, folder: Path) -> dict[str, Any]:
    """Pre-train on tiles of scikit-image's immunohistochemistry image alone; probe the features on the lung images.

    The extreme case of pre-training from few images (Asano, Rupprecht and Vedaldi, ICLR 2020).
    """
    from PIL import Image
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "immunohistochemistry.png"
    if not file.is_file():
        Image.fromarray(data.immunohistochemistry()).save(file)
    rows = {}
    for initial in (RANDOM, IMAGENET):
        start = Start(initial, "moco")
        tiles: Tree = {"source": str(file), "tiles": 96, "tile_step": 16, "background": 0.8}
        trained = folder / f"one-{start.folder}"
        own = pretraining(study_recipe(["moco"], steps, tiles), start, 0)
        if not (trained / "metrics.json").is_file():
            settings = replace(QUIET, resume=(trained / "recipe.yaml").is_file())
            run_experiment(PretrainExperiment(), own, trained, settings)
        asked = probing(study_recipe([], steps, lung()), start, 0, str(trained))
        with TemporaryDirectory() as out:
            content = run_experiment(ProbeExperiment(), asked, Path(out), QUIET)
        rows[start.name] = {key: content[key] for key in ("metrics", "ci95", "ci95_kind")}
    return {"steps": steps, "starts": rows}


def main() -> None:
    """Run all starts, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--one", action="store_true", help="the one-image case alone")
    parser.add_argument("--originals", action="store_true", help="count the originals among the images, and no more")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--result", default=NAME, help="what the results are called")
    flags = parser.parse_args()
    folder = Path("runs") / f"{flags.result}-{flags.steps}"
    if flags.one:
        write_result(ONE if flags.result == NAME else flags.result, one_image(flags.steps, folder))
        return
    # Look for the copies once, before two processes would.
    experiment = ProbeExperiment()
    first = probing(study_recipe((), flags.steps, lung()), Start(RANDOM), 0, None)
    loaded = experiment.load(experiment.find(first, QUIET), first, QUIET)
    print("\n".join(loaded.lines), flush=True)
    if flags.originals:
        assert loaded.groups is not None  # `groups=auto` looks for copies
        write_result("lung_originals", {"groups": dict(loaded.groups.content)})
        return
    wanted = [(start.initial, start.objective) for start in starts(flags.objectives)]
    wanted += [(RANDOM, LEAK), (IMAGENET, LEAK)]
    jobs = [(*each, seed, flags.steps, folder) for seed in flags.seeds for each in wanted]
    rows: list[Row] = []
    for row in side_by_side(run, jobs, flags.workers):
        rows.append(row)
        figures = row["content"]["metrics"]
        names = ("linear_auroc", "linear_auroc_10", "linear_auroc_1")
        said = ", ".join(f"{name} {figures[name]:.3f}" for name in names)
        start = f"{row['objective'] or 'nothing'} from {row['initial']}"
        print(f"{start}, seed {row['seed']}: {said} ({len(rows)} of {len(jobs)})", flush=True)
        known = with_published(rows, flags.result, shared(flags.steps), ("initial", "objective", "seed"))
        ordered = sorted(known, key=lambda r: (str(r["objective"]), r["initial"], r["seed"]))
        table = summary(ordered, list(dict.fromkeys([*OBJECTIVES, *flags.objectives])), flags.steps)
        content = {"threads_of_each_run": 1, "recipe": shared(flags.steps), "summary": table, "runs": ordered}
        write_result(flags.result, content)


if __name__ == "__main__":
    main()
