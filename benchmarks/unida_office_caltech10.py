"""Every method of universal domain adaptation in all four settings, on frozen features, chosen on one part only.

python -m benchmarks.unida_office_caltech10    (about an hour and a half on two CPU cores; goes on where it stopped)

`tf_efficientnet_lite0` with ImageNet weights, features computed once, 300 steps of 64 images a domain. What was chosen
was chosen on `chosen on`: Office-Caltech10's amazon, dslr and webcam with the classes in alphabetical order. The parts
that are held out were run once, with nothing changed: the pairs with caltech10, all pairs under two other class orders
(permutations seeded with 1 and 2), PACS, and MNIST with USPS. Every method is measured under every rejection rule.
"""

import argparse
import itertools
import json
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import CPU, data_folder, mean, shared, train_and_answer, write_result
from uda.datasets.resolve import resolve
from uda.datasets.streams import FrozenFeatures
from uda.experiments.parts import frozen_features, load_domain, starting_encoder
from uda.experiments.unida.assemble import build_task
from uda.nn.encoder import TimmEncoder
from uda.probes.rejection import RULES
from uda.probes.unknown_share import unknown_share
from uda.recipe import Tree, UnidaRecipe, build_as, published_layers
from uda.tasks.unida import METHODS, UnidaData

SETTINGS = ("open-partial", "closed", "partial", "open")
FIGURES = ("universal_score", "h_score", "h3_score", "per_class_accuracy", "auroc", "oscr", "closed_accuracy")
CHOSEN_ON = "chosen on"
OFFICE = ("amazon", "caltech10", "dslr", "webcam")
PACS = ("art_painting", "cartoon", "photo", "sketch")


@dataclass(frozen=True)
class Collection:
    """A data set whose domains are paired: its image size, and shared/source-private/target-private class counts."""

    folder: str
    domains: tuple[str, ...]
    image_size: int
    n_classes: int
    splits: dict[str, tuple[int, int, int]]


