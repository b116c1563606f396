import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2 as transforms
from torchvision.transforms.v2 import functional as tv

from tests.ssl.images import LEVEL, floats, noise
from uda.ssl.resampling import crop_boxes, gaussian_blur, resized_crop


@st.composite
def boxes_and_size(draw: st.DrawFn) -> tuple[int, int, list[list[int]], int]:
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
        boxes.append([draw(st.integers(0, height - tall)), draw(st.integers(0, width - wide)), tall, wide])
    return height, width, boxes, draw(st.integers(1, 30))


@given(case=boxes_and_size(), antialias=st.booleans())
@settings(max_examples=100)
def test_resized_crop_is_torchvisions(case: tuple[int, int, list[list[int]], int], antialias: bool) -> None:
    height, width, boxes, size = case
    images = noise(len(boxes), height, width)
    views = resized_crop(images, torch.tensor(boxes), size, antialias=antialias)
    assert views.shape == (len(boxes), 3, size, size)
    assert views.dtype == torch.float32
    assert 0 <= views.min() <= views.max() <= 1
    for image, box, view in zip(images, boxes, views, strict=True):
        exact = tv.resized_crop(image.float() / 255, *box, [size, size], antialias=antialias)
        assert (view - exact).abs().max() < 1e-4
        if min(box[2:]) == 1 or size == 1:
            continue  # of uint8 images of one column, torch.nn.functional.interpolate says "INTERNAL ASSERT FAILED"
        rounded = tv.resized_crop(image, *box, [size, size], antialias=antialias)  # uint8 in, uint8 out
        assert (view - rounded.float() / 255).abs().max() < 1.01 * LEVEL


@pytest.mark.parametrize("antialias", [True, False])
def test_resized_crop_of_large_images_is_torchvisions(antialias: bool) -> None:
    images = noise(4, 256, 300)
    boxes = [[0, 0, 256, 300], [13, 40, 120, 155], [200, 290, 56, 10], [250, 290, 6, 1]]
    mirrored = torch.tensor([False, True, False, True])
    views = resized_crop(images, torch.tensor(boxes), 224, mirrored, antialias)
    for image, box, view, flip in zip(images, boxes, views, mirrored, strict=True):
        view = view.flip(2) if flip else view
        if box[3] > 1:  # which torchvision fails on
            assert torch.equal(view, tv.resized_crop(image, *box, [224, 224], antialias=antialias) / 255)
        exact = tv.resized_crop(image.float() / 255, *box, [224, 224], antialias=antialias)
        assert (view - exact).abs().max() < 1.01 * LEVEL
    # float images have no kernel of their own
    floats_of = resized_crop(images / 255, torch.tensor(boxes), 224, mirrored, antialias)
    assert (floats_of - views).abs().max() < 1.01 * LEVEL


def test_resized_crop_of_the_whole_image_is_the_image_and_mirrors_where_told() -> None:
    images = noise(4)
    whole = torch.tensor([[0, 0, 16, 16]]).repeat(4, 1)
    mirrored = torch.tensor([True, False, True, False])
    expected = images.float() / 255
    assert torch.allclose(resized_crop(images, whole, 16), expected, atol=1e-6)
    flipped = resized_crop(images, whole, 16, mirrored)
    assert torch.allclose(flipped, torch.stack([expected[0].flip(2), expected[1], expected[2].flip(2), expected[3]]))
    plain = resized_crop(images, whole, 16)
    assert torch.equal(flipped, torch.where(mirrored[:, None, None, None], plain.flip(3), plain))
    assert torch.allclose(resized_crop(expected, whole, 16), expected, atol=1e-6)  # floats are taken as they are


def test_antialias_averages_what_a_pixel_covers() -> None:
    # Two columns of 0 and 1 by turns, 8 → 2: a triangle over 8 columns about column 2 (edges of pixels), cut off at the
    # image. Weights of columns 0 … 5 at centers −1.5 … 3.5 are 1 − |d|/4 = 5/8, 7/8, 7/8, 5/8, 3/8, 1/8; sum 28/8.
    stripes = torch.tensor([0.0, 1.0]).repeat(4).expand(1, 3, 8, 8)
    whole = torch.tensor([[0, 0, 8, 8]])
    view = resized_crop(stripes, whole, 2)
    assert view[0, 0, 0].tolist() == pytest.approx([13 / 28, 15 / 28])  # (7 + 5 + 1) ÷ 28; the right one mirrored
    # without: columns 1 and 2, half and half
    assert resized_crop(stripes, whole, 2, antialias=False)[0, 0, 0].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("height", "width", "reach"), [(16, 16, 6), (7, 20, 6), (32, 32, 1)])
