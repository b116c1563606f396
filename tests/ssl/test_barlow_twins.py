import pytest
import torch

from tests.ssl import small
from uda.nn.encoder import TimmEncoder
from uda.ssl.barlow_twins import BarlowTwins
from uda.ssl.functional.redundancy import barlow_twins
from uda.ssl.placebo import placebo


def make(encoder: TimmEncoder, kind: type[BarlowTwins] = BarlowTwins) -> BarlowTwins:
    torch.manual_seed(1)
    return kind(encoder, small.info(), width=32)


def test_the_loss_compares_the_two_views() -> None:
    encoder = small.encoder()
    objective, batch = make(encoder), small.batch()
    views = objective.views(batch, small.CLOCK)
    assert torch.equal(views.images[16:], small.random_view(batch, small.CLOCK, "b"))
    features = encoder(views.images)
    a, b = objective.projector(features).chunk(2)
    found = objective.loss(features, views)
    assert found.value.item() == pytest.approx(barlow_twins(a, b, 0.0051).item(), rel=1e-5)


def test_a_collapsed_encoder_has_the_loss_of_constant_embeddings() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    views = objective.views(small.batch(), small.CLOCK)
    found = objective.loss(torch.ones(32, encoder.dim), views)
    assert found.value.item() == pytest.approx(32, rel=1e-3)
    assert found.constant == 32


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    encoder = small.encoder()
    first, last = small.falls_on_fixed_batch(make(encoder), encoder, small.batch(), lr=0.01)
    assert small.gradient_reaches(encoder)
    assert last < 0.8 * first


def test_a_restored_copy_continues_exactly() -> None:
    assert small.continues_exactly(BarlowTwins, small.batch(), width=32)


def test_the_placebo_compares_with_other_images() -> None:
    encoder = small.encoder()
    losses = [
        make(encoder, kind)(encoder, small.batch(), small.CLOCK).value.item()
        for kind in (BarlowTwins, placebo(BarlowTwins))
    ]
    assert losses[1] > losses[0]
