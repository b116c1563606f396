"""A tissue class that only the target center has: whether universal domain adaptation rejects it, and nothing else.

python -m benchmarks.medical_tissue    (ten minutes on two CPU cores; writes results/medical_tissue.json)

LC25000's lung images are divided by original into two centers. The target's images are stained otherwise (haematoxylin
times 0.7, eosin times 1.3, a fixed change by color deconvolution) or as they come. The source lacks one of the three
classes, each in turn, or none. `tf_efficientnet_lite0` with ImageNet weights stays frozen, as in the README's example;
three seeds draw which originals lie in which center, and the run's own randomness. The last step counts; nothing was
tuned on these images, and the classes of the target are read by the figures alone.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.common import CPU, data_folder, mean, shared, write_result
from benchmarks.jobs import Row, kept, paired_gains, published_row, side_by_side, with_published
from uda.datasets.groups import GROUP_FILE
from uda.datasets.originals import SIDE, originals
from uda.datasets.resolve import resolve
from uda.experiments.experiment import run as run_experiment
from uda.experiments.parts import load_domain
from uda.experiments.unida.experiment import UnidaExperiment
from uda.recipe import Tree, UnidaRecipe, build_as, published_layers
from uda.sections import PoolRecipe
from uda.ssl.stain import densities, from_densities

NAME = "medical_tissue"
SOURCE_ONLY = "source_only"
# With two source classes no entropy is further than .35 from log(K)/2: at the published margin of .5 entropy separation
# never acts. A third of that is what .5 is among Office-31's twenty source classes.
ARMS: dict[str, Tree] = {
    SOURCE_ONLY: {"name": SOURCE_ONLY},
    "dance": {"name": "dance"},
    "dance, margin .12": {"name": "dance", "margin": 0.12},
    "vote, margin .12": {"name": "vote", "margin": 0.12},
}
RULE = "otsu_or_none"
NOTHING, SAME, OTHER = "nothing", "same", "other"
STAINING = {SAME: (1.0, 1.0, 1.0), OTHER: (0.7, 1.3, 1.0)}
CLASSES = ("lung_aca", "lung_n", "lung_scc")
FIGURES = ("universal_score", "h_score", "known_accuracy", "unknown_accuracy", "closed_accuracy", "auroc")
SIZE = 112
QUIET = replace(CPU, say=lambda text: None)


class Case(NamedTuple):
    """What the target has and the source has not, and how the target is stained."""

    missing: str
    stain: str


CASES = tuple(Case(missing, stain) for stain in STAINING for missing in (NOTHING, *CLASSES))


def recipe_of(arm: str, source: str, target: str, steps: int, seed: int) -> UnidaRecipe:
    """Return the recipe of one arm between two folders."""
    layers = published_layers("unida", None, frozen=True)
    return build_as(
        UnidaRecipe,
        [
            *layers,
            {"data": {"source": source, "target": target, "image_size": SIZE, "stored_size": SIZE}},
            {"encoder": {"backbone": "tf_efficientnet_lite0", "freeze": True}, "preflight": False},
            {"method": ARMS[arm], "rejection": RULE, "training": {"steps": steps}, "seeds": [seed]},
        ],
    )


def lung() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return the images (N, 3, S, S) uint8, their classes (N,) and the original that each is a copy of (N,)."""
    settings = PoolRecipe(source=str(data_folder("lung_histology")), image_size=SIZE, stored_size=SIZE)
    domain = load_domain(resolve(settings.source, None, every_source=True).source, settings, progress=False)
    assert domain.table.classes == CLASSES
    rows = np.arange(len(domain.table))
    return domain.images.square(rows, SIZE), domain.table.labels, originals(domain.images.square(rows, SIDE))


