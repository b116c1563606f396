import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from tests.ssl.images import LEVEL, floats, noise
from uda.ssl.one_image import jittered
from uda.ssl.pixels import (
    blend,
    brightness_shares,
    color_jitter,
    contrast_shares,
    grayscale,
    hue,
    luma,
    saturation_shares,
    solarize,
    where_chosen,
)
from uda.ssl.resampling import gaussian_blur, resized_crop

SHARES = {"brightness": brightness_shares, "contrast": contrast_shares, "saturation": saturation_shares}


@pytest.mark.parametrize("name", sorted(SHARES))
def test_blends_are_torchvisions(name: str) -> None:
    images = floats(6)
    factors = torch.tensor([0.0, 0.3, 0.8, 1.0, 1.4, 2.5])
    views = blend(images, SHARES[name](factors))
    for image, factor, view in zip(images, factors.tolist(), views, strict=True):
        # torchvision's luma has 0.2989 for red, which moves a pixel by at most |1 − 2.5| · 0.0001
        assert (view - getattr(tv, f"adjust_{name}")(image, factor)).abs().max() < 2e-4


@given(turns=st.lists(st.floats(-0.5, 0.5, width=32), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_hue_is_torchvisions(turns: list[float], seed: int) -> None:
    images = floats(len(turns), seed=seed)
    views = hue(images, torch.tensor(turns))
    for image, turn, view in zip(images, turns, views, strict=True):
        assert (view - tv.adjust_hue(image, turn)).abs().max() < 1e-4


def test_hue_of_pure_colors() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(5, 3, 2, 2)
    turned = hue(red, torch.tensor([0.0, 1 / 3, -1 / 3, 1 / 6, 0.5]))[:, :, 0, 0]
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])  # red green blue yellow cyan
    assert torch.allclose(turned, expected, atol=1e-5)
    gray = torch.full((1, 3, 2, 2), 0.4)
    assert torch.equal(hue(gray, torch.tensor([0.3])), gray)


def test_grayscale_and_luma() -> None:
    images = floats(2)
    assert (grayscale(images) - tv.rgb_to_grayscale(images, 3)).abs().max() < 2e-4
    colors = torch.eye(3).view(3, 3, 1, 1)
    assert luma(colors).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])


def test_solarize_is_torchvisions() -> None:
    images = floats(3)
    for threshold in (0.0, 0.5, 1.0):
        assert torch.equal(solarize(images, threshold), tv.solarize(images, threshold))


def theirs(image: Tensor, order: tuple[int, ...], factors: list[float | None]) -> Tensor:
    adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for kind in order:
        factor = factors[kind]
        image = image if factor is None else adjust[kind](image, factor)
    return image


@pytest.mark.parametrize("absent", [(), (3,), (0, 2), (0, 1, 2), (1, 3), (0, 1, 2, 3)])
def test_color_jitter_has_torchvisions_result_in_every_order(absent: tuple[int, ...]) -> None:
    orders = list(itertools.permutations(range(4)))
    images = floats(len(orders))
    priority = torch.tensor([[float(order.index(kind)) for kind in range(4)] for order in orders])
    chosen = torch.arange(len(orders)) % 5 != 0
    factors = torch.rand(len(orders), 4, generator=torch.Generator().manual_seed(1)) + 0.5
    factors[:, 3] -= 1.0
    given = [None if kind in absent else factors[:, kind] for kind in range(4)]
    views = color_jitter(images, priority, chosen, *given)
    for place, order in enumerate(orders):
        mine = [None if kind in absent else factors[place, kind].item() for kind in range(4)]
        expected = theirs(images[place], order, mine) if chosen[place] else images[place]
        # the lumas' difference of 1e-4 is stretched by the hue's turn where a pixel is almost gray
        assert (views[place] - expected).abs().max() < 0.5 * LEVEL
        alone = jittered(images[place, None].clone(), priority[place].tolist(), mine)  # one image, chosen
        assert (alone[0] - theirs(images[place], order, mine)).abs().max() < 0.5 * LEVEL
        if chosen[place]:
            assert (alone[0] - views[place]).abs().max() < 1e-4
    assert torch.equal(images, floats(len(orders)))  # what was given is as it was


def test_jitter_of_one_image_by_hand() -> None:
    # luma of (.2, .4, .6): .0598 + .2348 + .0684 = .363; of black: 0; their mean .1815
    image = torch.tensor([[0.2, 0.0], [0.4, 0.0], [0.6, 0.0]]).view(1, 3, 1, 2)
    by_kind = {
        0: [[0.3, 0.0], [0.6, 0.0], [0.9, 0.0]],  # · 1.5
        1: [[0.20925, 0.0], [0.50925, 0.0], [0.80925, 0.0]],  # · 1.5 − .5 · .1815, clipped
        2: [[0.1185, 0.0], [0.4185, 0.0], [0.7185, 0.0]],  # · 1.5 − .5 · the pixel's luma
    }
    for kind, expected in by_kind.items():
        factors = [1.5 if kind == other else None for other in range(4)]
        view = jittered(image.clone(), [0.1, 0.2, 0.3, 0.4], factors)
        assert torch.allclose(view[0, :, 0], torch.tensor(expected), atol=1e-6)
    assert torch.equal(jittered(image.clone(), [0.1, 0.2, 0.3, 0.4], [0.0, None, None, None]), torch.zeros_like(image))


def test_where_chosen_changes_those_alone() -> None:
    images = floats(5)
    turns = torch.linspace(-0.4, 0.4, 5)
    for chosen in (torch.zeros(5) > 0, torch.ones(5) > 0, torch.tensor([True, False, False, True, True])):
        expected = torch.where(chosen[:, None, None, None], hue(images, turns), images)
        assert torch.equal(where_chosen(chosen, hue, images, turns), expected)
        solar = torch.where(chosen[:, None, None, None], solarize(images, 0.3), images)
        assert torch.equal(where_chosen(chosen, solarize, images, threshold=0.3), solar)


@given(
    factors=st.lists(
        st.tuples(*[st.floats(0, 3, width=32)] * 3, st.floats(-0.5, 0.5, width=32)), min_size=1, max_size=4
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=50)
def test_all_stay_in_range(factors: list[tuple[float, ...]], seed: int) -> None:
    images = floats(len(factors), seed=seed)
    priority = torch.rand(len(factors), 4, generator=torch.Generator().manual_seed(seed))
    columns = torch.tensor(factors).unbind(1)
    views = color_jitter(images, priority, torch.ones(len(factors)) > 0, *columns)
    views = gaussian_blur(views, columns[0] + 0.1, 3)
    assert views.dtype == torch.float32
    assert 0 <= views.min() <= views.max() <= 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_gives_the_same_pixels() -> None:
    images = noise(24, 40, 40)
    boxes = torch.tensor([[3, 5, 30, 20]]).repeat(24, 1)
    draws = torch.rand(24, 9, generator=torch.Generator().manual_seed(0))
    chosen, mirrored = draws[:, 0] < 0.7, draws[:, 1] < 0.5

    def render(device: str) -> Tensor:
        values = draws.to(device)
        views = resized_crop(images.to(device), boxes.to(device), 32, mirrored.to(device))
        factors = [*(0.5 + values[:, 2:5]).unbind(1), values[:, 5] - 0.5]
        views = color_jitter(views, values[:, :4], chosen.to(device), *factors)
        return where_chosen(chosen.to(device), gaussian_blur, views, 0.1 + values[:, 6], reach=5).cpu()

    assert torch.allclose(render("cpu"), render("cuda"), atol=1e-4)
