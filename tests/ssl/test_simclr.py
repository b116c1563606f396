import math

import pytest
import torch

from tests.ssl import small
from uda.ssl.functional.contrastive import nt_xent
from uda.ssl.simclr import SimCLR


def test_two_views_in_one_pass_and_their_nt_xent() -> None:
    network, batch = small.encoder(), small.batch()
    objective = small.made(SimCLR, network, temperature=0.3)
    views = objective.views(batch, small.CLOCK)
    assert views.images.shape == (32, 3, 32, 32)
    a, b = (small.random_view(batch, small.CLOCK, view) for view in "ab")
    assert torch.equal(views.images, torch.cat([a, b]))
    loss = objective.loss(network(views.images), views)
    projected = objective.projector(network(views.images))
    assert torch.equal(loss.value, nt_xent(projected[:16], projected[16:], 0.3))
    assert projected.shape == (32, 128)


def test_a_collapsed_network_has_the_value_of_chance() -> None:
    objective = small.made(SimCLR, small.encoder())
    loss = objective.eval().loss(torch.ones(12, 128), objective.views(small.batch(6), small.CLOCK))
    assert loss.chance == math.log(11)
    assert loss.value.item() == pytest.approx(math.log(11), abs=1e-5)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    network = small.encoder()
    first, last = small.falls_on_fixed_batch(small.made(SimCLR, network), network, small.batch())
    assert small.gradient_reaches(network)
    assert last < 0.7 * first


def test_the_placebo_has_other_positives() -> None:
    assert small.placebo_differs(SimCLR, small.batch())


def test_a_copy_from_the_state_continues_exactly() -> None:
    assert small.continues_exactly(SimCLR, small.batch())


def test_it_runs_in_half_precision() -> None:
    network = small.encoder()
    with torch.autocast("cpu", torch.bfloat16):
        loss = small.made(SimCLR, network)(network, small.batch(2), small.CLOCK)
    loss.value.backward()
    assert loss.value.dtype == torch.float32
    assert small.gradient_reaches(network)


def test_without_normalization_raw_products_are_compared() -> None:
    # B = 1: each view has one positive and no negative, so the loss is 0; B = 2 by hand below.
    a, b = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    # Products at temperature 1 of the rows a1, a2, b1, b2: a1·b1 = 2, a2·b2 = 3, all others between images 0.
    by_hand = sum(math.log(math.exp(p) + 2) - p for p in (2, 3, 2, 3)) / 4
    assert nt_xent(a, b, 1.0, normalize=False).item() == pytest.approx(by_hand, rel=1e-6)


def test_without_a_projector_the_features_themselves_are_compared() -> None:
    encoder = small.encoder()
    objective = SimCLR(encoder, small.info(), projection=0)
    assert list(objective.parameters()) == []