def test_blur_is_torchvisions(height: int, width: int, reach: int) -> None:
    images = floats(4, height, width)
    sigmas = torch.tensor([0.1, 0.5, 1.0, 2.0])
    views = gaussian_blur(images, sigmas, reach)
    for image, sigma, view in zip(images, sigmas.tolist(), views, strict=True):
        expected = tv.gaussian_blur(image, [2 * reach + 1] * 2, [sigma, sigma])
        assert (view - expected).abs().max() < 1e-5


def test_blur_keeps_a_constant_and_spreads_a_point() -> None:
    assert torch.allclose(gaussian_blur(torch.full((1, 3, 9, 9), 0.7), torch.tensor([1.5]), 4), torch.tensor(0.7))
    point = torch.zeros(1, 3, 9, 9)
    point[:, :, 4, 4] = 1
    # weights at 0, ±1, with σ = 1: 1, e^−½ = 0.606531; 1 ÷ 2.213061 = 0.451862 in each direction
    assert gaussian_blur(point, torch.tensor([1.0]), 1)[0, 0, 4, 4].item() == pytest.approx(0.451862**2, abs=1e-6)


@pytest.mark.parametrize(
    ("side", "scale", "ratio"),
    [((32, 32), (0.2, 1.0), (3 / 4, 4 / 3)), ((60, 33), (0.08, 1.0), (3 / 4, 4 / 3)), ((20, 90), (0.9, 1.0), (0.5, 2))],
)
def test_boxes_are_distributed_as_torchvisions(
    side: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    n = 2000
    draws = torch.rand(n, 22, generator=torch.Generator().manual_seed(5))
    ours = crop_boxes(draws, side, scale, ratio).double()
    theirs_of = transforms.RandomResizedCrop(8, scale, ratio)
    torch.manual_seed(0)
    image = torch.empty(3, *side)
    rows = [theirs_of.make_params([image]) for _ in range(n)]
    theirs = torch.tensor([[row[key] for key in ("top", "left", "height", "width")] for row in rows]).double()

    def statistics(boxes: Tensor) -> Tensor:
        top, left, tall, wide = boxes.unbind(1)
        return torch.stack([tall * wide / (side[0] * side[1]), (wide / tall).log(), top, left, tall, wide], 1)

    a, b = statistics(ours), statistics(theirs)
    error = ((a.var(0) + b.var(0)) / n).sqrt() + 1e-9
    assert ((a.mean(0) - b.mean(0)).abs() / error).max() < 4
    assert (a.std(0) - b.std(0)).abs().div(b.std(0) + 1e-9).max() < 0.1
    assert (ours.amin(0) >= 0).all()


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    share=st.floats(0.01, 1),
    aspect=st.floats(0.2, 5),
    draws=st.lists(st.floats(0, 1 - 2**-24, width=32), min_size=22, max_size=22),
)
@settings(max_examples=150)
def test_boxes_lie_in_the_image(height: int, width: int, share: float, aspect: float, draws: list[float]) -> None:
    low, high = min(aspect, 1.0), max(aspect, 1.0)
    box = crop_boxes(torch.tensor([draws]), (height, width), (share, 1.0), (low, high))[0].tolist()
    top, left, tall, wide = box
    assert tall >= 1
    assert wide >= 1
    assert 0 <= top <= height - tall
    assert 0 <= left <= width - wide


def test_the_box_is_the_first_try_that_fits_else_central() -> None:
    draws = torch.zeros(1, 22)
    draws[0, 0], draws[0, 10] = 0.99, 0.0  # area 0.2 + 0.8 · 0.99, aspect ½: 28 × 14 does not fit into 20 × 20
    draws[0, 1], draws[0, 11] = 0.375, 0.5  # area ½ of 400, aspect 1: 14 × 14
    draws[0, 20], draws[0, 21] = 0.5, 0.99  # ⌊0.5 · 7⌋ = 3, ⌊0.99 · 7⌋ = 6
    assert crop_boxes(draws, (20, 20), (0.2, 1.0), (0.5, 2.0)).tolist() == [[3, 6, 14, 14]]
    # no square of nine tenths of 10 × 40 fits: the largest square, 10, in the middle, (40 − 10) ÷ 2 = 15
    assert crop_boxes(draws, (10, 40), (0.9, 1.0), (1.0, 1.0)).tolist() == [[0, 15, 10, 10]]
    assert crop_boxes(draws, (40, 10), (0.9, 1.0), (1.0, 1.0)).tolist() == [[15, 0, 10, 10]]
