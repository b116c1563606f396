"""What the loop does before a step and between the gradient and the optimizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import tiny_recipe
from tests.training.test_loop import CPU, IDENTITY, options
from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.streams import Stream
from uda.tasks.task import Task
from uda.training.loop import train


class Numbers:
    """Images that are their row's number."""

    def __len__(self) -> int:
        return 8

    def batch(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).float().view(-1, 1)


class Line(Task):
    """Two weights, a · x + b, of which the first starts anew at some steps, where the order of images changes too."""

    def __init__(self, renewed: tuple[int, ...] = ()):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.renewed, self.order = renewed, 0
        self.seen: list[list[float]] = []
        self.before: list[Clock] = []

    def streams(self) -> dict[str, Stream]:
        return {"all": Stream("all", Numbers(), lambda step: (np.arange(2) + 2 * step + self.order) % 8)}

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        self.before.append(clock)
        if clock.step not in self.renewed:
            return None
        self.order += 1
        return [self.a]

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        self.seen.append(batches["all"].images.flatten().tolist())
        return {"sum": self.a.sum() + self.b.sum()}  # the gradient of each is 1

    def evaluate(self) -> dict[str, float | None]:
        return {}


PLAIN = {"training": {"steps": 4, "lr": 0.1, "schedule": "constant", "momentum": 0.5, "weight_decay": 0}}


def moved(task: Task, out: Path, **changes: Any) -> Task:
    train(task, options(tiny_recipe(PLAIN), **changes), out, IDENTITY, CPU)
    return task


def test_what_was_drawn_ahead_is_drawn_again(tmp_path: Path) -> None:
    plain = moved(Line(), tmp_path / "plain")
    assert plain.seen == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [clock.step for clock in plain.before] == [0, 1, 2, 3]
    assert plain.before[1] == Clock(1, 4, 0, 2, 8)
    # From step 2 on every row is one further, and from step 3 on two: the batch that lay ready was another.
    assert moved(Line((2, 3)), tmp_path / "renewed").seen == [[0, 1], [2, 3], [5, 6], [0, 1]]


def test_the_optimizer_forgets_what_starts_anew(tmp_path: Path) -> None:
    # Nesterov momentum of ½ and gradients of 1: v = 1, 1.5, 1.75, 1.875 and a step is lr · (1 + ½·v), so
    # 0.1 · (1.5 + 1.75 + 1.875 + 1.9375) = 0.70625. Forgetting before step 2: twice 0.1 · (1.5 + 1.75) = 0.65.
    task = moved(Line((2,)), tmp_path)
    assert task.b.item() == pytest.approx(1 - 0.70625, abs=1e-6)
    assert task.a.item() == pytest.approx(1 - 0.65, abs=1e-6)


def test_gradients_are_clipped_together(tmp_path: Path) -> None:
    # The gradient (1, 1) has length √2: clipped to 0.5 each is 0.5/√2 = 0.353553; not clipped where it is shorter.
    for limit, gradient in ((0.5, 0.353553), (10.0, 1.0), (0.0, 1.0)):
        task = moved(Line(), tmp_path / str(limit), clip_norm=limit, steps=1, momentum=0.0)
        assert task.a.item() == pytest.approx(1 - 0.1 * gradient, abs=1e-6)
        assert task.b.item() == pytest.approx(1 - 0.1 * gradient, abs=1e-6)


def test_the_recipe_says_where_gradients_are_clipped() -> None:
    assert options(tiny_recipe()).clip_norm == 0
    assert options(tiny_recipe({"training": {"clip_norm": 3}})).clip_norm == 3
