import math

import pytest
import torch

from tests.ssl import small
from uda.ssl.functional.contrastive import n_pair
from uda.ssl.npair import NPair


def test_the_loss_and_the_penalty_of_the_norms() -> None:
    network = small.encoder()
    objective = small.made(NPair, network, norm_penalty=0.1)
    views = objective.views(small.batch(), small.CLOCK)
    features = network(views.images)
    a, b = objective.projector(features).chunk(2)
    norms = sum(row.square().sum().item() for row in (*a, *b)) / 32
    assert objective.loss(features, views).value.item() == pytest.approx(n_pair(a, b).item() + 0.1 * norms, rel=1e-5)


def test_a_collapsed_network_has_the_value_of_chance() -> None:
    objective = small.made(NPair, small.encoder(), norm_penalty=0.0)
    loss = objective.loss(torch.ones(8, 128), objective.views(small.batch(4), small.CLOCK))
    assert loss.chance == math.log(4)
    assert loss.value.item() == pytest.approx(math.log(4), rel=1e-6)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    network = small.encoder()
    first, last = small.falls_on_fixed_batch(small.made(NPair, network), network, small.batch(), lr=0.003)
    assert small.gradient_reaches(network)
    assert last < 0.5 * first


def test_the_placebo_has_other_positives() -> None:
    assert small.placebo_differs(NPair, small.batch())