def make_centers(folder: Path, seeds: Sequence[int]) -> None:
    """Write source and target of each seed: whole originals on one side, the target stained in both ways."""
    images, labels, of = lung()
    for seed in seeds:
        numbers = np.random.default_rng(seed).permutation(int(of.max()) + 1)
        in_source = np.isin(of, numbers[: len(numbers) // 2])
        write_center(folder / f"source-{seed}", images[in_source], labels[in_source], of[in_source])
        for stain, factors in STAINING.items():
            shown = restained(images[~in_source], factors)
            write_center(folder / f"{stain}-{seed}", shown, labels[~in_source], of[~in_source])


def restained(images: torch.Tensor, factors: tuple[float, float, float]) -> torch.Tensor:
    """Return images (N, 3, S, S) uint8 with each stain's density times a factor."""
    if set(factors) == {1.0}:
        return images
    of = torch.tensor(factors)[None, :, None, None]
    return torch.cat([(from_densities(densities(part / 255) * of) * 255).round().byte() for part in images.split(64)])


def write_center(folder: Path, images: torch.Tensor, labels: np.ndarray, of: np.ndarray) -> None:
    """Write class folders of PNG files, and which original each is of."""
    lines = ["path,patient"]
    for row, (label, original) in enumerate(zip(labels, of, strict=True)):
        name = f"{CLASSES[label]}/{row:03d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row].permute(1, 2, 0).numpy()).save(folder / name)
        lines.append(f"{name},{original}")
    (folder / GROUP_FILE).write_text("\n".join(lines) + "\n")


def without(folder: Path, missing: str) -> Path:
    """Return a folder of links to a center's classes but the one that is missing."""
    if missing == NOTHING:
        return folder
    some = folder.with_name(f"{folder.name}-without-{missing}")
    some.mkdir(exist_ok=True)
    for name in CLASSES:
        if name != missing and not (some / name).is_dir():
            (some / name).symlink_to((folder / name).resolve(), target_is_directory=True)
    lines = (folder / GROUP_FILE).read_text().splitlines(keepends=True)
    (some / GROUP_FILE).write_text("".join(line for line in lines if not line.startswith(f"{missing}/")))
    return some


def run(case: Case, arm: str, seed: int, steps: int, folder: Path) -> Row:
    """Run one arm on one case with one seed; a result that is there already is returned as it is."""
    which: Row = {**case._asdict(), "arm": arm, "seed": seed}

    def made() -> Row:
        centers = folder / "centers"
        source, target = without(centers / f"source-{seed}", case.missing), centers / f"{case.stain}-{seed}"
        recipe = recipe_of(arm, str(source), str(target), steps, seed)
        with TemporaryDirectory() as out:
            content = run_experiment(UnidaExperiment(), recipe, Path(out), QUIET)
        kept_parts = ("metrics", "ci95", "ci95_kind", "by_rejection", "unknown_share", "images", "groups")
        return which | {key: content[key] for key in kept_parts}

    known = published_row(NAME, settings(steps), which)
    return kept(folder / f"{case.missing}-{case.stain}-{arm}-{seed}.json".replace(" ", "_"), known, made)


def settings(steps: int) -> dict[str, Any]:
    """Return the recipe without what differs between the runs, and without places."""
    content = shared(recipe_of(SOURCE_ONLY, "", "", steps, 0))
    content.pop("seeds")
    return content


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return for each case and arm the means over seeds, and the difference to source-only paired by seed."""
    found = []
    for case in CASES:
        by_arm = {
            arm: {
                row["seed"]: row["metrics"]
                for row in rows
                if (Case(row["missing"], row["stain"]), row["arm"]) == (case, arm)
            }
            for arm in ARMS
        }
        for arm, own in by_arm.items():
            if own:
                entry: dict[str, Any] = {**case._asdict(), "arm": arm, "seeds": sorted(own)}
                entry |= {name: mean([metrics[name] for metrics in own.values()]) for name in FIGURES}
                gains = paired_gains(own, by_arm[SOURCE_ONLY], FIGURES) if arm != SOURCE_ONLY else {}
                found.append(entry | {"minus_source_only": gains or None})
    return found


def main() -> None:
    """Make the centers, run all arms on all cases, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    folder = Path("runs") / f"{NAME}-{flags.steps}"
    make_centers(folder / "centers", flags.seeds)
    jobs = [(case, arm, seed, flags.steps, folder) for seed in flags.seeds for case in CASES for arm in ARMS]
    rows: list[Row] = []
    for row in side_by_side(run, jobs, flags.workers):
        rows.append(row)
        said = ", ".join(f"{name} {row['metrics'][name]}" for name in ("universal_score", "unknown_accuracy", "auroc"))
        print(f"{[row[key] for key in ('missing', 'stain', 'arm', 'seed')]}: {said} ({len(rows)})", flush=True)
        known = with_published(rows, NAME, settings(flags.steps), (*Case._fields, "arm", "seed"))
        ordered = sorted(known, key=lambda r: (r["stain"], r["missing"], list(ARMS).index(r["arm"]), r["seed"]))
        content = {"threads_of_each_run": 1, "staining": STAINING, "recipe": settings(flags.steps)}
        write_result(NAME, content | {"summary": summary(ordered), "runs": ordered})


if __name__ == "__main__":
    main()
