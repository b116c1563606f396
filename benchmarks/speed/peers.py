"""Other packages on the same work: lightly's whole training loop, and scikit-learn's nearest neighbors."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import CPU
from benchmarks.speed.measure import ROUNDS, Row, ratio, seconds_a_step, spread, take_turns
from benchmarks.speed.steps import STEPS, Case, Stored, recipe_of, task_of, whole_steps
from uda.experiments.experiment import loop_options
from uda.probes.knn import knn
from uda.tasks.pretrain import Pretrain
from uda.training.allocation import give_back_freed_memory, keep_freed_memory

_PREFETCH = 2  # batches that each of its workers has ready; PyTorch's default


class _Pictures(Dataset[Any]):
    """The same images, decoded, as lightly's transforms want them."""

    def __init__(self, images: Tensor, transform: Any):
        self.pictures = [image.permute(1, 2, 0).contiguous().numpy() for image in images.cpu()]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> list[Tensor]:
        return list(self.transform(Image.fromarray(self.pictures[row])))


def simclr_row(case: Case, device: torch.device, workers: int, rounds: int = ROUNDS) -> Row:
    """Return seconds of a SimCLR step, data and views included: ours, and lightly's parts in the loop of its tutorial.

    Both train the same backbone from the same weights in the same layout with plain SGD on the same decoded images;
    lightly's views come from a DataLoader with that many worker processes, and memory that it frees goes back to the
    system, as in a process of its own.
    """
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    small = case.image_size <= 64
    extra: dict[str, Any] = {"training": {"optimizer": "sgd", "schedule": "constant"}}
    recipe = recipe_of("simclr", case, extra)
    images = Stored(case.stored, case.stored_size, device)
    options = loop_options(recipe, 0, replace(CPU, device=device))
    task = task_of("simclr", recipe, case, images)
    assert isinstance(task, Pretrain)
    backbone: nn.Module = task_of("simclr", recipe, case, images).encoder.to(device)  # type: ignore[assignment]
    if options.channels_last:
        backbone.to(memory_format=torch.channels_last)
    head, criterion = SimCLRProjectionHead(task.encoder.dim, task.encoder.dim, 128).to(device), NTXentLoss(0.5)
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=1e-3, momentum=0.9)
    transform = SimCLRTransform(
        case.image_size, cj_strength=0.5 if small else 1.0, gaussian_blur=0.0 if small else 0.5, normalize=None
    )
    loader = DataLoader(
        _Pictures(images.images, transform),
        case.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
        prefetch_factor=_PREFETCH,
    )

    def endless() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    views = endless()
    theirs: list[float] = []
    steps = STEPS[device.type]

    def lightly_step() -> None:
        a, b = (view.to(device, non_blocking=True) for view in next(views))
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            loss = criterion(head(backbone(a)), head(backbone(b)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    waiting = workers * _PREFETCH  # batches that are ready when a turn begins, and not counted

    def lightly_turn() -> None:
        if device.type == "cpu":
            give_back_freed_memory()
        theirs.append(seconds_a_step(lightly_step, steps, device, waiting + 1))
        if device.type == "cpu":
            keep_freed_memory()
        time.sleep(waiting * theirs[-1])  # its workers fill up again, and shall not do so while it is our turn

    ours = whole_steps(task, options, device, rounds, steps, lightly_turn)
    row: Row = {"row": "simclr against lightly", **vars(case), "workers": workers, "precision": options.precision}
    row |= {"ms": spread([1000 * s for s in ours]), "lightly_ms": spread([1000 * s for s in theirs])}
    return row | {"times_faster": ratio(theirs, ours)}


def knn_row(device: torch.device, queries: int = 2000, bank: int = 10_000, dim: int = 512, rounds: int = ROUNDS) -> Row:
    """Return seconds of a weighted vote of 200 neighbors: ours, and scikit-learn's brute force on all cores."""
    from sklearn.neighbors import KNeighborsClassifier

    generator = np.random.default_rng(0)
    stored, asked = (generator.standard_normal((n, dim)).astype(np.float32) for n in (bank, queries))
    labels = generator.integers(0, 10, bank)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (stored, asked)]
    theirs = KNeighborsClassifier(
        200, weights=lambda d: np.exp((1 - d**2 / 2) / 0.1), algorithm="brute", n_jobs=-1
    ).fit(unit[0], labels)
    ours = torch.from_numpy(stored).to(device), torch.from_numpy(asked).to(device), torch.from_numpy(labels).to(device)

    def our_vote() -> np.ndarray:
        return knn(ours[1], ours[0], ours[2], 10).predictions.cpu().numpy()

    def their_vote() -> np.ndarray:
        return np.asarray(theirs.predict(unit[1]))

    seconds = take_turns({"ours": our_vote, "scikit-learn": their_vote}, device, rounds)
    return {
        "row": "nearest neighbors against scikit-learn",
        **{"queries": queries, "bank": bank, "dim": dim, "agree": float((our_vote() == their_vote()).mean())},
        "ms": {name: spread([1000 * s for s in values]) for name, values in seconds.items()},
        "times_faster": ratio(seconds["scikit-learn"], seconds["ours"]),
    }
