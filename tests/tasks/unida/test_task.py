"""What the task draws in training, and how it shares forward passes."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tasks.unida.small import N_SOURCE, N_TARGET, SIZE, Pixels, copy_of_state, run, small_data, small_task
from uda.clock import Clock
from uda.ssl.rotation import Rotation
from uda.ssl.views import CropFlip
from uda.tasks.unida import METHODS, Features, UniDA


def step(task: UniDA, number: int = 0) -> dict[str, Tensor]:
    batches = {name: stream.batch(number) for name, stream in task.streams().items()}
    return task(batches, "all", Clock(number, 10))


def encoder_calls(task: UniDA) -> list[int]:
    """How many images each call of the encoder sees, from now on."""
    calls: list[int] = []
    task.encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    return calls


def test_source_only_never_touches_the_target_in_training(tmp_path: Path) -> None:
    task = small_task("source_only")
    assert set(task.streams()) == {"source"}
    target = task.data.target
    assert isinstance(target, Pixels)
    run(task, tmp_path, steps=3)
    assert target.reads == 3  # the evaluation at the end: all 30 images at once, and the two halves of the mixtures


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # k-means on features that coincide
def test_source_only_ends_the_same_whatever_the_target_is(tmp_path: Path) -> None:
    trained = []
    for name in ("bright", "dark"):
        data = small_data()
        if name == "dark":
            data.target.pixels.zero_()
        task = small_task("source_only", data=data)
        (tmp_path / name).mkdir()
        run(task, tmp_path / name, steps=3)
        trained.append(copy_of_state(task) | {"threshold": torch.zeros(())})
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])


def test_epochs_of_objectives_are_those_of_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    task = small_task("source_only", ("deepcluster",))
    monkeypatch.setattr(type(task.objectives[0]), "assign", lambda *_: [])
    # 24 source and 30 target images, 6 of each in a step: an epoch of the target is 5 steps, one of both 4.5
    clocks = [Clock(number, 20, 0, 12, N_SOURCE + N_TARGET) for number in range(20)]
    assert [clock.step for clock in clocks if task.prepare(clock) is not None] == [0, 5, 10, 15]


def test_objectives_are_told_the_epochs_of_the_target() -> None:
    task = small_task("source_only", ("dino",))  # whose prototypes rest for an epoch
    batches = {name: stream.batch(0) for name, stream in task.streams().items()}
    for number, moves in ((4, False), (5, True)):
        task(batches, "all", Clock(number, 20, 0, 12, 10_000))
        assert task.objectives[0].prototypes.weight.requires_grad is moves


@pytest.mark.parametrize("objectives", [(), ("rotation",)])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_target_labels_are_not_in_any_batch(method: str, objectives: tuple[str, ...]) -> None:
    streams = small_task(method, objectives).streams()
    assert set(streams) == ({"source"} if method == "source_only" and not objectives else {"source", "target"})
    for number in range(5):
        source = streams["source"].batch(number)
        assert source.labels is not None
        assert torch.equal(source.labels, source.index % 3)  # how the small source is labelled
        if "target" in streams:
            assert streams["target"].labels is None
            assert streams["target"].batch(number).labels is None


@pytest.mark.parametrize("options", [{"compat": "official"}, {"compat": "paper", "objectives": ("rotation",)}])
def test_poisoned_target_labels_change_no_weight(tmp_path: Path, options: dict[str, Any]) -> None:
    trained, metrics = [], []
    for name in ("true", "poisoned"):
        data = small_data()
        if name == "poisoned":
            data = dataclasses.replace(data, target_labels=np.roll(data.target_labels, 1))
        task = small_task(data=data, **options)
        (tmp_path / name).mkdir()
        metrics.append(run(task, tmp_path / name, steps=3))
        trained.append(copy_of_state(task))
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])
    assert metrics[0] != metrics[1]  # the poison did reach the evaluation


def test_the_source_stream_is_class_balanced() -> None:
    data = small_data()
    labels = np.array([0] * 20 + [1] * 3 + [2])  # 24 images
    task = small_task(data=dataclasses.replace(data, source_labels=labels))
    stream = task.streams()["source"]
    drawn = torch.cat([stream.batch(number).labels for number in range(500)])
    counts = torch.bincount(drawn, minlength=3)
    # 3000 draws, 1000 a class expected, standard deviation √(3000·⅓·⅔) = 25.8; the draw is fixed
    assert (counts - 1000).abs().max() < 4 * 25.8


def test_a_stream_gives_the_same_batch_whenever_it_is_asked() -> None:
    stream = small_task().streams()["target"]
    first = stream.batch(3)
    stream.batch(0)
    again = stream.batch(3)
    assert torch.equal(first.index, again.index)
    assert torch.equal(first.images, again.images)
    everything = torch.cat([stream.batch(number).index for number in range(5)])
    assert sorted(everything.tolist()) == list(range(N_TARGET))  # an epoch: every image once
    assert first.domain == "target"


def test_each_domain_has_a_pass_of_its_own() -> None:
    task = small_task()
    calls = encoder_calls(task)
    losses = step(task)
    assert calls == [6, 6]
    assert set(losses) == {"classification", "neighborhood_clustering", "entropy_separation"}


def test_rotation_shares_its_pass_with_the_method() -> None:
    task = small_task(objectives=("rotation",), augment=CropFlip(SIZE))
    calls = encoder_calls(task)
    losses = step(task)
    assert calls == [6, 24]  # the source, and the target in four turns
    assert "rotation" in losses
    sum(losses.values(), torch.zeros(())).backward()
    head = task.objectives[0].head
    assert head.weight.grad.abs().sum() > 0


def test_the_method_gets_the_upright_quarter_of_the_rotated_target() -> None:
    task = small_task(objectives=("rotation",)).eval()  # without batch statistics, features do not depend on the batch
    step(task)
    assert task._features is not None
    assert task._features.target is not None
    batch = task.streams()["target"].batch(0)
    with torch.no_grad():
        expected = task.encoder(task.augment(batch, Clock(0, 10)))
    assert torch.allclose(task._features.target, expected, atol=1e-5)


def test_source_only_with_rotation_sees_the_target_once() -> None:
    task = small_task("source_only", ("rotation",))
    calls = encoder_calls(task)
    assert set(step(task)) == {"classification", "rotation"}
    assert calls == [6, 24]


@pytest.mark.parametrize("method", ["dance", "consensus"])
def test_nothing_adapts_before_its_start_whatever_an_objective_sees(method: str) -> None:
    task = small_task(method, ("rotation",))
    task.method.start_at = 0.5
    alone = step(small_task("source_only"))
    early = step(task)  # its network and batches are the same
    assert task._features is not None
    assert task._features.target is None
    assert early["classification"].item() == pytest.approx(alone["classification"].item())
    assert all(value.item() == 0 for name, value in early.items() if name not in ("classification", "rotation"))
    step(task, 5)
    assert task._features.target is not None


def test_a_head_on_the_map_shares_pooled_features() -> None:
    task = small_task(objectives=("rotation",))
    task.objectives[0] = Rotation(task.encoder, task.objectives[0].info, head="block")
    losses = step(task)
    assert task._features is not None
    assert task._features.target is not None
    assert task._features.target.shape == (6, task.encoder.dim)
    assert losses["rotation"] > 0


def test_an_objectives_loss_carries_its_weight() -> None:
    task = small_task("source_only", ("rotation",)).eval()
    once = step(task)["rotation"]
    task.weights = [0.25]
    assert step(task)["rotation"].item() == pytest.approx(0.25 * once.item())


def test_features_are_let_go_after_the_step() -> None:
    task = small_task()
    step(task)
    assert isinstance(task._features, Features)
    task.after_step()
    assert task._features is None


def test_the_backbone_learns_at_a_tenth_and_everything_has_one_place() -> None:
    task = small_task(objectives=("rotation",))
    (groups,) = task.players().values()
    assert [group["lr_scale"] for group in groups] == [0.1, 1.0]
    heads = {id(p) for p in groups[1]["params"]}
    assert heads == {id(task.method.classifier.weight), *(id(p) for p in task.objectives.parameters())}
    placed = [id(p) for group in groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in task.parameters())
