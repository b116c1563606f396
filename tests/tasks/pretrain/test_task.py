"""What pre-training draws, sees of labels, exports and measures."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tasks.pretrain import small
from tests.tiny import table
from uda.clock import Clock
from uda.metrics import uniformity
from uda.tasks.pretrain import Pretrain
from uda.tasks.pretrain.task import RECENT

DINO = {"dino": {"prototypes": 16, "hidden": 32, "bottleneck": 16, "local_crops": 0, "momentum": 1.0}}
TENTH = {"data": {"labels": "6"}, "method": "supervised"}


def step(task: Pretrain, number: int = 0) -> dict[str, Tensor]:
    clock = Clock(number, 12, 0, 6, 24)
    task.prepare(clock)
    batches = {name: stream.batch(number) for name, stream in task.streams().items()}
    losses = task(batches, "all", clock)
    task.after_step()
    return losses


# what is drawn


def test_every_image_is_drawn_once_an_epoch_and_no_label_where_none_is_used() -> None:
    task = small.task(small.recipe({"objectives": ["simclr"]}))
    assert set(task.streams()) == {"images"}
    drawn = torch.cat([task.streams()["images"].batch(number).index for number in range(4)])
    assert sorted(drawn.tolist()) == list(range(24))


def test_with_a_share_of_labels_the_others_are_in_no_batch() -> None:
    task = small.task(small.recipe(TENTH, {"objectives": ["rotation"]}))
    streams = task.streams()
    assert set(streams) == {"images", "labelled"}
    known = set(np.flatnonzero(task.pool.usable >= 0).tolist())
    assert len(known) == 6
    assert np.bincount(task.pool.usable[sorted(known)]).tolist() == [2, 2, 2]
    for number in range(8):
        labelled, images = (streams[name].batch(number) for name in ("labelled", "images"))
        assert set(labelled.index.tolist()) <= known
        assert labelled.labels is not None
        assert torch.equal(labelled.labels, labelled.index // 8)  # 8 images of each class, one class after another
        assert images.labels is not None
        hidden = torch.tensor([row not in known for row in images.index.tolist()])
        assert (images.labels[hidden] == -1).all()


def test_poisoned_labels_change_no_weight(tmp_path: Path) -> None:
    trained, metrics = [], []
    for name in ("true", "poisoned"):
        task = small.task(small.recipe(TENTH, {"objectives": ["rotation"], "training": {"steps": 3}}))
        if name == "poisoned":
            labels = np.where(task.pool.usable >= 0, task.pool.labels, np.arange(24) % 3)
            task.pool = dataclasses.replace(task.pool, labels=labels)
        metrics.append(small.run(small.recipe({"training": {"steps": 3}}), tmp_path / name, task))
        trained.append({key: value.clone() for key, value in task.state_dict().items()})
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])
    assert metrics[0]["knn_accuracy"] != metrics[1]["knn_accuracy"]  # the poison did reach the evaluation


def test_images_whose_label_is_hidden_are_no_class() -> None:
    losses = []
    for hidden in (np.full(24, -1), 100 + np.arange(24)):  # as they come, and each a class of its own
        task = small.task(small.recipe(TENTH, {"objectives": ["kcl"]}))
        task.pool = dataclasses.replace(task.pool, usable=np.where(task.pool.usable >= 0, task.pool.usable, hidden))
        batch = task.streams()["images"].batch(0)
        losses.append(task.objectives[0](task.encoder, batch, Clock(0, 12, 0, 6, 24)).value.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_objectives_only_labelled_images_are_drawn() -> None:
    task = small.task(small.recipe(TENTH))
    assert set(task.streams()) == {"labelled"}
    assert set(step(task)) == {"classification"}


def test_images_are_drawn_uniformly_over_pseudo_classes_once_there_are_some() -> None:
    task = small.task(small.recipe({"objectives": {"deepcluster": {"clusters": 2}}}))
    task.objectives[0].assignments.copy_(torch.tensor([0] * 22 + [1] * 2))
    drawn = torch.cat([task.streams()["images"].batch(number).index for number in range(100)])
    rare = (drawn >= 22).float().mean().item()
    # 600 draws, half of them of the rare cluster; standard deviation √(¼ ÷ 600) = 0.0204
    assert abs(rare - 0.5) < 4 * 0.0204


# losses and parameters


def test_losses_carry_their_weights() -> None:
    once, twice = (
        step(small.task(small.recipe({"objectives": {"rotation": {"weight": weight}}})))["rotation"].item()
        for weight in (1, 2)
    )
    assert twice == pytest.approx(2 * once)


def test_every_parameter_has_one_place_and_vectors_are_not_decayed() -> None:
    task = small.task(small.recipe(TENTH, {"objectives": ["byol"]}))
    (groups,) = task.players().values()
    assert [group.get("weight_decay") for group in groups] == [None, 0.0]
    assert all(p.ndim <= 1 for p in groups[1]["params"])
    placed = [id(p) for group in groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in task.parameters() if p.requires_grad)
    assert len(placed) < len(list(task.parameters()))  # the teacher has no place


def test_prepare_says_what_restarts() -> None:
    task = small.task(small.recipe({"objectives": {"deepcluster": {"clusters": 4}}}))
    assert task.prepare(Clock(1, 12, 0, 6, 24)) is None
    restarted = task.prepare(Clock(4, 12, 0, 6, 24))
    assert restarted is not None
    assert {id(p) for p in restarted} == {id(p) for p in task.objectives[0].head.parameters()}
    assert task.encoder.training


# what is measured


def test_figures_are_those_of_the_features_and_nothing_is_disturbed() -> None:
    task = small.task(small.recipe({"objectives": ["rotation"]}))
    task.train()
    before = {key: value.clone() for key, value in task.state_dict().items()}
    metrics = task.evaluate()
    assert task.encoder.training
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
    features = task.encode(task.pool.images)
    assert features.shape == (24, 128)
    assert metrics["uniformity"] == pytest.approx(uniformity(features))
    # Colors tell the classes apart; with 24 images and k 200 all of them vote, weighted by similarity.
    accuracy, interval = metrics["knn_accuracy"], task.last_intervals["knn_accuracy"]
    assert accuracy is not None
    assert interval is not None
    assert 0 <= interval[0] <= accuracy <= interval[1] <= 1
    assert tuple(metrics) == task.metric_names


def test_figures_of_a_large_pool_are_spread_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # A folder comes class by class: its first images would be of one class.
    monkeypatch.setattr("uda.tasks.pretrain.task._PAIRS", 3)
    task = small.task(small.recipe({"objectives": ["rotation"]}))
    features = task.encode(task.pool.images)
    # three of 24 rows: 0, 11.5 and 23, halves rounded to even
    assert task.evaluate()["uniformity"] == pytest.approx(uniformity(features[[0, 12, 23]]))


def test_a_test_split_is_what_is_tested_on_but_for_its_unlabelled_images() -> None:
    test = table("test", small.KINDS, 4, noise=21)
    spoiled = dataclasses.replace(test, labels=np.where(np.arange(12) % 4 == 0, -1, test.labels))
    found = {}
    for name, images in (("all", test), ("some", spoiled)):
        task = small.task(small.recipe(TENTH), test=images)
        found[name] = task.evaluate() | {"rows": len(task.pool.test_labels)}
        answers = task.classify(task.pool.test_images).numpy()
        known = images.labels >= 0
        assert found[name]["accuracy"] == pytest.approx((answers == images.labels)[known].mean())
    assert found["all"]["rows"] == found["some"]["rows"] == 12
    right = round(12 * found["all"]["knn_accuracy"])
    assert round(9 * found["some"]["knn_accuracy"]) >= right - 3  # the three without a label are not taken for errors


def test_without_labels_there_is_no_accuracy() -> None:
    images = dataclasses.replace(table("new", small.KINDS, 8), labels=np.full(24, -1), classes=())
    task = small.task(small.recipe({"objectives": ["rotation"]}), images=images)
    metrics = task.evaluate()
    assert metrics["knn_accuracy"] is None
    assert metrics["feature_std"] is not None
    # One labelled image has no other to be compared with.
    task.pool = dataclasses.replace(task.pool, labels=np.where(np.arange(24) == 3, 0, -1), class_names=("a",))
    assert task.evaluate()["knn_accuracy"] is None


def test_the_teacher_is_measured_and_exported_and_the_classifier_keeps_the_student() -> None:
    task = small.task(small.recipe(TENTH, {"objectives": DINO}), test=table("test", small.KINDS, 2, noise=21))
    with torch.no_grad():
        for parameter in task.encoder.parameters():  # far from the teacher now
            parameter.copy_(parameter.flip(0))
    exported = task.exported()
    assert exported is task.objectives[0].teacher.module[0]
    images = task.pool.images
    student, teacher = task.encode(images, encoder=task.encoder), task.encode(images)
    assert not torch.allclose(student, teacher)
    assert torch.equal(task.encode(images, encoder=exported), teacher)
    assert torch.equal(task.classify(images), task.method.classifier(student).argmax(1))
    assert small.task(small.recipe({"objectives": ["rotation"]})).exported().training  # the trained one itself


# the collapse watch


def test_images_that_are_all_alike_collapse() -> None:
    task = small.task(small.recipe({"objectives": ["rotation"]}), images=small.constant())
    task.evaluate()
    assert [text for text in task.warnings if "hardly differ between images" in text]
    assert task.last_metrics is not None
    assert task.last_metrics["feature_std"] == pytest.approx(0, abs=1e-5)
    healthy = small.task(small.recipe({"objectives": ["rotation"]}))
    healthy.evaluate()
    assert not [text for text in healthy.warnings if "hardly differ" in text]


def test_each_objective_has_a_warning_of_its_own() -> None:
    task = small.task(small.recipe({"objectives": ["rotation", "simsiam", "location"]}))
    task.evaluate()
    without_losses = list(task.warnings)
    # rotation at ln 4 = 1.386, SimSiam with no value that would be chance, location at ln 8 = 2.079
    task.recent[:, 0] = torch.tensor([1.38, -0.5, 2.09])
    task.chance[:, 0] = torch.tensor([1.3863, torch.inf, 2.0794])
    task.evaluate()
    said = task.warnings[len(without_losses) :]
    assert task.warnings[: len(without_losses)] == without_losses
    assert [text.split(":")[0] for text in said] == ["rotation", "location"]
    assert "the loss 1.38 sits at chance (1.386)" in said[0]


def test_the_losses_of_the_last_steps_are_averaged() -> None:
    task = small.task(small.recipe({"objectives": ["rotation"]}))
    task.evaluate()
    without_losses = list(task.warnings)
    task.chance[0, 0] = math.log(4)
    # one mini-batch at chance, 19 far below: (1.3863 + 19 · 0.9) / 20 = 0.924
    task.recent.fill_(0.9)
    task.recent[0, 7] = math.log(4)
    task.evaluate()
    assert task.warnings == without_losses
    # one far below, 19 above: (0.9 + 19 · 1.5) / 20 = 1.47
    task.recent.fill_(1.5)
    task.recent[0, 7] = 0.9
    task.evaluate()
    assert [text for text in task.warnings if "rotation: the loss 1.47 is above chance (1.386)" in text]


def test_that_a_placebo_learns_nothing_is_no_warning() -> None:
    task = small.task(small.recipe({"objectives": ["placebo:rotation"]}))
    task.recent.fill_(math.log(4))
    task.chance[0, 0] = math.log(4)
    task.evaluate()
    assert not [text for text in task.warnings if "nothing is being learned" in text]


def test_a_step_notes_losses_and_what_chance_or_constant_embeddings_would_cost() -> None:
    recipe = small.recipe({"objectives": {"location": {"weight": 3}, "simsiam": {}, "triplet": {"margin": 0.7}}})
    task = small.task(recipe)
    assert torch.isinf(task.recent).all()
    losses, later = step(task), step(task, 3)
    found = task.recent.isfinite()
    assert found.nonzero()[:, 1].tolist() == [0, 3] * 3
    assert task.recent[0, [0, 3]].tolist() == pytest.approx([x["location"].item() / 3 for x in (losses, later)])
    assert task.recent[1, 0].item() == pytest.approx(losses["simsiam"].item(), rel=1e-5)
    levels = torch.tensor([[math.log(8), torch.inf], [torch.inf, torch.inf], [torch.inf, 0.7]])
    assert torch.equal(task.chance, levels)
    step(task, RECENT + 3)  # the oldest makes room
    assert task.recent.isfinite().sum().item() == 6
    assert task.recent[0, 3].item() != pytest.approx(later["location"].item() / 3)


def test_what_objectives_see_is_shown() -> None:
    task = small.task(small.recipe({"objectives": ["simclr", "jigsaw"]}))
    shown = dict(task.shown_views(4))
    assert set(shown) == {"simclr", "jigsaw"}
    assert shown["simclr"].shape == (8, 3, 32, 32)  # two views of four images
