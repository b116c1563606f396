import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from tests.ssl import small
from uda.ssl.exemplar import Exemplar
from uda.ssl.seeded import SeededViews


def test_every_image_is_a_class() -> None:
    network, batch = small.encoder(), small.batch(8)
    objective = small.made(Exemplar, network)
    views = objective.views(batch, small.CLOCK)
    features = network(views.images)
    loss = objective.loss(features, views)
    logits = features @ objective.head.weight.T + objective.head.bias
    assert loss.value.item() == pytest.approx(F.cross_entropy(logits, batch.index).item(), rel=1e-6)
    assert loss.chance == math.log(16)
    assert loss.accuracy is not None
    assert loss.accuracy.item() == (logits.argmax(1) == batch.index).float().mean().item()


def test_sampled_by_hand() -> None:
    network, batch = small.encoder(), small.batch(8)
    objective = small.made(Exemplar, network, sampled=5)
    views = objective.views(batch, small.CLOCK)
    assert isinstance(views, SeededViews)
    drawn = views.rows(16, 5).tolist()
    features = network(views.images)
    logits = objective.head(features)
    expected = 0.0
    for i in range(8):  # each of the 5 stands for 16/5 of the 16
        others = sum(math.exp(logits[i, j].item()) * 16 / 5 for j in drawn if j != i)
        expected -= math.log(math.exp(logits[i, i].item()) / (math.exp(logits[i, i].item()) + others)) / 8
    assert objective.loss(features, views).value.item() == pytest.approx(expected, rel=1e-5)


def test_an_image_whose_only_draw_is_itself_has_a_loss_and_no_gradient() -> None:
    network, batch = small.encoder(), small.batch(1)
    objective = small.made(Exemplar, network, sampled=1)
    views = dataclasses.replace(objective.views(batch, small.CLOCK))
    assert isinstance(views, SeededViews)
    views = dataclasses.replace(views, index=views.rows(16, 1))
    loss = objective.loss(network(views.images), views).value
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert all(p.grad is None or p.grad.isfinite().all() for p in (*network.parameters(), *objective.parameters()))


def test_the_sampled_sum_estimates_the_whole() -> None:
    network, batch = small.encoder().eval(), small.batch()
    full = small.made(Exemplar, network)(network, batch, small.CLOCK).value.item()
    objective = small.made(Exemplar, network, sampled=12)
    views = objective.views(batch, small.CLOCK)
    features = network(views.images).detach()
    values = [
        objective.loss(features, objective.views(batch, small.Clock(step, 500, 1))).value.item() for step in range(40)
    ]
    assert sum(values) / 40 == pytest.approx(full, rel=0.03)
    assert torch.tensor(values).std() > 0


def test_as_many_samples_as_images_are_all_of_them() -> None:
    network, batch = small.encoder().eval(), small.batch()
    full, sampled = (small.made(Exemplar, network, sampled=count) for count in (None, 16))
    assert torch.equal(full(network, batch, small.CLOCK).value, sampled(network, batch, small.CLOCK).value)


@pytest.mark.parametrize("sampled", [None, 8])
def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch(sampled: int | None) -> None:
    network = small.encoder()
    objective = small.made(Exemplar, network, sampled=sampled)
    first, last = small.falls_on_fixed_batch(objective, network, small.batch(), lr=0.2)
    assert small.gradient_reaches(network)
    assert last < 0.5 * first


@pytest.mark.parametrize("sampled", [None, 8])
def test_the_placebo_has_other_classes(sampled: int | None) -> None:
    assert small.placebo_differs(Exemplar, small.batch(), sampled=sampled)
