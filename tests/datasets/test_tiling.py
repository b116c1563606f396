"""Large images cut into tiles: which, where, and without what shows nothing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.experiments.pretraining import pretrain
from tests.tiny import metrics_of
from uda.datasets.folders import read_folder
from uda.datasets.tiling import Cutting, background, cut_tiles, tile_corners, tiled
from uda.errors import UserError


def test_glass_and_dark_are_background() -> None:
    pixels = np.array([[[255, 240, 210], [200, 120, 180], [15, 15, 15], [15, 16, 15]]], np.uint8)
    assert background(pixels).tolist() == [[True, False, True, False]]


def test_corners_by_hand() -> None:
    # 7 × 10 pixels in tiles of 3, side by side: two rows with half a pixel over (cut to 0), three columns.
    assert tile_corners(7, 10, 3, 3).tolist() == [[0, 0], [0, 3], [0, 6], [3, 0], [3, 3], [3, 6]]
    assert tile_corners(7, 10, 3, 4).tolist() == [[0, 1], [0, 5], [4, 1], [4, 5]]
    assert len(tile_corners(2, 10, 3, 3)) == 0


@given(st.integers(4, 30), st.integers(4, 30), st.integers(2, 6), st.integers(1, 6), st.floats(0, 1))
def test_tiles_are_pixels_of_the_image_with_no_more_background_than_asked(
    height: int, width: int, size: int, step: int, share: float
) -> None:
    rng = np.random.default_rng(height * 31 + width)
    image = rng.choice([100, 250], (height, width, 1)).repeat(3, 2).astype(np.uint8)
    tiles, corners = cut_tiles(image, Cutting(size, step, share))
    every = {tuple(c) for c in tile_corners(height, width, size, step).tolist()}
    kept = {tuple(c) for c in corners.tolist()}
    assert kept <= every
    for tile, (top, left) in zip(tiles, corners, strict=True):
        assert (tile == image[top : top + size, left : left + size]).all()
    for top, left in every:
        empty = (image[top : top + size, left : left + size] == 250).all(axis=2).sum()
        assert ((top, left) in kept) == (empty <= share * size * size)


def slide(path: Path, tissue: slice, size: int = 96) -> None:
    """Write a slide of glass with tissue in some columns."""
    image = np.full((size, size, 3), 245, np.uint8)
    image[:, tissue] = np.random.default_rng(size).integers(90, 200, image[:, tissue].shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_the_tiles_of_a_folder(tmp_path: Path) -> None:
    slide(tmp_path / "a/1.png", slice(0, 64))
    slide(tmp_path / "b/2.tif", slice(32, 96))
    slide(tmp_path / "b/empty.png", slice(0, 0))
    slide(tmp_path / "b/small.png", slice(0, 20), size=20)
    images, table, lost = tiled(read_folder(tmp_path).table(), Cutting(32, 32, 0.5), progress=False)
    assert len(images) == len(table) == 12  # two of three columns of each, three rows
    assert table.counts() == {"a": 6, "b": 6}
    assert [Path(path).name for path in sorted(set(table.columns["image"]))] == ["1.png", "2.tif"]
    assert table.paths[1].endswith("1.png@0,32")
    assert {Path(image.path).name: image.reason for image in lost} == {
        "empty.png": "nothing but background",
        "small.png": "20 x 20 pixels are less than a tile of 32",
    }
    with pytest.raises(UserError, match="2 of the 4 images"):
        tiled(read_folder(tmp_path).table(), Cutting(32, 32, 0.5), strict=True, progress=False)


def test_pre_training_from_one_image(tmp_path: Path) -> None:
    slide(tmp_path / "one.png", slice(0, 64))
    assert pretrain(tmp_path / "one.png", tmp_path / "run", "data.tiles=32", "data.tile_step=16") == 0
    content = metrics_of(tmp_path / "run")
    assert content["images"] == {"train": 20, "test": 0}  # columns from 0, 16, 32 and 48 (half of it glass), five rows
    assert content["metrics"]["effective_rank"] > 1


def test_tiles_of_an_image_stay_together(tmp_path: Path) -> None:
    for name in "ab":
        for number in range(5):
            slide(tmp_path / "data" / name / f"{number}.png", slice(0, 96))
    assert pretrain(tmp_path / "data", tmp_path / "run", "data.tiles=32") == 0
    content = metrics_of(tmp_path / "run")
    assert content["images"] == {"train": 72, "test": 18}  # one image of five of each class, nine tiles each
    assert content["groups"]["by"] == "the data's own column, image"
    assert [content["groups"][name] for name in ("train_groups", "test_groups", "leaked")] == [8, 2, 0]
    assert content["ci95_kind"] == "bootstrap over groups of test images"
