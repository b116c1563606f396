"""The task of training for robustness: what is seen, what is attacked, which pass is shared."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.tasks.robustness.small import BATCH, VALIDATION, N, small_task
from uda.batch import Batch
from uda.clock import Clock
from uda.tasks.robustness import Robust

CLOCK = Clock(3, 20, seed=0)


def batches(task: Robust) -> dict[str, Batch]:
    return {name: stream.batch(3) for name, stream in task.streams().items()}


def seen_by(task: Robust) -> list[tuple[int, bool]]:
    """Return a list to which each pass of the encoder adds its number of images and whether it trains."""
    found: list[tuple[int, bool]] = []
    task.encoder.register_forward_pre_hook(lambda module, given: found.append((len(given[0]), module.training)))
    return found


def test_validation_images_are_never_drawn() -> None:
    task = small_task()
    stream = task.streams()["images"]
    index = np.concatenate([stream.batch(step).index.numpy() for step in range(30)])
    assert set(task.data.rows[index]) == set(range(N)) - set(VALIDATION)


def test_pseudo_labels_are_made_of_what_is_learned_from_alone() -> None:
    task = small_task(objectives=("deepcluster",))
    learned, seen = np.setdiff1d(np.arange(N), VALIDATION), seen_by(task)
    task.prepare(Clock(0, 20, seed=0, images_per_step=BATCH, n_images=len(learned)))
    assert sum(count for count, _ in seen) == len(learned)
    batch = task.streams()["images"].batch(0)
    assert torch.equal(batch.images, task.data.images.batch(learned[batch.index.numpy()]))  # numbered alike
    assert torch.equal(batch.images, task.learned().batch(batch.index.numpy()))


def test_rotation_shares_its_upright_quarter_with_the_class_loss() -> None:
    task = small_task(objectives=("rotation",)).eval()
    own, seen = batches(task), seen_by(task)
    losses = task(own, "all", CLOCK)
    assert [count for count, _ in seen] == [4 * BATCH]
    alone = small_task().eval()(own, "all", CLOCK)
    assert losses["classification"].item() == pytest.approx(alone["classification"].item(), rel=1e-4)
    assert set(losses) == {"classification", "rotation"}


def test_adversarial_training_learns_from_attacked_images_that_lie_within_eps() -> None:
    task = small_task("adversarial", ("rotation",), eps=8.0, step=4.0, attack_steps=3).train()
    own = batches(task)
    plain = task.augment(own["images"], CLOCK)
    statistics = [buffer.clone() for buffer in task.encoder.buffers()]
    sample_losses: list[Tensor] = []
    seen = seen_by(task)
    task.encoder.register_forward_pre_hook(lambda _, given: sample_losses.append(given[0].detach().clone()))
    losses = task(own, "all", CLOCK)
    # Three steps of the attack in evaluation mode, then one pass over the four turns of what came of it.
    assert seen == [(BATCH, False)] * 3 + [(4 * BATCH, True)]
    attacked = sample_losses[-1][:BATCH]
    assert (attacked - plain).abs().max().item() == pytest.approx(8 / 255, abs=2e-6)
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert all(parameter.grad is None for parameter in task.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(statistics, task.encoder.buffers(), strict=True))
    clean = small_task()
    clean.load_state_dict({k: v for k, v in task.state_dict().items() if "objectives" not in k})
    clean.eval()
    with torch.no_grad():
        before, after = (
            F.cross_entropy(clean.method.classifier(clean.encoder(views)), own["images"].labels)
            for views in (plain, attacked)
        )
    assert after > before
    assert losses["classification"].isfinite()


def test_an_attack_can_ascend_the_objectives_too_with_the_draws_of_the_step() -> None:
    options = {"eps": 8.0, "step": 4.0, "attack_steps": 2}
    own = batches(small_task())
    views = []
    for weight in (0.0, 50.0):
        task = small_task("adversarial", ("rotation",), attack_objectives=weight, **options).eval()
        seen = seen_by(task)
        caught: list[Tensor] = []
        task.encoder.register_forward_pre_hook(lambda _, given, caught=caught: caught.append(given[0].detach()))
        task(own, "all", CLOCK)
        views.append(caught[-1][:BATCH])
        assert len(seen) == (3 if not weight else 5)  # a class pass a step, and one of the objective
    assert not torch.equal(views[0], views[1])
    task = small_task(objectives=("rotation",)).eval()
    rotation = [task.objectives[0](task.encoder, Batch(v, own["images"].index, None, "images"), CLOCK) for v in views]
    assert rotation[1].value > rotation[0].value


def test_wrong_labels_are_learned_and_true_ones_are_tested_on() -> None:
    task = small_task()
    task.data.labels[3] = 2  # was 0
    rows, labels = [], []
    for step in range(9):
        batch = task.streams()["images"].batch(step)
        rows += batch.index.tolist()
        labels += batch.labels.tolist()
    assert labels[rows.index(0)] == 2  # row 3 is the first that is learned from
    metrics = task.evaluate()
    assert metrics["accuracy"] == (task.last_answer.closed == np.arange(9) % 3).mean()
