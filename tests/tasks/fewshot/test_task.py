"""Few-shot boosting: what a step draws, which pass is shared, and how novel classes are tested."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tasks.unida.small import SIZE, pixels_of
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import create_encoder
from uda.nn.heads import ResidualHead, ScaledCosineClassifier
from uda.probes.episodes import evaluate_episodes, sample_episodes
from uda.ssl import Info, find_objective
from uda.ssl.random_views import Weak
from uda.ssl.views import NoAugmentation
from uda.tasks.fewshot import METHODS, Fewshot, FewshotData, Protocol
from uda.tasks.fewshot.prototypical import episode_logits

N, N_NOVEL, BATCH = 40, 36, 12
CLOCK = Clock(3, 20, seed=0)
HELD_OUT = np.array([0, 1, 2, 3])


def small_data() -> FewshotData:
    labels, novel = np.arange(N) % 4, np.arange(N_NOVEL) % 3
    given = labels.copy()
    given[HELD_OUT] = -1
    base, new = pixels_of(labels, seed=1), pixels_of(novel + 4, seed=2)
    names = ("ant", "bee", "cow", "doe"), ("elk", "fox", "gnu")
    return FewshotData(base, given, labels, HELD_OUT, new, novel, *names)


def small_task(
    method: str = "cosine",
    objectives: tuple[str, ...] = (),
    data: FewshotData | None = None,
    objective_options: dict[str, Any] | None = None,
    **options: Any,
) -> Fewshot:
    data, view = data or small_data(), NoAugmentation(SIZE)
    torch.manual_seed(0)
    encoder = create_encoder("smallconv", "none", SIZE)
    torch.manual_seed(1)
    made = METHODS[method](encoder, 4, **options)
    seen = N + (len(data.unlabelled) if data.unlabelled is not None else 0)
    info = Info(seen, 4, SIZE, 0, view, Weak(SIZE))
    heads = [(find_objective(name)(encoder, info, **(objective_options or {})), 1.0) for name in objectives]
    protocol = Protocol(ways=3, shots=(1, 2), queries=4, episodes=50)
    return Fewshot(encoder, made, heads, data, protocol, view, BATCH, seed=0)


def step(task: Fewshot) -> dict[str, Any]:
    return task({name: stream.batch(3) for name, stream in task.streams().items()}, "all", CLOCK)


def test_base_images_kept_for_validation_are_never_drawn() -> None:
    for method, options in (("cosine", {}), ("prototypical", {"train_ways": 3, "train_shots": 2})):
        stream = small_task(method, **options).streams()["base"]
        rows = np.concatenate([stream.batch(number).index.numpy() for number in range(40)])
        assert set(rows) == set(range(N)) - set(HELD_OUT)


def test_the_cosine_classifier_by_hand() -> None:
    head = ScaledCosineClassifier(2, 2, scale=10.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [3.0, 3.0]]))
    # (1, 0) is at cosine 1 to the first row and √½ to the second, times 10; lengths count for nothing
    assert head(torch.tensor([[5.0, 0.0]]))[0].tolist() == pytest.approx([10.0, 7.0710678])


def test_rotation_on_the_unpooled_map_shares_its_upright_quarter() -> None:
    task = small_task(objectives=("rotation",), objective_options={"head": "block"}).eval()
    seen: list[int] = []
    task.encoder.backbone.stages.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    losses = step(task)
    assert seen == [4 * BATCH]  # one pass gives the map, its mean the features
    alone = step(small_task().eval())
    assert losses["classification"].item() == pytest.approx(alone["classification"].item(), rel=1e-4)
    head = task.objectives[0].head
    assert isinstance(head, ResidualHead)
    maps = torch.randn(2, 128, 2, 2, generator=torch.Generator().manual_seed(0))
    wanted = head.classifier((maps + head.block(maps)).relu().mean((2, 3)))
    assert torch.equal(head(maps), wanted)


def test_a_head_on_the_map_wants_a_backbone_that_gives_one() -> None:
    encoder = create_encoder("smallvit", "none", 32)
    info = Info(8, 0, 32, 0, NoAugmentation(32), Weak(32))
    with pytest.raises(UserError, match="choose a convolutional --backbone, or head=linear"):
        find_objective("rotation")(encoder, info, head="block")


def test_episodes_of_training_by_hand() -> None:
    # Two ways, one support image each: (0, 0) and (4, 0). The query (1, 0) is at squared distance 1 and 9.
    features = torch.tensor([[0.0, 0], [1, 0], [4, 0], [4, 2]])
    assert episode_logits(features, 2, 1).tolist() == [[-1.0, -9.0], [-20.0, -4.0]]
    means = torch.tensor([[0.0, 0], [2, 0], [1, 1], [5, 5], [7, 5], [6, 5]])
    assert episode_logits(means, 2, 2).tolist() == [[-1.0, -41.0], [-50.0, 0.0]]


def test_a_training_step_of_prototypes_is_one_episode() -> None:
    task = small_task("prototypical", train_ways=3, train_shots=2).eval()
    batch = task.streams()["base"].batch(3)
    ways = batch.labels.view(3, 4)
    assert (ways == ways[:, :1]).all()
    assert len(ways[:, 0].unique()) == 3
    losses = step(task)
    logits = episode_logits(task.encoder(task.augment(batch, CLOCK)), 3, 2)
    wanted = F.cross_entropy(logits, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert losses["episode"].item() == pytest.approx(wanted.item(), rel=1e-4)
    losses["classification"].backward()
    assert all(p.grad is None for p in task.encoder.parameters())  # it only watches
    with pytest.raises(UserError, match="give --batch-size 15 or more"):
        small_task("prototypical", train_ways=5, train_shots=2).streams()


def test_unlabelled_images_join_the_objectives_alone() -> None:
    data = replace(small_data(), unlabelled=pixels_of(np.arange(20) % 8, seed=5))
    task = small_task(objectives=("rotation",), data=data).eval()
    streams = task.streams()
    assert streams["unlabelled"].batch(3).labels is None
    seen: list[int] = []
    task.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    losses = step(task)
    assert seen == [8 * BATCH]
    alone = step(small_task().eval())
    assert losses["classification"].item() == pytest.approx(alone["classification"].item(), rel=1e-4)
    assert set(small_task(data=data).streams()) == {"base"}  # nothing would learn from them
    assert len(task.learned()) == N + 20


def test_novel_classes_are_tested_on_the_same_episodes_for_every_model() -> None:
    task, other = small_task(), small_task("linear")
    metrics = task.evaluate()
    features = torch.from_numpy(task.answer(task.data.novel).features)
    for tested, shots in zip(task.tested, (1, 2), strict=True):
        episodes = sample_episodes(task.data.novel_labels, 50, 3, shots, 4)
        assert torch.equal(tested.episodes.query, episodes.query)
        assert metrics[f"novel_accuracy_{shots}"] == pytest.approx(evaluate_episodes(features, episodes).mean)
        assert set(tested.by_classifier) == {"cosine", "euclidean", "nearest", "logistic", "finetune"}
    other.evaluate()
    assert torch.equal(other.tested[0].episodes.support, task.tested[0].episodes.support)
    assert metrics["base_accuracy"] == (task.answer(task.data.images).closed == task.data.true_labels)[HELD_OUT].mean()


def test_evaluations_during_training_have_fewer_episodes() -> None:
    task = small_task()
    task.protocol = replace(task.protocol, episodes=900)
    step(task)
    task.evaluate()
    assert len(task.tested[0].episodes) == 200
    assert set(task.tested[0].by_classifier) == {"cosine"}
    task.step = task.total
    task.evaluate()
    assert len(task.tested[0].episodes) == 900
