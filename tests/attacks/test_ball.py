import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.attacks.ball import check_radius, checked_attack, checked_views, lengths, project, random_point, steepest
from uda.errors import UserError

NORMS = st.sampled_from(["linf", "l2"])


def images_and_views(seed: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(6, 3, 4, 4, generator=generator)
    images = torch.where(images < 0.2, torch.zeros(()), torch.where(images > 0.8, torch.ones(()), images))
    return images, images + spread * torch.randn(6, 3, 4, 4, generator=generator)


def test_lengths_by_hand() -> None:
    delta = torch.tensor([[[3.0, -4.0]], [[0.0, 0.0]]])
    assert lengths(delta, "linf").tolist() == [4.0, 0.0]
    assert lengths(delta, "l2").tolist() == [5.0, 0.0]


def test_projection_by_hand() -> None:
    images = torch.tensor([[0.5, 0.9]])
    # l∞: the perturbation (0.3, -0.05) is cut to (0.1, -0.05).
    assert torch.allclose(project(torch.tensor([[0.8, 0.85]]), images, 0.1, "linf"), torch.tensor([[0.6, 0.85]]))
    # l2: (0.3, 0.4) has length 0.5 and shrinks to (0.15, 0.2) of length 0.25; 0.9 + 0.2 is then cut to 1.
    assert torch.allclose(project(torch.tensor([[0.8, 1.3]]), images, 0.25, "l2"), torch.tensor([[0.65, 1.0]]))
    # Within the ball nothing moves.
    assert torch.allclose(project(torch.tensor([[0.6, 0.8]]), images, 0.25, "l2"), torch.tensor([[0.6, 0.8]]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 3), st.floats(0, 1), NORMS)
def test_a_projection_is_in_the_ball_and_in_the_box_and_stays(seed: int, spread: float, eps: float, norm) -> None:
    images, views = images_and_views(seed, spread)
    moved = project(views, images, eps, norm)
    assert bool((lengths(moved - images, norm) <= eps + 1e-6).all())
    assert bool(((moved >= 0) & (moved <= 1)).all())
    assert torch.allclose(project(moved, images, eps, norm), moved, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 3), st.floats(0, 2))
def test_clipping_to_the_box_shrinks_every_entry(seed: int, spread: float, eps: float) -> None:
    # Why the box may come after the l2 ball: the image is in the box.
    images, views = images_and_views(seed, spread)
    delta = views - images
    clipped = (images + delta).clamp(0, 1) - images
    assert bool((clipped.abs() <= delta.abs() + 1e-6).all())
    assert bool((clipped * delta >= -1e-7).all())


def test_steepest_by_hand() -> None:
    gradient = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
    assert steepest(gradient, "linf").tolist() == [[1, -1, 0], [0, 0, 0]]
    assert torch.allclose(steepest(gradient, "l2"), torch.tensor([[0.6, -0.8, 0.0], [0.0, 0.0, 0.0]]))
    # A gradient whose square underflows still has a direction.
    assert torch.allclose(steepest(gradient * 1e-30, "l2"), steepest(gradient, "l2"))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 5), st.floats(0, 1), NORMS)
def test_a_random_point_lies_in_the_ball_and_goes_by_the_index(seed: int, restart: int, eps: float, norm) -> None:
    images, _ = images_and_views(seed, 0)
    index = torch.tensor([5, 0, 3, 2**40, 7, 1])
    points = random_point(images, eps, norm, seed, restart, index)
    assert bool((lengths(points - images, norm) <= eps + 1e-6).all())
    assert bool(((points >= 0) & (points <= 1)).all())
    alone = random_point(images[2:3], eps, norm, seed, restart, index[2:3])
    assert torch.equal(alone, points[2:3])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_seed_restart_and_index_each_change_the_point(norm) -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    first = random_point(images, 0.1, norm, 0, 0, torch.tensor([0, 1]))
    assert not torch.equal(first[0], first[1])
    for other in (random_point(images, 0.1, norm, *key, torch.tensor([0, 1])) for key in ((1, 0), (0, 1))):
        assert not bool((other == first).all(dim=(1, 2, 3)).any())


@pytest.mark.parametrize("size", [1, 2, 3])
def test_random_points_fill_the_l2_ball_evenly(size: int) -> None:
    # In d dimensions a share r^d of a ball lies within r of its center, and half of it on either side of each plane.
    images = torch.full((20_000, size), 0.5)
    points = random_point(images, 0.4, "l2", 0, 0, torch.arange(20_000)) - images
    radius = lengths(points, "l2") / 0.4
    for r in (0.3, 0.6, 0.9):
        assert float((radius <= r).float().mean()) == pytest.approx(r**size, abs=0.012)
    assert torch.allclose((points > 0).float().mean(0), torch.full((size,), 0.5), atol=0.012)


def test_random_points_fill_the_cube_evenly() -> None:
    images = torch.full((20_000, 2), 0.5)
    points = random_point(images, 0.4, "linf", 0, 0, torch.arange(20_000)) - images
    for share in (0.25, 0.5, 0.75):
        assert torch.allclose((points <= -0.4 + 0.8 * share).float().mean(0), torch.full((2,), share), atol=0.012)


def test_radii_that_are_none_are_refused() -> None:
    for eps in (-0.1, math.nan, math.inf):
        with pytest.raises(UserError, match="give a radius of at least 0"):
            check_radius(eps, "l2")
    with pytest.raises(UserError, match="write 8/255 for 8 gray levels"):
        check_radius(8, "linf")
    with pytest.raises(UserError, match="choose linf or l2"):
        check_radius(0.1, "l1")
    check_radius(3.0, "l2")


def test_views_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float views in \[0, 1\], not torch.uint8"):
        checked_views(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    for wrong in (torch.full((1, 1), 1.01), torch.full((1, 1), -0.01), torch.full((1, 1), math.nan)):
        with pytest.raises(ValueError, match="leave the normalization to the model"):
            checked_views(wrong)
    assert checked_views(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert checked_views(torch.ones(2, 3, dtype=torch.float64)).dtype == torch.float64


def test_what_leaves_the_ball_or_the_box_is_an_error() -> None:
    images = torch.tensor([[0.5, 0.95]])
    assert checked_attack(images + 0.05, images, 0.05, "linf") is not None
    with pytest.raises(AssertionError, match="left its ball"):
        checked_attack(images + 0.05, images, 0.049, "linf")
    with pytest.raises(AssertionError, match="left its ball"):
        checked_attack(images + 0.04, images, 0.05, "l2")  # of length 0.057
    with pytest.raises(AssertionError, match="left the box"):
        checked_attack(images + 0.06, images, 0.1, "linf")
    with pytest.raises(AssertionError, match="left its ball"):
        checked_attack(images * math.nan, images, 0.1, "linf")
