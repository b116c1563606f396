"""What every study shares: where images are, how a recipe is run without an output folder, how results are written."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from uda.errors import UserError
from uda.experiments.content import environment
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.unida.assemble import Inputs, build_task, check_recipe, method_label, unida_data
from uda.experiments.unida.domains import Domains
from uda.recipe import Recipe, UnidaRecipe
from uda.tasks.unida import Answer, UniDA
from uda.training.checkpoint import Identity
from uda.training.loop import train
from uda.training.outputs import write_json

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
CPU = Settings(torch.device("cpu"), progress=False)


def data_folder(name: str) -> Path:
    """Return a folder of real images below $UDA_DATA, ./data or ../shared/data."""
    roots = [Path(os.environ["UDA_DATA"])] if "UDA_DATA" in os.environ else []
    for root in [*roots, Path("data"), Path(__file__).parents[2] / "shared" / "data"]:
        if (root / name).is_dir():
            return root / name
    raise UserError(f"'{name}' is not below $UDA_DATA or ./data; set UDA_DATA to the folder that holds it")


def run_seed(
    recipe: UnidaRecipe, domains: Domains, inputs: Inputs, seed: int, settings: Settings = CPU
) -> dict[str, Any]:
    """Train one seed in a temporary folder; return its metrics under every rejection rule, and the seconds it took."""
    check_recipe(recipe)
    task = build_task(recipe, unida_data(domains, inputs), inputs.backbone, seed)
    started = time.perf_counter()
    answer = train_and_answer(task, recipe, seed, settings)
    seconds = time.perf_counter() - started
    return {
        "method": method_label(recipe),
        "seed": seed,
        "seconds": round(seconds, 1),
        "by_rejection": task.measure_by_rule(answer),
    }


def train_and_answer(task: UniDA, recipe: UnidaRecipe, seed: int, settings: Settings = CPU) -> Answer:
    """Train in a temporary folder and return what the last step says of the target."""
    with tempfile.TemporaryDirectory() as out:
        train(task, loop_options(recipe, seed, settings), Path(out), Identity(recipe.hash(), "study"), settings.device)
    assert task.last_answer is not None
    return task.last_answer


def write_result(name: str, content: dict[str, Any], device: torch.device = CPU.device) -> Path:
    """Write `benchmarks/results/<name>.json` with the machine, the versions and the commit it was made at."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content | {"environment": environment(device), "commit": commit()})
    return path


def shared(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe without what differs between the runs of a study: the pair, the method and the adapter."""
    content = recipe.model_dump(mode="json")
    for key in ("source", "target", "root"):
        content["data"].pop(key)
    content["encoder"].pop("adapter")
    content.pop("method")
    return content


def commit() -> str | None:
    """Return the checkout's commit, "+" behind it where files differ from it."""
    where = Path(__file__).parent
    found = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=where, capture_output=True, text=True)
    return found.stdout.strip() or None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None where a value is undefined."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(values) if values and len(defined) == len(values) else None
