import pytest
import torch

from tests.ssl import small
from uda.ssl.siamese import Siamese


@pytest.mark.parametrize(("hinge", "within"), [("squared", 2.25), ("plain", 1.75)])
def test_pairs_of_one_image_and_pairs_with_the_next(hinge: str, within: float) -> None:
    objective = small.made(Siamese, small.encoder(), margin=2.0, hinge=hinge, projection=2)
    with torch.no_grad():
        objective.projector.weight.copy_(torch.eye(2, 128))
        objective.projector.bias.zero_()
    features = torch.zeros(6, 128)
    features[:, 0] = torch.tensor([0.0, 4.0, 9.0, 0.5, 4.0, 8.0])  # a: 0, 4, 9; b: .5, 4, 8
    views = objective.views(small.batch(3), small.CLOCK)
    # same: .25, 0, 1; others: a with the b before it, 0–8, 4–.5, 9–4: all beyond the margin
    assert objective.loss(features, views).value.item() == pytest.approx(1.25 / 6)
    features[:, 0] = torch.tensor([0.0, 4.0, 9.0, 0.5, 4.0, 0.5])
    # same: .25, 0, 72.25; 0–.5 is within: (2 − .5)² or 2 − .5²
    assert objective.loss(features, views).value.item() == pytest.approx((72.5 + within) / 6)


@pytest.mark.parametrize("hinge", ["squared", "plain"])
def test_a_collapsed_network_has_the_value_of_constant_embeddings(hinge: str) -> None:
    objective = small.made(Siamese, small.encoder(), margin=3.0, hinge=hinge)
    loss = objective.loss(torch.ones(8, 128), objective.views(small.batch(4), small.CLOCK))
    assert loss.constant == {"squared": 4.5, "plain": 1.5}[hinge]
    assert loss.value.item() == pytest.approx(loss.constant)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    network = small.encoder()
    first, last = small.falls_on_fixed_batch(small.made(Siamese, network), network, small.batch())
    assert small.gradient_reaches(network)
    assert last < 0.5 * first


def test_the_placebo_has_other_pairs() -> None:
    assert small.placebo_differs(Siamese, small.batch())
