import pytest
import torch

from uda.batch import Batch
from uda.clock import Clock
from uda.random import uniform
from uda.ssl.views import Glyph, elastic_field, gray, random_affine, to_float

STILL = torch.full((1, 6), 0.5)  # no turn, no shear, no shift; the scale is the middle of its range


def noise(size: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_field_is_exact_at_the_corners_of_its_lattice() -> None:
    draws = torch.rand(2, 32, generator=torch.Generator().manual_seed(1))
    field = elastic_field(draws, size=10, strength=0.1)
    assert field.shape == (2, 10, 10, 2)
    # the first 16 draws push sideways, row by row; ±0.1 of the side is ±0.2 of affine_grid's units
    knots = ((draws * 2 - 1) * 0.2).view(2, 2, 4, 4)
    for row, column in ((0, 0), (0, 3), (3, 0), (3, 3)):
        assert torch.allclose(field[:, row * 3, column * 3], knots[:, :, row, column], atol=1e-6)


def test_a_field_of_equal_draws_shifts_the_whole_image() -> None:
    draws = torch.full((1, 32), 0.5)
    draws[:, :16] = 1.0  # everything comes from 0.25 of the side further right: 3 of 12 pixels
    view = random_affine(noise(), STILL, 0, (1, 1), 0, 0, elastic_field(draws, 12, strength=0.25))
    assert torch.allclose(view[..., :9], to_float(noise())[..., 3:], atol=1e-5)


def test_the_field_is_smooth() -> None:
    draws = torch.rand(50, 32, generator=torch.Generator().manual_seed(2))
    field = elastic_field(draws, 32, strength=0.1)
    # neighboring pixels are 1/31 apart and knots 1/3: at most 0.4 between knots makes steps of about 0.04 · 1.5
    assert (field[:, 1:] - field[:, :-1]).abs().max() < 0.08


def test_without_strength_it_is_the_affine_map_of_its_first_six_draws() -> None:
    images = torch.cat([noise(), noise().flip(3)])
    batch, clock = Batch(images, torch.tensor([4, 9]), None, "target"), Clock(3, 10, seed=1)
    draws = uniform(1, 3, batch.index, "glyph/target", 38)[:, :6]
    plain = random_affine(images, draws, 10, (0.9, 1.1), 5, 0.05)
    assert torch.equal(Glyph(12, 10, (0.9, 1.1), 5, 0.05, strength=0.0)(batch, clock), gray(plain))
    assert Glyph(12)(batch, clock).sub(gray(plain)).abs().max() > 0.01


def test_gray_is_the_luma_in_every_channel() -> None:
    # red 255, green 0, blue 51: 0.299 · 1 + 0.114 · 0.2 = 0.3218
    pixel = to_float(torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1))
    assert torch.allclose(gray(pixel), torch.full((1, 3, 1, 1), 0.3218), atol=1e-6)


def test_evaluation_sees_the_middle_in_gray() -> None:
    images = noise()
    assert torch.equal(Glyph(8).plain(images), gray(to_float(images)[:, :, 2:10, 2:10]))


@pytest.mark.parametrize("size", [8, 12])
def test_the_size(size: int) -> None:
    views = Glyph(size)(Batch(noise(), torch.tensor([0]), None, "target"), Clock(0, 1))
    assert views.shape == (1, 3, size, size)
