import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from uda.batch import Batch
from uda.clock import Clock
from uda.ssl.views import (
    AUGMENTATIONS,
    CropFlip,
    Glyph,
    NoAugmentation,
    PickPass,
    center_crop,
    gray,
    random_affine,
    random_crop_flip,
    to_float,
)

MIDDLE = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]  # no turn, no shear, no shift; the scale is the middle of its range


def noise(n: int, height: int = 12, width: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def batch_of(index: list[int], size: int = 12, domain: str = "target") -> Batch:
    """Images that belong to their index, whatever batch they are in."""
    rows = torch.tensor(index)
    return Batch(noise(20, size, size)[rows], rows, None, domain)


def plain_affine(
    image: np.ndarray, angle: float, zoom: tuple[float, float], slant: float, shift: tuple[float, float]
) -> np.ndarray:
    """Turn (C, S, S) by angles in radians, pixel by pixel in float64, edges repeated."""
    size = image.shape[1]
    out = np.zeros_like(image)
    for row in range(size):
        for column in range(size):
            x, y = (2 * column + 1) / size - 1, (2 * row + 1) / size - 1
            x, y = math.cos(angle) * x + math.sin(angle) * y, -math.sin(angle) * x + math.cos(angle) * y
            x += math.tan(slant) * y
            x, y = x / zoom[0] + 2 * shift[0], y / zoom[1] + 2 * shift[1]
            x, y = (min(max(((v + 1) * size - 1) / 2, 0.0), size - 1.0) for v in (x, y))
            left, top = min(int(x), size - 2), min(int(y), size - 2)
            a, b = x - left, y - top
            corners = image[:, top : top + 2, left : left + 2]
            weights = np.array([[(1 - b) * (1 - a), (1 - b) * a], [b * (1 - a), b * a]])
            out[:, row, column] = (corners * weights).sum(axis=(1, 2))
    return out


def test_to_float_and_the_central_crop() -> None:
    images = torch.arange(2 * 3 * 5 * 4, dtype=torch.uint8).view(2, 3, 5, 4)
    cut = center_crop(images, 2)
    assert cut.dtype == torch.float32
    assert torch.equal(cut, images[:, :, 1:3, 1:3].float() / 255)
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]


@given(
    draws=st.lists(st.tuples(*[st.floats(0, 1 - 2**-24, width=32)] * 3), min_size=1, max_size=4),
    size=st.integers(1, 9),
)
@settings(max_examples=40)
def test_crop_and_flip_are_torchvisions(draws: list[tuple[float, float, float]], size: int) -> None:
    images = noise(len(draws), 12, 9)
    views = random_crop_flip(images, size, torch.tensor(draws))
    for image, view, (down, right, mirrored) in zip(images, views, draws, strict=True):
        top, left = math.floor(np.float32(down) * (13 - size)), math.floor(np.float32(right) * (10 - size))
        cut = tv.crop(image, top, left, size, size)
        if mirrored >= 0.5:
            cut = tv.horizontal_flip(cut)
        assert torch.equal(view, cut.float() / 255)


def test_the_largest_draw_stays_within_the_image() -> None:
    draws = torch.full((1, 3), 1 - 2**-24)
    for side in range(1, 400):
        image = torch.zeros(1, 3, side, 1, dtype=torch.uint8)
        image[:, :, -1] = 255
        assert random_crop_flip(image, 1, draws).min() == 1.0  # the last pixel, not one beyond


def test_crops_without_room_or_flip_are_the_image() -> None:
    images = noise(2)
    assert torch.equal(random_crop_flip(images, 12, torch.zeros(2, 3)), to_float(images))


def test_affine_against_plain_numbers() -> None:
    images = noise(4, 9, 9)
    draws = torch.rand(4, 6, generator=torch.Generator().manual_seed(3))
    views = random_affine(images, draws, degrees=30, scale=(0.7, 1.3), shear=20, shift=0.2)
    for image, view, draw in zip(images, views, draws.double().numpy(), strict=True):
        expected = plain_affine(
            image.double().numpy() / 255,
            angle=math.radians(30 * (2 * draw[0] - 1)),
            zoom=(0.7 + 0.6 * draw[1], 0.7 + 0.6 * draw[2]),
            slant=math.radians(20 * (2 * draw[3] - 1)),
            shift=(0.2 * (2 * draw[4] - 1), 0.2 * (2 * draw[5] - 1)),
        )
        assert np.abs(view.numpy() - expected).max() < 1e-4


@pytest.mark.parametrize(("turn", "zoom", "lean"), [(0.9, 0.5, 0.5), (0.5, 0.9, 0.5), (0.5, 0.5, 0.2), (0.1, 0.8, 0.9)])
def test_affine_is_torchvisions(turn: float, zoom: float, lean: float) -> None:
    images = noise(2, 16, 16)
    draws = torch.tensor([[turn, zoom, zoom, lean, 0.5, 0.5]]).repeat(2, 1)
    views = random_affine(images, draws, degrees=40, scale=(0.5, 1.5), shear=30, shift=0.1)

    def theirs(pixels: Tensor) -> Tensor:
        angle, slant = 40 * (2 * turn - 1), 30 * (2 * lean - 1)
        return tv.affine(
            pixels, angle, [0, 0], 0.5 + zoom, [slant, 0.0], interpolation=InterpolationMode.BILINEAR, fill=[0.0]
        )

    inside = theirs(torch.ones(2, 3, 16, 16)) > 1 - 1e-6  # beyond the edge they fill and we repeat
    assert inside.float().mean() > 0.3
    assert (views - theirs(to_float(images)))[inside].abs().max() < 1e-4


