import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from uda.datasets.packed import PackedImages, SquareImages
from uda.errors import UserError

SHAPES = np.array([(16, 24), (24, 16), (16, 16), (8, 40), (50, 50)])


@pytest.fixture
def packed() -> PackedImages:
    """Five noise images of different sizes."""
    length = SHAPES.prod(axis=1) * 3
    data = np.random.default_rng(0).integers(0, 256, length.sum(), dtype=np.uint8)
    return PackedImages(data, np.cumsum(length) - length, length, SHAPES, np.zeros((5, 32), dtype=np.uint8))


@pytest.mark.parametrize("size", [8, 16, 40])
def test_squares_agree_with_torchvision(packed: PackedImages, size: int) -> None:
    rows = np.array([3, 0, 1, 0])
    squash, crop = packed.square(rows, size), packed.square(rows, size, fit="crop")
    assert squash.shape == crop.shape == (4, 3, size, size)
    assert squash.dtype == crop.dtype == torch.uint8
    for i, row in enumerate(rows):
        image = torch.from_numpy(packed.image(row).copy()).permute(2, 0, 1)
        expected = transforms.resize(image, [size, size], antialias=True)
        assert (squash[i].int() - expected.int()).abs().max() <= 1
        expected = transforms.center_crop(transforms.resize(image, [size], antialias=True), [size, size])
        assert (crop[i].int() - expected.int()).abs().max() <= 1


def test_an_unknown_fit_is_refused(packed: PackedImages) -> None:
    with pytest.raises(UserError, match="unknown fit 'squish': did you mean squash"):
        packed.square(np.arange(2), 16, fit="squish")


def test_images_that_are_square_already_are_gathered() -> None:
    pixels = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    packed = PackedImages.from_tensor(pixels)
    rows = np.array([4, 4, 49, 0])
    assert torch.equal(packed.square(rows, 8), pixels[rows])
    assert torch.equal(packed.square(rows, 8, fit="crop"), pixels[rows])
    assert torch.equal(packed.select(np.array([7, 9])).square(np.array([1, 0]), 8), pixels[[9, 7]])


def test_many_images_in_threads_come_in_order(packed: PackedImages) -> None:
    rows = np.arange(103) % 5
    one_by_one = torch.cat([packed.square(np.array([row]), 12) for row in range(5)])
    assert torch.equal(packed.square(rows, 12), one_by_one[rows])


@pytest.mark.parametrize("budget", [0, 5 * 3 * 12 * 12 - 1, 5 * 3 * 12 * 12])
@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_square_images_are_the_same_kept_or_not(packed: PackedImages, budget: int, fit: str) -> None:
    expected = packed.square(np.arange(5), 12, fit)
    images = SquareImages(packed, 12, fit, memory_budget=budget)
    assert len(images) == 5
    for rows in ([2, 2, 0], [4], [0, 1, 2, 3, 4, 3]):
        assert torch.equal(images.batch(np.array(rows)), expected[rows])
    images.batch(np.array([1])).zero_()  # a batch is a copy
    assert torch.equal(images.batch(np.array([1])), expected[[1]])


def test_filling_beforehand_needs_the_pack_no_more(packed: PackedImages) -> None:
    expected = packed.square(np.arange(5), 12)
    images = SquareImages(packed, 12)
    images.fill(chunk=2)
    packed.data[:] = 0
    assert torch.equal(images.batch(np.arange(5)), expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("budget", [0, 4 << 30])
def test_batches_are_on_the_gpu(packed: PackedImages, budget: int) -> None:
    batch = SquareImages(packed, 12, memory_budget=budget, device="cuda").batch(np.array([3, 0]))
    assert batch.device.type == "cuda"
    assert torch.equal(batch.cpu(), packed.square(np.array([3, 0]), 12))
