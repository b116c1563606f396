from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.tasks.unida.clusters import clustered_task, trained_answer
from uda.clock import Clock
from uda.ssl.functional import adaptive_filling, sinkhorn, transport
from uda.tasks.unida import Features, Look, Setup, UniOt


def uniot(n_target: int = 10, **options: object) -> UniOt:
    torch.manual_seed(0)
    return UniOt(Setup(4, 2, n_target), bottleneck=3, prototypes=5, **options)  # type: ignore[arg-type]


def look(n: int = 10) -> Look:
    generator = torch.Generator().manual_seed(3)
    return Look(torch.randn(n, 4, generator=generator), torch.randn(n, 2, generator=generator))


def batch(index: list[int], seed: int = 1) -> Features:
    generator = torch.Generator().manual_seed(seed)
    source, target = torch.randn(2, len(index), 4, generator=generator)
    return Features(source, torch.arange(len(index)) % 2, target, torch.tensor(index))


def projected(method: UniOt, features: Tensor) -> Tensor:
    with torch.no_grad():
        return F.normalize(method.classifier.bottleneck(features))


def test_the_queue_starts_with_the_targets_features_and_is_no_longer() -> None:
    method, seen = uniot(queue=2000), look()
    method.prepare(Clock(0, 10), lambda: seen)
    assert sorted(method.remembered.tolist()) == list(range(10))
    assert torch.allclose(method.queue.rows, projected(method, seen.features)[method.remembered], atol=1e-6)
    assert len(uniot(queue=4).queue.rows) == 4


def test_the_oldest_features_make_room_for_the_steps() -> None:
    method = uniot(queue=5)
    method.prepare(Clock(0, 10), look)
    before = method.remembered.clone()
    features = batch([7, 2])
    method(features, Clock(0, 10))
    method.after_step(features)
    assert method.remembered.tolist() == [7, 2, *before[2:].tolist()]
    assert features.target is not None
    assert torch.allclose(method.queue.rows[:2], projected(method, features.target), atol=1e-6)


def test_no_image_is_its_own_neighbor() -> None:
    method = uniot(queue=3)
    method.queue.rows.copy_(torch.eye(3))
    method.remembered.copy_(torch.tensor([0, 1, 2]))
    target = F.normalize(torch.tensor([[1.0, 0.2, 0.0], [0.9, 0.0, 0.3], [0.0, 0.1, 1.0]]))
    # image 0 is nearest to row 0 of the queue, which is itself, then to the second of the batch; the third, image 5, to
    # row 2 of the queue
    nearest = method._nearest(target, torch.tensor([0, 4, 5]))
    assert torch.allclose(nearest[0], target[1])
    assert torch.equal(nearest[1], torch.eye(3)[0])
    assert torch.equal(nearest[2], torch.eye(3)[2])


def test_the_common_term_is_the_cross_entropy_of_those_above_both_means() -> None:
    method, features = uniot(queue=8, weight=2.0), batch([7, 2, 4, 1])
    method.prepare(Clock(0, 10), look)
    assert features.target is not None
    target = projected(method, features.target)
    with torch.no_grad():
        method.classifier.weight.copy_(target[:2])  # two images are as common as can be
    losses = method(features, Clock(0, 10))
    cosines = torch.cat([target, method.queue.rows]) @ target[:2].T
    rows, counts = adaptive_filling(cosines, target[:2], 0.7, given=4)
    there = counts > 0
    plan = transport(rows[there], counts[there], torch.full((2,), 0.5), 0.01, 0.5, 10).log.exp()
    plan = plan / (plan * counts[there, None]).sum()
    received = (plan * counts[there, None]).sum(0)
    chosen = []
    for i in range(4):
        label = int(plan[i].argmax())
        if plan[i, label] > 1 / counts.sum() and received[label] > 0.5:
            chosen.append(-(cosines[i] / 0.1).log_softmax(0)[label])
    assert 0 < len(chosen) < 4
    assert losses["common_classes"].item() == pytest.approx(2 * float(sum(chosen)) / len(chosen), rel=1e-4)
    method.after_step(features)
    assert torch.allclose(method.masses, 0.7 * torch.full((2,), 0.5) + 0.3 * received, atol=1e-5)


def test_the_private_term_is_the_mean_of_both_predictions() -> None:
    method, features = uniot(queue=8, weight=1.0), batch([7, 2, 4, 1])
    method.prepare(Clock(0, 10), look)
    assert features.target is not None
    assert features.index is not None
    target = projected(method, features.target)
    torch.manual_seed(5)
    drawn = method.queue.rows[torch.randint(8, (5,))]
    with torch.no_grad():
        logits = method.target_prototypes(torch.cat([target, method._nearest(target, features.index), drawn]))
    codes, said = sinkhorn(logits * 0.1, 0.05, 3), logits.log_softmax(1)
    everywhere = -(codes[:4] * said[:4]).sum(1).mean()
    nearby = -(codes[4:8] * said[:4] + codes[:4] * said[4:8]).sum(1).mean() / 2
    torch.manual_seed(5)
    found = method(features, Clock(0, 10))["private_classes"].item()
    assert found == pytest.approx((everywhere + nearby).item() / 2, rel=1e-4)


def test_the_plan_carries_no_gradient_to_the_source_side() -> None:
    method, features = uniot(), batch([0, 1, 2])
    method.prepare(Clock(0, 10), look)
    method(features, Clock(0, 10))["private_classes"].backward()
    assert method.classifier.weight.grad is None
    assert method.target_prototypes.weight.grad is not None
    assert method.classifier.bottleneck.weight.grad is not None


def test_scores_say_how_far_below_the_means_the_confidences_are() -> None:
    method, seen = uniot(), look(10)
    logits = method.classifier(seen.features).detach()
    method.remember(Look(seen.features, logits))
    rows, counts = adaptive_filling(logits * 0.1, F.normalize(method.classifier.weight.detach()), 0.7)
    there = counts > 0
    plan = transport(rows[there], counts[there], torch.full((2,), 0.5), 0.01, 0.5, 200).log.exp()
    total = (plan * counts[there, None]).sum()
    share = (plan * counts[there, None]).sum(0) / total
    probabilities, scores = method.answers(seen.features, logits, of_target=True)
    for i in range(10):
        best, label = (plan[i] / total).max(0)
        expected = 1 - min(best * counts.sum(), share[label] * 2).item()
        assert scores[i].item() == pytest.approx(expected, abs=1e-3)
        assert probabilities[i].tolist() == pytest.approx((plan[i] / plan[i].sum()).tolist(), abs=1e-4)
    assert method.fixed_threshold == 0.0


def test_on_clusters_the_private_ones_are_transported_least(tmp_path: Path) -> None:
    answer, private = trained_answer(clustered_task("uniot", bottleneck=16, prototypes=8), tmp_path)
    assert (answer.closed[~private] == [0] * 15 + [1] * 15).mean() > 0.95
    assert answer.scores[private].mean() > answer.scores[~private].mean() + 0.2