def test_affine_shifts_by_a_fraction_of_the_side() -> None:
    images = noise(1, 10, 10)
    draws = torch.tensor([[*MIDDLE[:4], 0.75, 0.5]])  # half of the largest shift: 0.4 · 10 px ÷ 2 = 2 pixels
    view = random_affine(images, draws, 15, (0.8, 1.2), 10, shift=0.4)
    assert torch.allclose(view[..., :8], to_float(images)[..., 2:], atol=1e-5)
    assert torch.allclose(view[..., 8:], to_float(images)[..., 9:].expand(-1, -1, -1, 2), atol=1e-5)  # edge repeated


def test_identity_parameters_give_the_image_back() -> None:
    images = noise(3)
    assert torch.allclose(
        random_affine(images, torch.tensor([MIDDLE] * 3), 15, (0.8, 1.2), 10, 0.1), to_float(images), atol=1e-5
    )
    still = Glyph(12, degrees=0, scale=(1, 1), shear=0, shift=0, strength=0)
    batch = batch_of([0, 5])
    assert torch.allclose(still(batch, Clock(4, 9)), gray(to_float(batch.images)), atol=1e-5)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_views_have_the_size_asked_for_and_stay_in_range(name: str) -> None:
    views = AUGMENTATIONS[name](8)(batch_of(list(range(20))), Clock(0, 10))
    assert views.shape == (20, 3, 8, 8)
    assert views.dtype == torch.float32
    assert 0 <= views.min() < views.max() <= 1


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_a_view_does_not_depend_on_its_batch(name: str) -> None:
    augment = AUGMENTATIONS[name](8)
    clock = Clock(7, 10, seed=2)
    together = augment(batch_of([3, 11, 7, 0]), clock)
    for place, index in enumerate([3, 11, 7, 0]):
        alone = augment(batch_of([index]), clock)
        assert torch.allclose(alone[0], together[place], atol=1e-6)
    assert torch.equal(augment(batch_of([3, 11, 7, 0]), clock), together)


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"none"}))
def test_views_differ_between_steps_seeds_and_domains(name: str) -> None:
    augment = AUGMENTATIONS[name](6)
    batch = batch_of(list(range(20)))
    first = augment(batch, Clock(0, 10, seed=0))
    others = [
        augment(batch, Clock(1, 10, seed=0)),
        augment(batch, Clock(0, 10, seed=1)),
        augment(batch_of(list(range(20)), domain="source"), Clock(0, 10, seed=0)),
    ]
    for other in others:
        changed = (first != other).flatten(1).any(1).float().mean()
        assert changed > 0.8


def test_without_augmentation_every_step_is_the_same() -> None:
    batch = batch_of([1, 2])
    assert torch.equal(NoAugmentation(6)(batch, Clock(0, 9)), NoAugmentation(6)(batch, Clock(5, 9, seed=3)))


def test_places_and_flips_are_uniform() -> None:
    # a pixel's value tells its place: row · 8 + column
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    index = torch.arange(4000)
    batch = Batch(image.expand(4000, 3, 8, 8), index, None, "target")
    views = (CropFlip(5)(batch, Clock(2, 10, seed=5)) * 255).round().long()[:, 0]
    flipped = views[:, 0, 0] > views[:, 0, 1]
    corner = torch.where(flipped, views[:, 0, -1], views[:, 0, 0])
    counts = torch.stack([torch.bincount(corner // 8, minlength=4), torch.bincount(corner % 8, minlength=4)]).double()
    # 1000 expected in each of the four places, standard deviation √(4000·¼·¾) = 27.4; the draw is fixed
    assert counts.shape == (2, 4)
    assert (counts - 1000).abs().max() < 4 * 27.4
    assert abs(int(flipped.sum()) - 2000) < 4 * 31.6
    both = torch.bincount(corner // 8 * 4 + corner % 8, minlength=16).double()
    assert (both - 250).abs().max() < 4 * 15.3  # down and right are independent


def test_pick_pass_takes_one_whole_pass_for_each_image() -> None:
    passes = torch.arange(6).view(1, 3, 2).float() + 10 * torch.arange(500).view(500, 1, 1)
    batch = Batch(passes, torch.arange(500), None, "target")
    picked = PickPass()(batch, Clock(1, 10))
    chosen = (picked[:, 0] - 10 * torch.arange(500)) / 2
    assert torch.equal(picked[:, 1], picked[:, 0] + 1)  # both numbers come from the same pass
    assert torch.bincount(chosen.long(), minlength=3).min() > 120  # 167 expected, standard deviation 10.5
    assert not torch.equal(picked, PickPass()(batch, Clock(2, 10)))
    some = Batch(passes[[9, 4]], torch.tensor([9, 4]), None, "target")
    assert torch.equal(PickPass()(some, Clock(1, 10)), picked[[9, 4]])


def test_pick_pass_of_one_pass_is_that_pass() -> None:
    passes = torch.rand(4, 1, 3)
    assert torch.equal(PickPass()(Batch(passes, torch.arange(4), None, "target"), Clock(0, 1)), passes[:, 0])
