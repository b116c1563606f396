import math

import pytest
import torch

from tests.ssl import small
from uda.ssl.functional.contrastive import info_nce
from uda.ssl.moco import MoCo


def test_keys_come_from_the_slow_encoder_and_are_compared_with_the_queue() -> None:
    network, batch = small.encoder(), small.batch()
    objective = small.made(MoCo, network, queue=40, temperature=0.3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)  # the slow encoder stays behind
    views = objective.views(batch, small.CLOCK)
    assert views.teacher is not None
    assert torch.equal(views.images, small.random_view(batch, small.CLOCK, "a"))
    assert torch.equal(views.teacher, small.random_view(batch, small.CLOCK, "b"))
    features = network(views.images)
    loss = objective.loss(features, views)
    keys = objective.slow_projector(objective.slow_encoder(views.teacher))
    assert isinstance(loss.carry, tuple)
    assert torch.equal(loss.carry[0], keys)
    assert torch.equal(loss.carry[1], batch.index)
    assert not keys.requires_grad
    assert torch.equal(loss.value, info_nce(objective.projector(features), keys, objective.queue.rows, 0.3))
    assert not torch.allclose(keys, objective.slow_projector(network(views.teacher)))
    assert loss.chance == math.log(41)


def test_it_is_lightlys_moco_loss() -> None:
    lightly = pytest.importorskip("lightly.loss")
    network, batch = small.encoder(), small.batch()
    objective = small.made(MoCo, network, queue=64)
    views = objective.views(batch, small.CLOCK)
    features = network(views.images)
    loss = objective.loss(features, views)
    oracle = lightly.NTXentLoss(0.2, memory_bank_size=(64, 128))
    oracle.memory_bank.bank = objective.queue.rows.clone()
    assert loss.value.item() == pytest.approx(oracle(objective.projector(features), loss.carry[0]).item(), rel=1e-6)


def test_the_slow_encoder_moves_before_and_the_queue_after_the_step() -> None:
    network = small.encoder()
    objective = small.made(MoCo, network, queue=40, momentum=0.9)
    slow = next(objective.slow_encoder.parameters())
    own = next(network.backbone.parameters())
    before = own.detach().clone()
    with torch.no_grad():
        own.add_(1.0)
    objective.before_step(network, small.CLOCK)
    assert torch.allclose(slow, before + 0.1, atol=1e-6)  # 0.9 · old + 0.1 · (old + 1)
    rows = objective.queue.rows.clone()
    loss = objective(network, small.batch(), small.CLOCK)
    assert torch.equal(objective.queue.rows, rows)
    objective.after_step(loss.carry)
    assert torch.allclose(objective.queue.rows[:16], torch.nn.functional.normalize(loss.carry[0]))
    assert objective.queue_ids.tolist() == [*range(16), *[-1] * 24]
    assert torch.equal(objective.queue.rows[16:], rows[16:])


@pytest.mark.parametrize(("queue", "own_count"), [(40, False), (16, True)])
def test_own_earlier_keys_are_no_negatives_where_the_queue_holds_more_than_all_images(
    queue: int, own_count: bool
) -> None:
    network, batch = small.encoder(), small.batch()  # of a table of 16 images
    objective = small.made(MoCo, network, queue=queue)
    objective.after_step(objective(network, batch, small.CLOCK).carry)
    views = objective.views(batch, small.CLOCK)
    features = network(views.images)
    loss = objective.loss(features, views)
    query, (keys, _), rows = objective.projector(features), loss.carry, objective.queue.rows
    own = torch.zeros(16, queue, dtype=torch.bool)
    own[:, :16] = torch.eye(16, dtype=torch.bool)  # the first 16 rows are the batch's keys of the step before
    expected = info_nce(query, keys, rows, 0.2, None if own_count else own)
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-6)


def test_no_gradient_reaches_the_slow_encoder() -> None:
    network = small.encoder()
    objective = small.made(MoCo, network)
    objective(network, small.batch(), small.CLOCK).value.backward()
    assert small.gradient_reaches(network)
    assert all(p.grad is None and not p.requires_grad for p in objective.slow_encoder.parameters())
    assert all(p.grad is None and not p.requires_grad for p in objective.slow_projector.parameters())


def test_the_loss_falls_on_a_fixed_batch() -> None:
    network, batch = small.encoder(), small.batch()
    objective = small.made(MoCo, network, queue=16)
    objective.after_step(objective(network, small.batch(seed=7), small.CLOCK).carry)
    # the queue keeps those other images: it holds no more than all, so that own earlier keys would be negatives
    optimizer = small.optimizer_of(objective, network)
    losses = []
    for _ in range(15):
        objective.before_step(network, small.CLOCK)
        loss = objective(network, batch, small.CLOCK).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_copy_from_the_state_continues_exactly() -> None:
    assert small.continues_exactly(MoCo, small.batch(), queue=40)


def test_the_placebo_has_other_keys() -> None:
    assert small.placebo_differs(MoCo, small.batch())
