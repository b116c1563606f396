"""The task of long tails: what is drawn, what learns in which stage, and its figures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tests.tasks.imbalance.small import COUNTS, STEPS, N, small_data, small_task
from uda.clock import Clock
from uda.tasks.imbalance import METHODS, Imbalanced
from uda.tasks.imbalance.ldam import LDAM
from uda.tasks.imbalance.task import parts_of, right_parts, tail_metrics
from uda.tasks.supervised import Sample
from uda.training.checkpoint import Identity
from uda.training.loop import LoopOptions, train

TWO_STAGES = ("crt", "lws", "kcl")


def trained(task: Imbalanced, out: Path, steps: int = STEPS, schedule: str = "cosine") -> dict[str, Tensor]:
    """Train with plain SGD, weight decay and momentum; return the state after."""
    options = LoopOptions(steps, 0, "sgd", 0.05, 0.9, 1e-2, schedule, 0, 0, 2, "no", False, False)
    train(task, options, out, Identity("a", "b", 0), torch.device("cpu"))
    return {name: value.clone() for name, value in task.state_dict().items()}


def drawn(task: Imbalanced, steps: range) -> np.ndarray:
    stream = task.streams()["images"]
    return np.concatenate([stream.batch(step).labels.numpy() for step in steps])  # type: ignore[union-attr]


@pytest.mark.parametrize("name", METHODS)
def test_images_are_drawn_as_they_come_and_classes_alike_in_a_second_stage(name: str) -> None:
    task = small_task(name, steps=400)
    assert task.first_steps == (300 if name in TWO_STAGES else 400)
    first = drawn(task, range(300))  # a hundred epochs of 24 images
    assert np.bincount(first).tolist() == (100 * COUNTS).tolist()
    assert (first >= 0).all()  # the image without a label is never drawn
    second = np.bincount(drawn(task, range(300, 400))) / 800
    wanted = np.full(3, 1 / 3) if name in TWO_STAGES else COUNTS / 24
    assert second == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_answers(name: str, tmp_path: Path) -> None:
    task = small_task(name, ("rotation",))
    before = {name: value.clone() for name, value in task.state_dict().items()}
    after = trained(task, tmp_path)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("encoder") for name in moved)
    assert any(name.startswith("method.classifier") for name in moved)
    assert any(name.startswith("objectives") for name in moved)
    task.look()
    assert set(task.last_metrics) == {*task.metric_names, "probe_accuracy", "balancedness"}
    assert task.last_metrics["many_accuracy"] is None  # no class has over 100 images
    assert pd.read_csv(tmp_path / "history.csv")["rotation"].isna().sum() == (2 if name in TWO_STAGES else 0)


@pytest.mark.parametrize("name", TWO_STAGES)
def test_the_second_stage_moves_the_classifier_alone(name: str, tmp_path: Path) -> None:
    task = small_task(name, ("moco",))
    trained(task, tmp_path)
    steps = sorted(int(path.name[5:]) for path in (tmp_path / "checkpoint").iterdir())
    assert steps == [6, 8]  # the second stage begins at step 6 of 8
    first, last = (load_file(tmp_path / "checkpoint" / f"step-{step}" / "task.safetensors") for step in steps)
    moved = {key for key in first if not torch.equal(first[key], last[key])}
    wanted = {"crt": {"weight", "bias"}, "kcl": {"weight", "bias"}, "lws": {"scales"}}[name]
    assert moved == {f"method.classifier.{part}" for part in wanted}  # nor batch norm, nor queues, nor teachers


def test_crt_starts_its_classifier_and_its_rate_anew(tmp_path: Path) -> None:
    task = small_task("crt")
    trained(task, tmp_path)
    rates = pd.read_csv(tmp_path / "history.csv")["lr"].tolist()
    halves = [0.05 * 0.5 * (1 + np.cos(np.pi * t / 6)) for t in range(6)] + [0.05, 0.025]
    assert rates == pytest.approx(halves)
    begun = small_task("crt")
    old = begun.method.classifier.weight.clone()
    assert begun.prepare(Clock(5, STEPS)) is None
    assert torch.equal(begun.method.classifier.weight, old)
    restarted = begun.prepare(Clock(6, STEPS))
    assert restarted is not None
    assert {id(p) for p in restarted} == {id(p) for p in begun.method.classifier.parameters()}
    assert not torch.equal(begun.method.classifier.weight, old)
    again = small_task("crt")
    torch.manual_seed(99)
    again.prepare(Clock(6, STEPS))
    assert torch.equal(again.method.classifier.weight, begun.method.classifier.weight)
    assert begun.prepare(Clock(7, STEPS)) is None


@pytest.mark.parametrize("name", TWO_STAGES)
@pytest.mark.parametrize("stop", [2, 6])
def test_a_run_that_was_stopped_ends_with_the_same_bits(name: str, stop: int, tmp_path: Path) -> None:
    whole = trained(small_task(name, ("rotation",)), tmp_path / "whole")
    task = small_task(name, ("rotation",))
    out = tmp_path / "stopped"
    options = LoopOptions(STEPS, 0, "sgd", 0.05, 0.9, 1e-2, "cosine", 0, 0, 2, "no", False, False)

    class Killed(Exception):  # noqa: N818
        pass

    prepare = task.prepare

    def dies(clock: Clock) -> list[torch.nn.Parameter] | None:
        if clock.step == stop:
            raise Killed
        return prepare(clock)

    task.prepare = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        train(task, options, out, Identity("a", "b", 0), torch.device("cpu"))
    fresh = small_task(name, ("rotation",))
    train(fresh, options, out, Identity("a", "b", 0), torch.device("cpu"), resume=True)
    assert [key for key, value in fresh.state_dict().items() if not torch.equal(value, whole[key])] == []
    assert (out / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()


def test_kcl_has_no_class_loss_in_its_first_stage() -> None:
    task = small_task("kcl", positives=2)
    batch = {"images": task.streams()["images"].batch(0)}
    losses = task(batch, "all", Clock(0, STEPS))
    assert set(losses) == {"classification", "kcl"}
    assert losses["classification"].item() == 0
    losses["kcl"].backward()
    assert task.method.classifier.weight.grad is None
    assert set(task(batch, "all", Clock(6, STEPS))) == {"classification"}


def test_ldam_weights_classes_from_four_fifths_of_the_run_on() -> None:
    task = small_task("ldam", beta=0.9)
    method = task.method
    assert isinstance(method, LDAM)
    features = torch.randn(6, task.encoder.dim, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    sample = Sample(labels, torch.zeros_like(labels), labels)
    early, late = (method(features, sample, Clock(step, 10))["classification"] for step in (7, 8))
    logits = method.classifier(features)
    assert (logits.abs() <= 30.001).all()  # scaled cosines
    held_back = logits - 30 * F.one_hot(labels, 3) * method.margins[labels, None]
    each = F.cross_entropy(held_back, labels, reduction="none")
    assert early.item() == pytest.approx(each.mean().item(), rel=1e-5)
    weights = method.weights[labels]
    assert late.item() == pytest.approx(((each * weights).sum() / weights.sum()).item(), rel=1e-5)
    assert late.item() != pytest.approx(early.item(), rel=1e-3)


def test_tau_norm_learns_by_cross_entropy_and_answers_by_directions() -> None:
    task = small_task("tau_norm", tau=1.0)
    features = torch.randn(5, task.encoder.dim, generator=torch.Generator().manual_seed(3))
    layer = task.method.classifier.requires_grad_(False)
    assert torch.equal(layer.train()(features), F.linear(features, layer.weight, layer.bias))
    assert layer.eval()(features) == pytest.approx(features @ F.normalize(layer.weight).T, abs=1e-6)


def test_figures_by_hand() -> None:
    # Three classes of 200, 50 and 2 training images, accuracies 1, 0.5 and none tested.
    found = tail_metrics(np.array([1.0, 0.5, np.nan]), np.array([200, 50, 2]))
    assert found["many_accuracy"] == 1
    assert found["medium_accuracy"] == 0.5
    assert found["few_accuracy"] is None
    assert found["balanced_error"] == 0.25
    assert found["classifier_balancedness"] == pytest.approx(np.exp(-0.5 / 0.2))


def test_parts_of_images_have_the_figures_as_means() -> None:
    labels, right = np.array([0, 0, 0, 1, 1, 2]), np.array([True, True, False, True, False, True])
    counts = np.array([500, 30, 40])
    parts = right_parts(right, labels, counts)
    assert parts["accuracy"].mean() == pytest.approx(4 / 6)
    assert parts["many_accuracy"].mean() == pytest.approx(2 / 3)
    assert parts["medium_accuracy"].mean() == pytest.approx((0.5 + 1) / 2)
    assert parts["balanced_error"].mean() == pytest.approx(1 - (2 / 3 + 0.5 + 1) / 3)
    assert "few_accuracy" not in parts


def test_groups_of_a_figure_are_those_of_its_images() -> None:
    labels, counts, groups = np.array([0, 2, 1, 2]), np.array([200, 50, 5]), np.array([7, 8, 8, 9])
    found, parts = parts_of(groups, labels, counts), right_parts(np.ones(4, dtype=bool), labels, counts)
    assert found["few_accuracy"].tolist() == [8, 9]
    assert found["many_accuracy"].tolist() == [7]
    assert {name: len(own) for name, own in found.items()} == {name: len(own) for name, own in parts.items()}


def test_evaluation_agrees_with_its_answer() -> None:
    task = small_task()
    metrics = task.evaluate()
    assert task.last_answer is not None
    right = task.last_answer.closed == small_data().test_labels
    assert metrics["accuracy"] == pytest.approx(right.mean())
    assert metrics["balanced_error"] == pytest.approx(1 - right.mean())  # four test images of each class
    assert len(task.data.images) == N
