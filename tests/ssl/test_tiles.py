import pytest
import torch

from tests.ssl import small
from uda.errors import UserError
from uda.ssl.tiles import cut, jittered_tiles, resized, size_taken, some_gray, standardized, tile_side


def numbered(side: int) -> torch.Tensor:
    """One image whose pixel in row r and column c is 100 r + c, in three channels."""
    row = torch.arange(side, dtype=torch.float32)
    return (100 * row[:, None] + row).expand(1, 3, side, side)


def test_cut_takes_the_pixels_asked_for() -> None:
    tiles = cut(numbered(6), torch.tensor([[0, 4]]), torch.tensor([[1, 3]]), 2)
    assert tiles.shape == (1, 2, 3, 2, 2)
    assert tiles[0, 0, 0].tolist() == [[1, 2], [101, 102]]
    assert tiles[0, 1, 2].tolist() == [[403, 404], [503, 504]]


def test_tiles_stay_inside_their_cells() -> None:
    images = numbered(32).expand(50, -1, -1, -1)
    tiles = jittered_tiles(images, 3, 0.2, torch.rand(50, 18, generator=torch.Generator().manual_seed(0)))
    # cells of 10 pixels from pixel 1 on (2 of 32 are left over), tiles of 8: the corner is 0, 1 or 2 pixels inside
    assert tiles.shape == (50, 9, 3, 8, 8)
    corner = tiles[:, :, 0, 0, 0]
    row, column = corner // 100 - 1, corner % 100 - 1
    assert (row // 10).tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 50
    assert (column // 10).tolist() == [[0, 1, 2] * 3] * 50
    assert (row % 10).unique().tolist() == (column % 10).unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("side", "share", "size"), [(225, 11 / 75, 64), (255, 0.25, 64), (96, 0.25, 24), (32, 0.0, 10)]
)
def test_the_published_tiles(side: int, share: float, size: int) -> None:
    # Noroozi and Favaro: 64 of 75 pixels; Kolesnikov et al.: 64 of 85
    assert tile_side(side, 3, share) == size


def test_standardized_by_hand_and_without_brightness_and_contrast() -> None:
    tile = torch.tensor([[[[0.2, 0.2], [0.6, 0.6]]]])
    # mean 0.4, deviation 0.2: one deviation is 0.25
    assert torch.allclose(standardized(tile), torch.tensor([[[[0.25, 0.25], [0.75, 0.75]]]]), atol=1e-4)
    tiles = torch.rand(4, 9, 3, 8, 8)
    assert torch.allclose(standardized(tiles), standardized(0.5 * tiles + 0.3), atol=1e-3)
    assert torch.allclose(standardized(torch.full((1, 1, 3, 4, 4), 0.7)), torch.tensor(0.5), atol=1e-3)


def test_resized() -> None:
    tiles = torch.rand(2, 9, 3, 8, 8)
    assert resized(tiles, 8) is tiles
    assert resized(torch.full((2, 9, 3, 8, 8), 0.3), 16).allclose(torch.full((2, 9, 3, 16, 16), 0.3))


def test_a_share_of_the_images_is_gray() -> None:
    batch = small.batch(200)
    images = batch.images / 255.0
    views = some_gray(images, batch, small.CLOCK, 0.66, "test")
    is_gray = (views[:, 0] == views[:, 1]).flatten(1).all(1)
    assert 0.55 < is_gray.float().mean() < 0.77
    assert torch.equal(views[~is_gray], images[~is_gray])
    assert torch.equal(some_gray(images, batch, small.CLOCK, 0.0, "test"), images)


def test_sizes_that_a_backbone_takes() -> None:
    encoder = small.encoder("vit_tiny_patch16_224", 32)
    assert size_taken(encoder, 9, None, "jigsaw.tile_size") == 16
    assert size_taken(encoder, 63, None, "jigsaw.tile_size") == 64
    assert encoder.training
    with pytest.raises(UserError, match=r"cannot take tiles of 20 pixels .*; set jigsaw.tile_size to a size it takes"):
        size_taken(encoder, 9, 20, "jigsaw.tile_size")


def test_looking_for_the_size_leaves_the_encoder_alone() -> None:
    encoder = small.encoder()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    size_taken(encoder, 10, None, "jigsaw.tile_size")
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
