import pytest
import torch

from tests.ssl import small
from uda.ssl.triplet import Triplet


def test_the_other_view_against_the_next_image() -> None:
    objective = small.made(Triplet, small.encoder(), margin=0.5, projection=2)
    with torch.no_grad():
        objective.projector.weight.copy_(torch.eye(2, 128))
        objective.projector.bias.zero_()
    features = torch.zeros(4, 128)
    features[:, :2] = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0], [0.0, 5.0]])
    # on the sphere a = e1, e2 and b = e2, e2: 2 − 2 + .5 and 0 − 0 + .5
    views = objective.views(small.batch(2), small.CLOCK)
    assert objective.loss(features, views).value.item() == pytest.approx(0.5)
    features[2, :2] = torch.tensor([1.0, 0.0])
    # b = e1, e2: 0 − 2 + .5 < 0 for both
    assert objective.loss(features, views).value.item() == 0


def test_a_collapsed_network_has_the_value_of_constant_embeddings() -> None:
    objective = small.made(Triplet, small.encoder())
    loss = objective.loss(torch.ones(8, 128), objective.views(small.batch(4), small.CLOCK))
    assert loss.constant == 0.2
    assert loss.value.item() == pytest.approx(0.2)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    network = small.encoder()
    objective = small.made(Triplet, network)
    objective(network, small.batch(), small.CLOCK).value.backward()
    assert small.gradient_reaches(network)
    first, last = small.falls_on_fixed_batch(objective, network, small.batch(), steps=10)
    assert last < 0.5 * first  # 0 once every triplet keeps the margin


def test_the_placebo_has_other_triplets() -> None:
    assert small.placebo_differs(Triplet, small.batch())
