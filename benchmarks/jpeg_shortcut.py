"""Whether the grid of JPEG blocks gives a tile's place away, and whether the features are worse for it.

python -m benchmarks.jpeg_shortcut    (about twenty minutes on one CPU core)

The CIFAR-10 copies were saved as JPEG, whose blocks of 8 pixels begin at the same places in every image, while tiles of
10 pixels begin at another phase of that grid in each row and column. Each arm trains `jigsaw` or `location` as
`benchmarks.ssl_cifar` does: on the images as they are; on images rolled by 0 to 7 pixels each way, another shift for
each image and step, which hides the phase; and on noise, where nothing can be learned unless the cutting itself gives
places away. The accuracy is that of the objective's own question over the last tenth of the steps, on fresh batches.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import CPU, mean, write_result
from benchmarks.ssl_cifar import BUDGET, accuracies, plan
from uda.batch import Batch
from uda.clock import Clock
from uda.experiments.experiment import loop_options
from uda.experiments.pretrain.experiment import build_pretrain
from uda.random import derived_seed
from uda.ssl.objective import Loss, Objective, Views
from uda.ssl.views import NoAugmentation, to_float
from uda.training.checkpoint import Identity
from uda.training.loop import train

Change = Callable[[Tensor, torch.Generator], Tensor]


def rolled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Roll every image by 0 to 7 pixels each way."""
    shifts = torch.randint(0, 8, (len(images), 2), generator=generator).tolist()
    moved = [torch.roll(image, tuple(shift), (1, 2)) for image, shift in zip(images, shifts, strict=True)]
    return torch.stack(moved)


CHANGES: dict[str, Change] = {
    "as they are": lambda images, generator: images,
    "rolled": rolled,
    "noise": lambda images, generator: torch.rand(images.shape, generator=generator),
}


@dataclasses.dataclass(frozen=True)
class Changed(NoAugmentation):
    """The whole image, changed."""

    change: Change = CHANGES["as they are"]

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, H, W) in [0, 1]."""
        seed = derived_seed(clock.seed, clock.step, "change")
        return self.change(to_float(batch.images), torch.Generator().manual_seed(seed))


def run(name: str, change: str, seed: int) -> dict[str, Any]:
    """Train one objective under one change; return its own accuracy at the end and what its features are worth."""
    loaded, inputs, recipe, _ = plan(name, seed, BUDGET)
    task = build_pretrain(recipe, loaded, inputs, seed)
    objective = task.objectives[0]
    assert isinstance(objective, Objective)
    objective.info = dataclasses.replace(objective.info, augment=Changed(32, CHANGES[change]))
    losses: list[Loss] = []
    ask = objective.loss

    def noted(features: Tensor, views: Views) -> Loss:
        losses.append(ask(features, views))
        return losses[-1]

    objective.loss = noted  # type: ignore[method-assign]
    with TemporaryDirectory() as out:
        train(task, loop_options(recipe, seed, CPU), Path(out), Identity(recipe.hash(), "study", seed), CPU.device)
    last = losses[-max(1, len(losses) // 10) :]
    right = [loss.accuracy.item() for loss in last if loss.accuracy is not None]
    neighbors, linear = accuracies(task, loaded, inputs)
    found = {
        "objective": name,
        "images": change,
        "seed": seed,
        "accuracy": mean(right),
        "knn_accuracy": neighbors,
        "linear_accuracy": linear,
    }
    print(found, flush=True)
    return found


def main() -> None:
    """Run all arms and write results/jpeg_shortcut.json."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    arms = [(name, change) for name in ("jigsaw", "location") for change in CHANGES]
    runs = [run(name, change, seed) for name, change in arms for seed in (0, 1)]
    means = {
        f"{name}, {change}": {
            figure: mean([r[figure] for r in runs if (r["objective"], r["images"]) == (name, change)])
            for figure in ("accuracy", "knn_accuracy", "linear_accuracy")
        }
        for name, change in arms
    }
    write_result("jpeg_shortcut", {"budget": BUDGET, "means": means, "runs": runs})


if __name__ == "__main__":
    main()
