from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ssl import small
from uda.clock import Clock
from uda.ssl.objective import Need, Views
from uda.ssl.placebo import exchanged, placebo
from uda.ssl.rotation import Rotation

CLOCK = Clock(3, 10, seed=1)


def images(blocks: int, n: int) -> torch.Tensor:
    """Blocks of n images, each filled with the number of its row."""
    return torch.arange(blocks * n, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def owners(rows: torch.Tensor, n: int) -> list[list[int]]:
    """Return, block by block, which image of its block each row was."""
    return (rows.flatten(1)[:, 0].long().view(-1, n) % n).tolist()


def is_a_circle(owner: list[int]) -> bool:
    """Return whether going from each image to the one whose answer it has leads through all of them."""
    place, seen = 0, []
    for _ in owner:
        place = owner[place]
        seen.append(place)
    return sorted(seen) == list(range(len(owner)))


@settings(max_examples=30)
@given(st.integers(2, 20), st.integers(1, 3), st.integers(0, 1000), st.integers(0, 5))
def test_no_image_keeps_its_own_answer(n: int, blocks: int, step: int, seed: int) -> None:
    clock, index = Clock(step, 1001, seed), torch.arange(n) + 50
    first = images(1, n)
    for views in (Views(first, targets=images(blocks, n)), Views(first, teacher=images(blocks, n))):
        moved = exchanged(views, index, clock)
        rows = moved.targets if moved.targets is not None else moved.teacher
        assert rows is not None
        found = owners(rows, n)
        assert is_a_circle(found[0])
        assert found == [found[0]] * blocks  # all views of an image go to the same other one
        assert torch.equal(rows.flatten(1)[:, 0].long() // n, torch.arange(blocks).repeat_interleave(n))
        assert torch.equal(moved.images, first)
    moved_index = exchanged(Views(first, index=index), index, clock).index
    assert moved_index is not None
    assert not (moved_index == index).any()
    assert moved_index.sort().values.tolist() == index.tolist()


def test_classes_are_mixed_over_all_blocks_at_random() -> None:
    turns = torch.arange(4).repeat_interleave(500)
    mixed = exchanged(Views(images(4, 500), targets=turns), torch.arange(500), CLOCK).targets
    assert mixed is not None
    assert mixed.bincount().tolist() == [500] * 4
    # a quarter is right by chance: 2,000 draws, deviation √(0.25 · 0.75 / 2000) ≈ 0.0097
    assert abs((mixed == turns).float().mean().item() - 0.25) < 0.03


def test_rows_of_classes_are_mixed_over_all_blocks_and_stay_together() -> None:
    # DeeperCluster's: super-class = 4 · cluster + turn, and a sub-class that only means something within it
    turns, clusters = torch.arange(4).repeat_interleave(500), torch.arange(500).repeat(4) % 3
    pairs = torch.stack([4 * clusters + turns, 100 * clusters + turns], 1)
    mixed = exchanged(Views(images(4, 500), targets=pairs), torch.arange(500), CLOCK).targets
    assert mixed is not None
    # the turn is right by chance alone: 2,000 draws of ¼, deviation 0.0097
    assert abs((mixed[:, 0] % 4 == turns).float().mean().item() - 0.25) < 0.03
    assert sorted(map(tuple, mixed.tolist())) == sorted(map(tuple, pairs.tolist()))


def test_views_that_are_compared_by_image_go_beside_their_targets() -> None:
    views = Views(images(2, 64), targets=torch.arange(64) % 4, ids=torch.arange(64) + 7)
    moved = exchanged(views, torch.arange(64), CLOCK)
    assert torch.equal(moved.images[:64], views.images[:64])
    assert is_a_circle(owners(moved.images, 64)[1])
    assert moved.targets is not None
    assert not torch.equal(moved.targets, views.targets)
    assert torch.equal(moved.ids, views.ids)
    untargeted = exchanged(Views(images(2, 64), ids=torch.arange(64)), torch.arange(64), CLOCK)
    assert is_a_circle(owners(untargeted.images, 64)[1])


def test_of_two_views_the_second_goes_to_another_image() -> None:
    views = Views(images(2, 8), plain=slice(0, 8))
    moved = exchanged(views, torch.arange(8), CLOCK)
    assert torch.equal(moved.images[:8], views.images[:8])
    assert is_a_circle(owners(moved.images, 8)[1])
    assert moved.plain == slice(0, 8)


def test_of_many_views_and_crops_no_two_agree() -> None:
    moved = exchanged(Views(images(3, 64), crops=images(2, 64)), torch.arange(64), CLOCK)
    assert moved.crops is not None
    found = owners(moved.images, 64) + owners(moved.crops, 64)
    assert found[0] == list(range(64))
    assert all(is_a_circle(order) for order in found[1:])
    for one in range(5):
        for other in range(one):
            agreeing = sum(a == b for a, b in zip(found[one], found[other], strict=True))
            assert agreeing < 8  # one of 64 is expected


def test_another_step_exchanges_otherwise_and_the_same_step_alike() -> None:
    views, index = Views(images(2, 16)), torch.arange(16)
    orders = [owners(exchanged(views, index, Clock(step, 10)).images, 16)[1] for step in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]


def test_what_has_nothing_to_exchange_is_an_error() -> None:
    with pytest.raises(TypeError, match="a placebo needs targets"):
        exchanged(Views(images(1, 4)), torch.arange(4), CLOCK)


def test_the_placebo_of_an_objective_has_its_needs_cost_and_state_under_another_name() -> None:
    kind: type[Rotation] = placebo(Rotation)
    objective, encoder = kind(small.encoder(), small.info()), small.encoder()
    assert kind.name == "placebo:rotation"
    assert kind.needs == Need.PIXELS
    real = Rotation(encoder, small.info())
    assert objective.state_dict().keys() == real.state_dict().keys()
    objective.load_state_dict(real.state_dict())
    a, b = (o.views(small.batch(), CLOCK) for o in (real, objective))
    assert torch.equal(a.images, b.images)
    assert a.plain == b.plain
    assert real(encoder.eval(), small.batch(), CLOCK).value != objective(encoder, small.batch(), CLOCK).value


def test_views_of_a_subclass_keep_what_it_adds() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Marked(Views):
        mark: ClassVar[str] = "here"
        order: torch.Tensor | None = None

    order = torch.arange(4)
    moved = exchanged(Marked(images(1, 4), targets=images(1, 4), order=order), torch.arange(4), CLOCK)
    assert isinstance(moved, Marked)
    assert moved.order is order
