import pytest
import torch

from tests.ssl import small
from uda.ssl.functional.contrastive import hard_negative_nt_xent
from uda.ssl.hcl import HCL
from uda.ssl.simclr import SimCLR


def test_the_options_reach_the_loss() -> None:
    network = small.encoder()
    objective = small.made(HCL, network, temperature=0.4, tau_plus=0.05, beta=2.0)
    views = objective.views(small.batch(), small.CLOCK)
    features = network(views.images)
    a, b = objective.projector(features).chunk(2)
    assert torch.equal(objective.loss(features, views).value, hard_negative_nt_xent(a, b, 0.4, 0.05, 2.0))


def test_without_its_two_corrections_it_is_simclr() -> None:
    network, batch = small.encoder(), small.batch()
    values = [
        small.made(kind, network, **options)(network, batch, small.CLOCK).value.item()
        for kind, options in ((HCL, {"tau_plus": 0.0, "beta": 0.0}), (SimCLR, {}))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    network = small.encoder()
    first, last = small.falls_on_fixed_batch(small.made(HCL, network), network, small.batch())
    assert small.gradient_reaches(network)
    assert last < 0.7 * first


def test_the_placebo_has_other_positives() -> None:
    assert small.placebo_differs(HCL, small.batch())
