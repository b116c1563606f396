"""What gives a tile's place away on the CIFAR-10 copies: objectives on tiles, with and without the grid of JPEG blocks.

python -m benchmarks.jpeg_shortcut    (about five minutes on one CPU core)

The images were saved as JPEG, whose blocks of 8 pixels begin at the same places in every image, while tiles of 10
pixels begin at another phase of that grid in each row and column. Each arm trains `jigsaw` and `location` for 90 steps:
on the images as they are; on images rolled by 0 to 7 pixels each way, another shift for each image and step, which
hides the phase; and on noise, where nothing can be learned unless the cutting itself gives places away.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import CPU, mean, write_result
from benchmarks.ssl_cifar import recipe_of
from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import Shuffled
from uda.experiments.pool import find_pool, load_pool
from uda.experiments.pretrain.experiment import build_pretrain, prepare_pool
from uda.random import derived_seed
from uda.ssl.objective import Objective
from uda.ssl.views import NoAugmentation, to_float

STEPS, BATCH, LAST = 90, 112, 15
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
    """Train one objective under one change; return its mean loss and accuracy over the last steps."""
    recipe = recipe_of(name, BATCH, STEPS)
    loaded = load_pool(find_pool(recipe.data), recipe.data, progress=False)
    task = build_pretrain(recipe, loaded, prepare_pool(recipe, loaded, CPU), seed)
    objective = task.objectives[0]
    assert isinstance(objective, Objective)
    objective.info = dataclasses.replace(objective.info, augment=Changed(32, CHANGES[change]))
    optimizer = torch.optim.AdamW(task.parameters(), 2e-3, weight_decay=1e-4)
    sampler = Shuffled(len(task.pool.images), BATCH, seed, "images")
    rows, chance = [], None
    for step in range(STEPS):
        drawn = sampler(step)
        batch = Batch(task.pool.images.batch(drawn), torch.from_numpy(drawn), None, "images")
        views = objective.views(batch, Clock(step, STEPS, seed, BATCH, len(task.pool.images)))
        loss = objective.loss(objective.encode(task.encoder, views), views)
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        assert loss.accuracy is not None
        rows.append((loss.value.item(), loss.accuracy.item()))
        chance = loss.chance
    last = np.array(rows[-LAST:]).mean(0).round(4).tolist()
    found = {"objective": name, "images": change, "seed": seed, "loss": last[0], "accuracy": last[1], "chance": chance}
    print(found, flush=True)
    return found


def main() -> None:
    """Run all arms and write results/jpeg_shortcut.json."""
    torch.set_num_threads(1)
    runs = [run(name, change, seed) for name in ("jigsaw", "location") for change in CHANGES for seed in (0, 1)]
    means = {
        f"{name}, {change}": mean([r["accuracy"] for r in runs if (r["objective"], r["images"]) == (name, change)])
        for name in ("jigsaw", "location")
        for change in CHANGES
    }
    write_result("jpeg_shortcut", {"steps": STEPS, "batch_size": BATCH, "mean_accuracy": means, "runs": runs})


if __name__ == "__main__":
    main()
