import math

import pytest
import torch

from tests.ssl.test_rotation import slopes, small_encoder
from uda.clock import Clock
from uda.ssl import Info, TurnShift, find_objective
from uda.ssl.random_views import Weak
from uda.ssl.rotation import rotate_four_ways
from uda.ssl.turn_shift import shifted
from uda.ssl.views import CropFlip

CLOCK = Clock(3, 10, seed=1)
AUGMENT = CropFlip(16)


def turn_shift() -> TurnShift:
    return TurnShift(small_encoder(), Info(8, 0, 16, 1, AUGMENT, Weak(16)))


def test_a_shift_moves_pixels_and_mirrors_the_edge() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3).expand(4, 3, 3, 3)
    down, right = torch.tensor([2, 0, 1, 1]), torch.tensor([1, 1, 2, 0])
    found = shifted(image, down, right, 1)[:, 0].tolist()
    # Down by one: the row above the first is the mirror image about the first, which is the second.
    assert found[0] == [[3, 4, 5], [0, 1, 2], [3, 4, 5]]
    assert found[1] == [[3, 4, 5], [6, 7, 8], [3, 4, 5]]
    assert found[2] == [[1, 0, 1], [4, 3, 4], [7, 6, 7]]
    assert found[3] == [[1, 2, 1], [4, 5, 4], [7, 8, 7]]
    assert torch.equal(shifted(image, torch.ones(4).long(), torch.ones(4).long(), 2), image)


def test_views_are_turned_then_shifted_as_their_targets_say() -> None:
    batch = slopes()
    views = turn_shift().views(batch, CLOCK)
    turned, turns = rotate_four_ways(AUGMENT(batch, CLOCK))
    assert views.targets is not None
    assert torch.equal(views.targets[:, 0], turns)
    assert torch.equal(views.images, shifted(turned, views.targets[:, 1], views.targets[:, 2], 4))
    assert {tuple(row) for row in views.targets[:, 1:].tolist()} <= {(a, b) for a in range(3) for b in range(3)}
    assert len(views.targets[:, 1:].unique(dim=0)) > 4
    assert views.plain is None  # even the upright quarter is shifted


def test_the_loss_by_hand() -> None:
    objective = turn_shift()
    with torch.no_grad():
        for head in objective.heads:
            head.weight.zero_()
            head.bias.zero_()
    loss = objective.loss(torch.zeros(32, 128), objective.views(slopes(), CLOCK))
    # Nothing known: log 4 + 2 log 3, which is also what chance costs.
    assert loss.value.item() == pytest.approx(math.log(36), abs=1e-5)
    assert loss.chance == pytest.approx(math.log(36))


def test_every_transform_is_each_once() -> None:
    views = AUGMENT(slopes(2), CLOCK)
    images, what = turn_shift().every_transform(views)
    assert images.shape == (72, 3, 16, 16)
    assert len(what.unique(dim=0)) == 36
    for row, (turn, down, right) in enumerate(what.tolist()):
        own = torch.rot90(views, turn, dims=(2, 3))
        wanted = shifted(own, torch.full((2,), down), torch.full((2,), right), 4)
        assert torch.equal(images[2 * row : 2 * row + 2], wanted)


def test_it_learns_which_way_is_up() -> None:
    encoder = small_encoder()
    torch.manual_seed(0)
    objective, batch = TurnShift(encoder, Info(8, 0, 16, 1, AUGMENT, Weak(16))), slopes()
    optimizer = torch.optim.SGD([*encoder.parameters(), *objective.parameters()], lr=0.05, momentum=0.9)
    losses = []
    for _ in range(25):
        loss = objective(encoder, batch, CLOCK)
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        losses.append(loss.value.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_objective_is_found_by_name() -> None:
    assert find_objective("turn_shift") is TurnShift
