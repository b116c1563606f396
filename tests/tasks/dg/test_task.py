"""The task of domain generalization: which images are seen, which pass is shared, and what never reaches training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tasks.dg.small import BATCH, N_SOURCE, N_TARGET, run, small_data, small_task
from uda.batch import Batch
from uda.clock import Clock
from uda.ssl.functional import entropy
from uda.tasks.dg import DomainGeneralization
from uda.tasks.dg.task import ESTIMATE, fold
from uda.tasks.supervised import joined

CLOCK = Clock(3, 20, seed=0)


def batches(task: DomainGeneralization, step: int = 3) -> dict[str, Batch]:
    return {name: stream.batch(step) for name, stream in task.streams().items()}


def passes(task: DomainGeneralization) -> list[int]:
    """Return a list to which each forward pass of the encoder adds its number of images."""
    found: list[int] = []
    task.encoder.register_forward_pre_hook(lambda _, arguments: found.append(len(arguments[0])))
    return found


@pytest.mark.parametrize("draw", ["shuffled", "balanced"])
def test_images_kept_for_validation_are_never_drawn(draw: str) -> None:
    task = small_task(draw=draw)
    rows = np.concatenate([task.streams()["source"].batch(step).index.numpy() for step in range(60)])
    assert set(rows) == set(range(N_SOURCE)) - {0, 13, 26}
    assert set(task.streams()) == {"source"}


def test_balanced_draws_domains_alike_however_many_images_they_have() -> None:
    data = small_data()
    data = replace(data, domains=np.where(np.arange(N_SOURCE) < 30, 0, 1))
    share = {}
    for draw in ("shuffled", "balanced"):
        stream = small_task(data=data, draw=draw).streams()["source"]
        rows = np.concatenate([stream.batch(step).index.numpy() for step in range(100)])
        share[draw] = float((data.domains[rows] == 1).mean())
    assert share["shuffled"] == pytest.approx(6 / 33, abs=0.02)
    assert share["balanced"] == pytest.approx(0.5, abs=0.05)


def test_the_puzzle_and_the_class_loss_share_one_pass_over_ordered_images() -> None:
    task = small_task(objectives=("jigsaw",)).eval()
    seen, own = passes(task), batches(task)
    losses = task(own, "all", CLOCK)
    assert seen == [BATCH]
    views = task.objectives[0].views(own["source"], CLOCK)
    ordered = views.ordered
    assert ordered is not None
    assert 0 < ordered.sum() < BATCH
    logits = task.method.classifier(task.encoder(views.images))
    wanted = F.cross_entropy(logits[ordered], own["source"].labels[ordered])
    assert losses["classification"].item() == pytest.approx(wanted.item(), rel=1e-5)
    official = small_task(objectives=("jigsaw",), on_all=True).eval()(own, "all", CLOCK)
    assert official["classification"].item() == pytest.approx(
        F.cross_entropy(logits, own["source"].labels).item(), 1e-5
    )
    assert official["jigsaw"].item() == pytest.approx(losses["jigsaw"].item(), rel=1e-6)


def test_a_placebo_leaves_the_class_loss_as_it_is() -> None:
    own = batches(small_task())
    found = [small_task(objectives=(name,)).eval()(own, "all", CLOCK) for name in ("jigsaw", "placebo:jigsaw")]
    assert found[0]["classification"].item() == found[1]["classification"].item()
    assert found[0]["jigsaw"].item() != found[1]["placebo:jigsaw"].item()


def test_without_an_ordered_image_there_is_no_class_loss() -> None:
    never = {"form": "assembled", "bias_whole_image": 0.0, "permutations": 1000}
    task = small_task("irm", objectives=("jigsaw",), objective_options=never).eval()
    losses = task(batches(task), "all", CLOCK)
    assert not task.objectives[0].views(batches(task)["source"], CLOCK).ordered.any()
    assert (losses["classification"].item(), losses["invariance"].item()) == (0.0, 0.0)


def test_rotation_shares_its_upright_quarter_and_mixup_has_a_pass_of_its_own() -> None:
    task = small_task(objectives=("rotation",)).eval()
    seen = passes(task)
    alone, beside = small_task().eval()(batches(task), "all", CLOCK), task(batches(task), "all", CLOCK)
    assert seen == [4 * BATCH]
    assert beside["classification"].item() == pytest.approx(alone["classification"].item(), rel=1e-4)
    mixing = small_task("mixup", objectives=("rotation",)).eval()
    seen = passes(mixing)
    mixing(batches(mixing), "all", CLOCK)
    assert seen == [4 * BATCH, BATCH]


def test_with_adapt_the_target_joins_the_puzzle_and_its_entropy_is_minimized() -> None:
    task = small_task(objectives=("jigsaw",), adapt=True, entropy_weight=0.5).eval()
    own = batches(task)
    assert own["target"].labels is None
    seen = passes(task)
    losses = task(own, "all", CLOCK)
    assert seen == [2 * BATCH]
    joint = joined(own["source"], own["target"], N_SOURCE)
    assert joint.index[BATCH:].tolist() == (own["target"].index + N_SOURCE).tolist()
    views = task.objectives[0].views(joint, CLOCK)
    logits = task.method.classifier(task.encoder(views.images))[BATCH:][views.ordered[BATCH:]]
    assert losses["target_entropy"].item() == pytest.approx(0.5 * entropy(logits).mean().item(), rel=1e-4)


@pytest.mark.parametrize("adapt", [False, True])
def test_target_labels_never_reach_training_or_selection(tmp_path: Path, adapt: bool) -> None:
    """Two runs whose target labels differ end with the same weights and the same figures on source images."""
    ends = []
    for number, labels in enumerate((np.arange(N_TARGET) % 3, (np.arange(N_TARGET) + 1) % 3)):
        task = small_task("rsc", ("jigsaw",), small_data(labels), adapt=adapt)
        metrics = run(task, tmp_path / str(number), evaluate_every=1)
        assert task.last_answer is not None
        assert metrics["accuracy"] == (task.last_answer.closed == labels).mean()
        ends.append((task.state_dict(), metrics))
    (ours, mine), (theirs, others) = ends
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert mine["source_accuracy"] == others["source_accuracy"]


def test_figures_are_those_of_the_answers() -> None:
    task = small_task()
    metrics = task.evaluate()
    answer = task.answer(task.data.target)
    assert metrics["accuracy"] == float((answer.closed == task.data.target_labels).mean())
    assert (answer.predictions == answer.closed).all()  # nothing is rejected
    kept = task.data.source.batch(task.data.held_out)
    with torch.no_grad():
        named = task.eval().method.classifier(task.encoder(kept.float() / 255)).argmax(1).numpy()
    assert metrics["source_accuracy"] == float((named == task.data.labels[task.data.held_out]).mean())
    unlabelled = small_task(data=small_data(np.full(N_TARGET, -1))).evaluate()
    assert (unlabelled["accuracy"], unlabelled["per_class_accuracy"], unlabelled["ece"]) == (None, None, None)


def test_a_fold_holds_the_other_domains_and_is_tested_on_the_one_left_out() -> None:
    data = small_data()
    part = fold(data, 1)
    assert set(part.domains) == {0, 2}
    assert part.held_out.tolist() == [0, 14]  # rows 0 and 26 of 36, of which 12 … 23 are gone
    assert torch.equal(part.source.batch(part.held_out), data.source.batch(np.array([0, 26])))
    assert torch.equal(part.target.batch(np.arange(12)), data.source.batch(np.arange(12, 24)))
    assert part.target_labels.tolist() == data.labels[12:24].tolist()
    assert (part.groups, part.target_groups) == (None, None)
    grouped = fold(replace(data, groups=np.arange(36), target_groups=np.arange(100, 100 + N_TARGET)), 1)
    assert grouped.groups is not None
    assert grouped.groups.tolist() == [*range(12), *range(24, 36)]
    assert grouped.target_groups is not None
    assert grouped.target_groups.tolist() == list(range(12, 24))


def test_estimates_stand_beside_the_figures_of_their_step(tmp_path: Path) -> None:
    task = small_task()
    task.start_estimates({1: 0.25, 2: 0.75}, steps=2)
    assert run(task, tmp_path, steps=2, evaluate_every=1)[ESTIMATE] == 0.75
    history = (tmp_path / "history.csv").read_text().splitlines()
    column = history[0].split(",").index(ESTIMATE)
    assert [line.split(",")[column] for line in history[1:]] == ["0.25", "0.75"]


@pytest.mark.parametrize("name", ["simclr", "deepcluster", "kcl", "colorization"])
def test_any_objective_may_stand_in_the_place_of_the_puzzle(name: str) -> None:
    task = small_task("rsc", (name,))
    task.train()
    task.prepare(Clock(0, 20, 0, BATCH, N_SOURCE))
    losses = task(batches(task, 0), "all", Clock(0, 20, 0, BATCH, N_SOURCE))
    torch.stack(list(losses.values())).sum().backward()
    task.after_step()
    assert set(losses) == {"classification", name}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.encoder.parameters())
