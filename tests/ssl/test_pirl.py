import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ssl import small
from uda.clock import Clock
from uda.errors import UserError
from uda.ssl.pirl import PIRL


def test_nine_tiles_of_every_image_and_the_image() -> None:
    objective, batch = small.made(PIRL, small.encoder()), small.batch(4)
    views = objective.views(batch, small.CLOCK)
    assert views.images.shape == (4, 3, 32, 32)
    assert views.crops is not None
    assert views.crops.shape == (36, 3, 16, 16)
    assert torch.equal(views.images, small.random_view(batch, small.CLOCK, "a"))


def test_tiles_are_shuffled_for_every_image_anew() -> None:
    # brightness rises from tile to tile in reading order, so that the order can be read off
    cells = torch.arange(9.0).view(3, 3).repeat_interleave(10, 0).repeat_interleave(10, 1)
    images = F.pad(cells[None, None], (1, 1, 1, 1), mode="replicate").expand(6, 3, -1, -1) / 9
    objective = small.made(PIRL, small.encoder())
    objective.info = dataclasses.replace(objective.info, random_view=lambda *_: images)
    crops = objective.views(small.batch(6), small.CLOCK).crops
    assert crops is not None
    order = (crops[:, 0].mean((1, 2)) * 9).round().long().view(9, 6).T
    assert order.sort(dim=1).values.tolist() == [list(range(9))] * 6
    assert len({tuple(row) for row in order.tolist()}) == 6


def test_the_loss_is_two_comparisons_with_the_memory() -> None:
    network, batch = small.encoder().eval(), small.batch(8)
    objective = small.made(PIRL, network, patches=0.3, temperature=0.2)
    views = objective.views(batch, small.CLOCK)
    features = objective.encode(network, views)
    loss = objective.loss(features, views)
    tiles = objective.tile_head(network(views.crops)).view(9, 8, 128)
    joined = objective.patches_head(torch.cat(list(tiles), dim=1))
    image = objective.image_head(network(views.images))
    # fewer rows than negatives: all of them, and against every other row it is a softmax
    value = [F.cross_entropy(F.normalize(v) @ objective.bank.rows.T / 0.2, torch.arange(8)) for v in (joined, image)]
    assert loss.value.item() == pytest.approx((0.3 * value[0] + 0.7 * value[1]).item(), rel=1e-5)
    assert loss.chance == math.log(16)


def test_of_a_large_memory_some_rows_are_drawn() -> None:
    network = small.encoder()
    objective = small.made(PIRL, network, negatives=5)
    loss = objective(network, small.batch(), small.CLOCK)
    assert loss.value.isfinite()
    assert loss.chance == math.log(6)


def test_only_the_image_moves_the_memory() -> None:
    network, batch = small.encoder(), small.batch(8)
    objective = small.made(PIRL, network)
    old = objective.bank.rows.clone()
    views = objective.views(batch, small.CLOCK)
    features = objective.encode(network, views)
    objective.after_step(objective.loss(features, views).carry)
    image = F.normalize(objective.image_head(features[:8]))
    assert torch.allclose(objective.bank.rows[:8], F.normalize(0.5 * old[:8] + 0.5 * image), atol=1e-6)
    assert torch.equal(objective.bank.rows[8:], old[8:])


def test_the_memory_is_filled_before_the_first_step() -> None:
    network = small.encoder().eval()
    objective = small.made(PIRL, network)
    images = torch.rand(16, 3, 32, 32)

    def views() -> Iterator[Tensor]:
        yield from images.split(7)

    assert [objective.assign_due(Clock(step, 10)) for step in (0, 1, 5)] == [True, False, False]
    with torch.no_grad():
        assert objective.assign(network, views, Clock(0, 10)) == []
        expected = F.normalize(objective.image_head(network(images)))
    assert torch.allclose(objective.bank.rows, expected, atol=1e-5)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    network = small.encoder()
    first, last = small.falls_on_fixed_batch(small.made(PIRL, network), network, small.batch(), steps=12)
    assert small.gradient_reaches(network)
    assert last < 0.7 * first


def test_a_copy_from_the_state_continues_exactly() -> None:
    assert small.continues_exactly(PIRL, small.batch(), negatives=8)


def test_the_placebo_has_other_rows() -> None:
    assert small.placebo_differs(PIRL, small.batch())


def test_a_backbone_that_takes_no_tiles_is_refused() -> None:
    with pytest.raises(UserError, match=r"cannot take tiles of 4 pixels .*set pirl.tile_size"):
        small.made(PIRL, small.encoder(), tile_size=4)
