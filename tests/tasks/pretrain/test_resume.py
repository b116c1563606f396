"""A run that was stopped in the middle ends with the bits of one that was not, whatever state objectives keep."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tasks.pretrain import small
from tests.tiny import assert_same_run, tensors_of
from uda.clock import Clock
from uda.ssl.objective import Objective
from uda.tasks.pretrain import Pretrain
from uda.training.checkpoint import saved_steps
from uda.training.loop import Interrupted

SMALL_HEADS: dict[str, dict[str, Any]] = {
    "moco": {"queue": 32},
    "npid": {},
    "npid nce": {"form": "nce", "negatives": 8},
    "dino": {"prototypes": 16, "hidden": 32, "bottleneck": 16, "local_crops": 1},
    "deepcluster": {"clusters": 4},
    "self_label": {"clusters": 4, "heads": 2},
}
STATE = {  # what lies outside the network, and moves
    "moco": ("queue.rows", "slow_encoder.module.backbone.stages.0.0.weight"),
    "npid": ("bank.rows",),
    "npid nce": ("bank.rows", "z"),
    "dino": ("center", "teacher.module.0.backbone.stages.0.0.weight"),
    "deepcluster": ("assignments",),
    "self_label": ("labels",),
}


def layer(name: str, **training: Any) -> dict[str, Any]:
    return {"objectives": {name.split()[0]: SMALL_HEADS[name]}, "training": training}


def at_step(task: Pretrain, step: int, event: Any) -> Pretrain:
    """Let something happen in the forward pass of a step (0-based)."""
    forward = task.forward

    def watched(batches: Any, turn: str, clock: Clock) -> dict[str, Tensor]:
        losses = forward(batches, turn, clock)
        if clock.step == step:
            event()
        return losses

    task.forward = watched  # type: ignore[method-assign]
    return task


def power_cut() -> None:
    raise ConnectionAbortedError("the process is gone")


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def spoiled(task: Pretrain) -> Pretrain:
    """Return a fresh task of which nothing may matter: every number of its state is another."""
    with torch.no_grad():
        for value in task.state_dict().values():
            value.add_(1) if value.is_floating_point() else value.zero_()
    return task


def due(name: str) -> list[int]:
    """Return the steps of the small run before which pseudo-labels are made."""
    (objective,) = small.task(small.recipe(layer(name))).objectives
    assert isinstance(objective, Objective)
    return [step for step in range(12) if objective.assign_due(Clock(step, 12, 0, 6, 24))]


def test_when_pseudo_labels_are_made() -> None:
    assert due("deepcluster") == [0, 4, 8]  # an epoch is 4 steps
    # 4 times, when 4·√(t/12) passes 1, 2 and 3: t = 0.75, 3 and 6.75
    assert due("self_label") == [0, 1, 3, 7]
    assert due("moco") == []


@pytest.mark.parametrize(
    ("name", "optimizer", "saved", "cut"),
    [
        ("moco", "sgd", 5, 8),
        ("npid", "sgd", 5, 8),
        ("npid nce", "adamw", 5, 8),
        ("dino", "adamw", 3, 5),  # prototypes rest until step 4: their optimizer state begins after the checkpoint
        ("dino", "sgd", 5, 8),
        ("deepcluster", "sgd", 5, 9),  # goes on within an epoch; the clusters of step 8 are made twice
        ("deepcluster", "adamw", 4, 6),  # goes on with new clusters
        ("self_label", "sgd", 5, 8),
        ("self_label", "sgd", 7, 9),
    ],
)
def test_a_run_that_was_cut_ends_with_the_same_bits(
    tmp_path: Path, name: str, optimizer: str, saved: int, cut: int
) -> None:
    if name in ("deepcluster", "self_label"):
        assert (saved in due(name)) == (saved in (4, 7))
    recipe = small.recipe(layer(name, optimizer=optimizer, lr=0.01, checkpoint_every=saved, evaluate_every=3))
    whole, once = small.task(recipe), tmp_path / "whole"
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    metrics = small.run(recipe, once, whole)
    for key in STATE[name]:  # there is something to lose
        assert not torch.equal(whole.state_dict()[f"objectives.0.{key}"], before[f"objectives.0.{key}"])
    with pytest.raises(ConnectionAbortedError):
        small.run(recipe, tmp_path / "cut", at_step(small.task(recipe), cut, power_cut))
    assert saved_steps(tmp_path / "cut" / "checkpoint") == [saved]
    other = spoiled(small.task(recipe))
    assert small.run(recipe, tmp_path / "cut", other, resume=True) == metrics
    assert other.warnings == whole.warnings
    assert_same_run(once, tmp_path / "cut")
    assert any(key.startswith("optimizer-all/") for key in tensors_of(once))


@pytest.mark.parametrize("stopped", [3, 4])  # before new clusters are made, and just after
def test_ctrl_c_in_the_middle(tmp_path: Path, stopped: int) -> None:
    recipe = small.recipe(layer("deepcluster", steps=6))
    with pytest.raises(Interrupted, match=f"stopped at step {stopped + 1} of 6"):
        small.run(recipe, tmp_path / "stopped", at_step(small.task(recipe), stopped, ctrl_c))
    small.run(recipe, tmp_path / "stopped", spoiled(small.task(recipe)), resume=True)
    small.run(recipe, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_labels_and_two_objectives_at_once(tmp_path: Path) -> None:
    both = {"objectives": {"moco": {"queue": 32}, "deepcluster": {"clusters": 4}}, "data": {"labels": "6"}}
    recipe = small.recipe(both, {"method": "supervised"})
    small.run(recipe, tmp_path / "whole")
    with pytest.raises(ConnectionAbortedError):
        small.run(recipe, tmp_path / "cut", at_step(small.task(recipe), 8, power_cut))
    small.run(recipe, tmp_path / "cut", spoiled(small.task(recipe)), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_finished_run_that_is_resumed_warns_as_before(tmp_path: Path) -> None:
    # So warm that all of 33 keys are as likely, in both steps: ln 33 = 3.4965.
    recipe = small.recipe({"objectives": {"moco": {"queue": 32, "temperature": 1e5}}, "training": {"steps": 2}})
    first, again = small.task(recipe), small.task(recipe)
    metrics = small.run(recipe, tmp_path, first)
    assert first.recent[0, :2].mean().item() == pytest.approx(3.4965, abs=1e-4)
    assert [text for text in first.warnings if text.startswith("moco: the loss 3.49") and "at chance (3.497)" in text]
    assert small.run(recipe, tmp_path, again, resume=True) == metrics
    assert again.warnings == first.warnings
