"""Tiny domains and tiny runs: the real parts, at a size that takes seconds."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from uda.cli import main
from uda.datasets.resolve import Resolved
from uda.datasets.table import ImageTable
from uda.experiments import series
from uda.experiments.unida.assemble import build_task, prepare_inputs, unida_data
from uda.experiments.unida.domains import Domains, decode_domains, settle
from uda.recipe import Tree, UnidaRecipe, build_as
from uda.tasks.unida import UniDA

SIZE = 16
"""Pixels of a side: the smallest network halves an image three times."""

SMALL = ["--backbone", "smallconv", "--weights", "none", "--image-size", str(SIZE), "--batch-size", "6", "--set"]
SMALL += [f"data.stored_size={SIZE}", "training.lr=0.05", "training.evaluate_every=0"]


OF_A_SEED = {
    *("recipe.yaml", "metrics.json", "history.csv", "checkpoint"),
    *("backbone.safetensors", "predictions.csv", "candidates.csv", "report.html"),
}
"""What the folder of one seed holds."""


def pixels(name: str, count: int, noise: int = 20) -> np.ndarray:
    """Return images of a class, (count, SIZE, SIZE, 3) uint8: a color of its own and noise."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    color = np.random.default_rng(seed).integers(40, 216, 3)
    drawn = np.random.default_rng(seed + noise).integers(-noise, noise, (count, SIZE, SIZE, 3))
    return (color + drawn).clip(0, 255).astype(np.uint8)


def draw_classes(root: Path, counts: Mapping[str, int], noise: int = 20) -> Path:
    """Write a folder of class folders."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number, image in enumerate(pixels(name, count, noise)):
            Image.fromarray(image).save(root / name / f"{number}.png")
    return root


def command(*arguments: object) -> int:
    """Run the command in this process; return its exit status."""
    return main([str(argument) for argument in arguments])


def adapt(domains: Path, out: Path, *more: object, target: str = "sketch", steps: int = 4) -> int:
    """Adapt `photo` to `sketch` with the smallest network; return the exit status."""
    ends = ("--source", domains / "photo", "--target", domains / target, "--steps", steps, "--out", out)
    return command("--task", "unida", *ends, *SMALL, *more)


def table(name: str, classes: tuple[str, ...], count: int, noise: int = 20) -> ImageTable:
    """Return a domain that is in memory already."""
    images = np.concatenate([pixels(kind, count, noise) for kind in classes])
    paths = tuple(f"{name}/{kind}/{number}" for kind in classes for number in range(count))
    labels = np.repeat(np.arange(len(classes)), count)
    return ImageTable(name, paths, labels, classes, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))


def tiny_recipe(*layers: Tree) -> UnidaRecipe:
    """Return the recipe of the smallest network, with changes."""
    small: Tree = {
        "data": {"image_size": SIZE, "stored_size": SIZE},
        "encoder": {"backbone": "smallconv", "weights": "none"},
        "training": {"steps": 12, "batch_size": 6, "lr": 0.05, "evaluate_every": 0, "checkpoint_every": 5},
    }
    return build_as(UnidaRecipe, [small, *layers])


def tiny_domains(recipe: UnidaRecipe) -> Domains:
    """Return two domains in memory, 15 images each."""
    source, target = table("photo", ("apple", "bird", "cat"), 5), table("sketch", ("apple", "bird", "dog"), 5, 60)
    found = settle(Resolved((source,), (target,), None, (), ()), recipe.data)
    return decode_domains(found, recipe.data, progress=False)


def tiny_task(recipe: UnidaRecipe, seed: int = 0) -> UniDA:
    """Return a fresh task on `tiny_domains`."""
    domains = tiny_domains(recipe)
    inputs = prepare_inputs(recipe, domains, torch.device("cpu"), progress=False)
    return build_task(recipe, unida_data(domains, inputs), inputs.backbone, seed)


def newest(out: Path) -> Path:
    """Return a run's newest checkpoint."""
    return max((out / "checkpoint").glob("step-*"), key=lambda path: int(path.name[5:]))


def tensors_of(out: Path) -> dict[str, Tensor]:
    """Return every tensor of a run's newest checkpoint, optimizers included."""
    files = sorted(newest(out).glob("*.safetensors"))
    return {f"{file.stem}/{name}": value for file in files for name, value in load_file(file).items()}


def assert_same_run(one: Path, other: Path) -> None:
    """Assert that two runs have ended with the same bits: tensors, history and metrics."""
    ours, theirs = tensors_of(one), tensors_of(other)
    assert ours.keys() == theirs.keys()
    assert [name for name, value in ours.items() if not torch.equal(value, theirs[name])] == []
    pd.testing.assert_frame_equal(
        pd.read_csv(one / "history.csv"), pd.read_csv(other / "history.csv"), check_exact=True
    )
    for name in ("metrics.json", "predictions.csv"):
        if (one / name).exists():
            assert (one / name).read_text() == (other / name).read_text()


def metrics_of(out: Path) -> dict[str, Any]:
    """Read `metrics.json` as strictly as the standard is: no NaN, no infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in metrics.json")

    return json.loads((out / "metrics.json").read_text(), parse_constant=refuse)


def interrupted(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Have the `number`-th run of a series interrupted as by Ctrl-C; return the names of those begun, as they begin."""
    run, begun = series.run, []

    def dies(*arguments: Any) -> Any:
        begun.append(arguments[2].name)
        if len(begun) == number:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(series, "run", dies)
    return begun