COLLECTIONS = {
    "office_caltech10": Collection(
        "office_caltech10", OFFICE, 224, 10,
        {"open-partial": (4, 3, 3), "closed": (10, 0, 0), "partial": (5, 5, 0), "open": (5, 0, 5)},
    ),
    "pacs": Collection(
        "pacs128", PACS, 128, 7,
        {"open-partial": (3, 2, 2), "closed": (7, 0, 0), "partial": (4, 3, 0), "open": (4, 0, 3)},
    ),
    "digits": Collection(
        "digits", ("mnist", "usps"), 128, 10,
        {"open-partial": (4, 3, 3), "closed": (10, 0, 0), "partial": (5, 5, 0), "open": (5, 0, 5)},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One pair of domains in one setting under one order of the classes (0: alphabetical, else a seed)."""

    part: str
    collection: str
    order: int
    setting: str
    source: str
    target: str
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """What the cell's file of results is called."""
        return f"{self.collection}-{self.order}-{self.setting}-{self.source}-{self.target}"


def cells(seeds: Sequence[int]) -> Iterator[Cell]:
    """Yield all cells: what was chosen on, then what is held out."""

    def pairs(part: str, collection: str, order: int, domains: Iterable[tuple[str, str]], own: Sequence[int]) -> Any:
        for (source, target), setting in itertools.product(domains, SETTINGS):
            yield Cell(part, collection, order, setting, source, target, tuple(own))

    every = list(itertools.permutations(OFFICE, 2))
    yield from pairs(CHOSEN_ON, "office_caltech10", 0, [p for p in every if "caltech10" not in p], seeds)
    yield from pairs("pairs with caltech10", "office_caltech10", 0, [p for p in every if "caltech10" in p], seeds)
    for order in (1, 2):
        yield from pairs("other class orders", "office_caltech10", order, every, seeds[:1])
    yield from pairs("PACS", "pacs", 0, itertools.permutations(PACS, 2), seeds[:1])
    yield from pairs("digits", "digits", 0, itertools.permutations(("mnist", "usps"), 2), seeds)


def recipe_of(collection: Collection, method: str, source: str, target: str, steps: int) -> UnidaRecipe:
    """Return the recipe of one method on one pair; the label sets are cut from the whole domains' features.

    The discriminators of DANN and UAN are narrow, which costs a tenth; features cannot follow them here anyway.
    """
    width: Tree = {"method": {"width": 100}} if method in ("dann", "uan") else {}
    return build_as(
        UnidaRecipe,
        [
            *published_layers("unida", "office_caltech10", frozen=True),
            {"data": {"source": place(collection, source), "target": place(collection, target)}},
            {"data": {"image_size": collection.image_size, "stored_size": max(256, collection.image_size)}},
            {"encoder": {"backbone": "tf_efficientnet_lite0", "freeze": True}},
            {"method": {"name": method}, "training": {"steps": steps}},
            width,
        ],
    )


def place(collection: Collection, domain: str) -> str:
    """Return what a recipe calls a domain: a folder, or the test split of a digit set."""
    if collection.folder == "digits":
        return f"digits/{domain}/test"
    return str(data_folder(collection.folder) / domain)


@lru_cache(maxsize=1)
def backbone_of(collection: str) -> TimmEncoder:
    """Return the encoder that computes a collection's features."""
    own = COLLECTIONS[collection]
    return starting_encoder(recipe_of(own, "source_only", own.domains[0], own.domains[1], 1), 0)


@lru_cache(maxsize=4)
def domain_of(collection: str, domain: str) -> tuple[torch.Tensor, np.ndarray]:
    """Return a whole domain's features (passes, N, D) and labels (N,), classes in alphabetical order."""
    own = COLLECTIONS[collection]
    other = next(name for name in own.domains if name != domain)
    recipe = recipe_of(own, "source_only", domain, other, 1)
    root = data_folder("office_caltech10").parent
    found = resolve(recipe.data.source, recipe.data.target, root, False).source
    images = load_domain(found, recipe.data, progress=False)
    order = np.argsort(np.argsort(images.table.classes))
    features = frozen_features(recipe, backbone_of(collection), images, CPU.device, progress=False)
    return features.passes, order[images.table.labels]


def data_of(cell: Cell) -> UnidaData:
    """Return both sides of a cell with their label sets."""
    collection = COLLECTIONS[cell.collection]
    order = np.arange(collection.n_classes)
    if cell.order:
        order = np.random.default_rng(cell.order).permutation(collection.n_classes)
    shared, source_private, target_private = collection.splits[cell.setting]
    source_classes = order[: shared + source_private]
    private = order[shared + source_private : shared + source_private + target_private]
    number = np.full(collection.n_classes, -1)
    number[[*source_classes, *private]] = np.arange(len(source_classes) + len(private))
    sides = []
    for domain, classes in ((cell.source, source_classes), (cell.target, [*order[:shared], *private])):
        passes, labels = domain_of(cell.collection, domain)
        rows = np.flatnonzero(np.isin(labels, classes))
        sides.append((FrozenFeatures(passes[:, rows]), number[labels[rows]]))
    names = tuple(str(c) for c in source_classes)
    return UnidaData(*sides[0], *sides[1], names)


def run(cell: Cell, method: str, steps: int, folder: Path) -> list[dict[str, Any]]:
    """Run one method on one cell with all its seeds; a result that is there already is returned as it is."""
    path = folder / f"{cell.name}-{method}.json"
    if path.is_file():
        return list(json.loads(path.read_text()))
    torch.set_num_threads(1)
    data = data_of(cell)
    recipe = recipe_of(COLLECTIONS[cell.collection], method, cell.source, cell.target, steps)
    rows = []
    for seed in cell.seeds:
        task = build_task(recipe, data, backbone_of(cell.collection), seed)
        answer = train_and_answer(task, recipe, seed)
        share = unknown_share(answer.features, answer.predictions == data.n_classes, data.n_classes, seed)
        found = task.measure_by_rule(answer)
        rows.append(
            {
                "part": cell.part, "collection": cell.collection, "order": cell.order, "setting": cell.setting,
                "source": cell.source, "target": cell.target, "method": method, "seed": seed,
                "rule": recipe.rejection,
                "by_rejection": {rule: _rounded(found[rule]) for rule in RULES},
                "unknown_share": [round(x, 4) for x in (share.estimate, share.low, share.high)],
                "true_unknown_share": round(float((data.target_labels >= data.n_classes).mean()), 4),
            }
        )  # fmt: skip
    path.write_text(json.dumps(rows))
    return rows


def _rounded(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if (value := figures[name]) is None else round(value, 4) for name in FIGURES}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return, for each part and for all that is held out, the mean of every figure by method, rule and setting.

    Seeds of a cell are averaged first, so that every cell counts the same.
    """
    parts = {part: [row for row in rows if row["part"] == part] for part in dict.fromkeys(row["part"] for row in rows)}
    parts["held out"] = [row for row in rows if row["part"] != CHOSEN_ON]
    found: dict[str, Any] = {}
    for part, own in parts.items():
        for method, rule, setting in itertools.product(METHODS, RULES, SETTINGS):
            groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
            for row in own:
                if (row["method"], row["setting"]) == (method, setting):
                    key = (row["collection"], row["order"], row["source"], row["target"])
                    groups.setdefault(key, []).append(row["by_rejection"][rule])
            if groups:
                entry = found.setdefault(part, {}).setdefault(method, {}).setdefault(rule, {})
                entry[setting] = {
                    name: mean([mean([run[name] for run in cell]) for cell in groups.values()]) for name in FIGURES
                }
    for part in found.values():
        for method in part.values():
            for rule in method.values():
                rule["mean universal_score"] = mean([each["universal_score"] for each in rule.values()])
    return found


def coverage(rows: Sequence[dict[str, Any]], method: str) -> dict[str, Any]:
    """Return how far the estimated unknown share is from the true one, and how often its interval holds that."""
    found = {}
    for part, chosen in (("chosen on", True), ("held out", False)):
        own = [row for row in rows if row["method"] == method and (row["part"] == CHOSEN_ON) == chosen]
        if own:
            estimates, low, high = np.array([row["unknown_share"] for row in own]).T
            true = np.array([row["true_unknown_share"] for row in own])
            found[part] = {
                "mean_absolute_error": round(float(np.abs(estimates - true).mean()), 4),
                "coverage": round(float(((low <= true) & (true <= high)).mean()), 4),
                "mean_width": round(float((high - low).mean()), 4),
            }
    return found


def main() -> None:
    """Run all cells, two at a time, and write the results as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", nargs="+", help="these parts alone")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    flags = parser.parse_args()
    folder = Path("runs") / "unida_office_caltech10"
    folder.mkdir(parents=True, exist_ok=True)
    every = [cell for cell in cells(flags.seeds) if not flags.parts or cell.part in flags.parts]
    for collection, domain in dict.fromkeys((c.collection, d) for c in every for d in (c.source, c.target)):
        domain_of(collection, domain)  # features once, before the workers ask for them
        print(f"features of {domain} are there", flush=True)
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(flags.workers, mp_context=context) as pool:
        jobs = [(cell, method) for cell in every for method in flags.methods]
        futures = [pool.submit(run, cell, method, flags.steps, folder) for cell, method in jobs]
        for number, future in enumerate(futures):
            rows += future.result()
            print(f"{jobs[number][0].name}, {jobs[number][1]} ({number + 1} of {len(jobs)})", flush=True)
    recipe = shared(recipe_of(COLLECTIONS["office_caltech10"], "dance", "amazon", "dslr", flags.steps))
    write_result(
        "unida_office_caltech10",
        {
            "recipe": recipe,
            "summary": summary(rows),
            "unknown_share": {method: coverage(rows, method) for method in flags.methods},
            "runs": rows,
        },
    )


if __name__ == "__main__":
    main()
