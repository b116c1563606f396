import math

import pytest
import torch

from tests.ssl import small
from tests.ssl.assigning import assign, continues_exactly
from uda.clock import Clock
from uda.nn.encoder import TimmEncoder
from uda.ssl.functional.clustering import self_label
from uda.ssl.placebo import placebo
from uda.ssl.self_label import SelfLabel
from uda.ssl.views import to_float

START = Clock(0, 10, 1, 16, 32)


def make(encoder: TimmEncoder, kind: type[SelfLabel] = SelfLabel) -> SelfLabel:
    torch.manual_seed(1)
    return kind(encoder, small.info(32), clusters=4, heads=3)


def test_labels_start_at_random_and_balanced() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    assert assign(objective, encoder, batch, START) == []
    for labels in objective.labels.T:
        assert torch.bincount(labels).tolist() == [8] * 4
    assert not torch.equal(objective.labels[:, 0], objective.labels[:, 1])
    assert objective.labels[:8, 0].unique().numel() > 1


def test_later_labels_are_the_transport_of_each_heads_own_answers() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    assert assign(objective, encoder, batch, Clock(4, 10, 1, 16, 32)) == []
    encoder.eval()
    with torch.no_grad():
        logits = objective.head(encoder(to_float(batch.images)))
    for head in range(3):
        own = logits[:, 4 * head : 4 * head + 4].log_softmax(1)
        assert torch.equal(objective.labels[:, head], self_label(own, 10))


def test_times_are_the_squares_and_no_more_than_there_are_epochs() -> None:
    objective = make(small.encoder())

    def due(total: int, images_per_step: int) -> list[int]:
        return [k for k in range(total) if objective.assign_due(Clock(k, total, 0, images_per_step, 32))]

    # 100 · 2 ÷ 32 = 6.25 epochs: (j/6)² of 100 steps is 0, 2.8, 11.1, 25, 44.4, 69.4
    assert due(100, 2) == [0, 3, 12, 25, 45, 70]
    # less than an epoch: four times nevertheless, (j/4)² of 16 steps
    assert due(16, 1) == [0, 1, 4, 9]
    objective.assignments = 2
    assert due(100, 2) == [0, 25]


def test_the_loss_is_the_mean_over_heads() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    objective.labels.copy_(torch.tensor([0, 1, 2]).repeat(32, 1))
    views = objective.views(small.batch(2), small.CLOCK)
    torch.nn.init.zeros_(objective.head.weight)
    with torch.no_grad():
        objective.head.bias.zero_()[4:8] = torch.tensor([0.0, math.log(3), 0.0, 0.0])
    found = objective.loss(torch.randn(2, encoder.dim), views)
    # heads 1 and 3 know nothing: log 4; head 2 says ½ for the label 1: log 2
    assert found.value.item() == pytest.approx((2 * math.log(4) + math.log(2)) / 3)
    assert found.accuracy == pytest.approx(2 / 3)  # head 1's argmax of zeros is 0, which is its label
    assert found.chance == pytest.approx(math.log(4))


def test_the_encoder_learns_its_labels() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    assign(objective, encoder, batch, Clock(4, 10, 1, 16, 32))
    first, last = small.falls_on_fixed_batch(objective, encoder, batch)
    assert small.gradient_reaches(encoder)
    assert last < 0.7 * first


def test_a_restored_copy_continues_exactly() -> None:
    clocks = [Clock(step, 6, 1, 32, 32) for step in range(6)]
    assert continues_exactly(SelfLabel, small.batch(32), clocks, clusters=4, heads=2)


def test_the_placebo_learns_the_labels_of_other_images() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    right, wrong = (make(encoder, kind) for kind in (SelfLabel, placebo(SelfLabel)))
    for objective in (right, wrong):
        assign(objective, encoder, batch, START)
    views, other = right.views(batch, START), wrong.views(batch, START)
    features = encoder(views.images)
    assert right.loss(features, views).value.item() != right.loss(features, other).value.item()
