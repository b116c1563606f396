"""Copies of one original, whichever way they were turned, mirrored, zoomed or shifted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tests.shared_data import real
from uda.datasets.cache import pack
from uda.datasets.folders import read_folder
from uda.datasets.originals import SIDE, originals, similar_colors


def tissue(seed: int) -> Image.Image:
    """Return a picture that is all details: a few hundred small disks of random color on a bright ground."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), 225.0)
    y, x = np.mgrid[:SIDE, :SIDE]
    ground = rng.integers(60, 180, 3)
    for _ in range(120):
        (cy, cx), radius = rng.uniform(0, SIDE, 2), rng.uniform(1.5, 5)
        image[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = (ground + rng.integers(-40, 40, 3)).clip(0, 255)
    return Image.fromarray(image.astype(np.uint8))


def squares(*images: object) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2).copy())


def turned(images: Tensor, way: int) -> Tensor:
    """Return one of the eight rotations and reflections of a square."""
    return torch.rot90(images if way < 4 else images.flip(-1), way % 4, (2, 3))


@given(st.lists(st.integers(0, 7), min_size=6, max_size=6))
@settings(max_examples=5)
def test_the_eight_turns_and_reflections_change_nothing(ways: list[int]) -> None:
    pictures = squares(*(tissue(seed) for seed in (0, 1, 2)))
    images = torch.cat([turned(pictures[i % 3 : i % 3 + 1], way) for i, way in enumerate(ways)])
    groups = originals(images)
    # Each picture twice, whichever way it was turned: three groups of two.
    assert len(set(groups.tolist())) == 3
    assert (groups[:3] == groups[3:]).all()
    upright = torch.cat([pictures, pictures])
    assert torch.equal(similar_colors(images, 1), similar_colors(upright, 1))


def test_turned_by_any_angle_and_zoomed_in_as_augmentation_does() -> None:
    picture = tissue(3)
    copies = [picture.rotate(angle).crop((14, 14, 82, 82)).resize((SIDE, SIDE)) for angle in (7, 24, -19)]
    groups = originals(squares(picture, *copies, tissue(4), tissue(5)))
    assert len(set(groups[:4].tolist())) == 1
    assert len(set(groups.tolist())) == 3


def test_one_image_and_flat_ones_are_alone() -> None:
    assert originals(squares(tissue(0))).tolist() == [0]
    flat = torch.full((2, 3, SIDE, SIDE), 200, dtype=torch.uint8)
    assert len(set(originals(flat).tolist())) == 2  # nothing to compare
    with pytest.raises(ValueError, match="squares must be uint8"):
        originals(torch.zeros(2, 3, 32, 32))


@pytest.mark.slow
def test_the_lung_images_are_of_far_fewer_originals() -> None:
    root = real("lung_histology") / "lung_histology"
    images, table, _ = pack(read_folder(root).table(), 112, progress=False)
    groups = originals(images.square(np.arange(len(table)), SIDE))
    classes = [set(groups[table.labels == i].tolist()) for i in range(3)]
    assert not (classes[0] & classes[1]) | (classes[0] & classes[2]) | (classes[1] & classes[2])
    assert [len(found) for found in classes] == pytest.approx([176, 189, 203], abs=3)
