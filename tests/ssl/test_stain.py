"""Stains: equal to scikit-image's, undone by their inverse, and moved as the numbers say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from uda.ssl.color import rgb_to_lab
from uda.ssl.stain import (
    StainStatistics,
    densities,
    from_densities,
    image_statistics,
    right_angles,
    stain_jitter,
    stain_statistics,
    template,
    to_template,
)


def colors(n: int, size: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_densities_are_those_of_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.color")
    images = colors(4).double()
    theirs = np.stack([skimage.rgb2hed(image) for image in images.permute(0, 2, 3, 1).numpy()])
    ours = densities(images).clamp_min(0).permute(0, 2, 3, 1).numpy() / math.log(1e6)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    back = np.stack([skimage.hed2rgb(image) for image in theirs])
    stains = torch.from_numpy(theirs).permute(0, 3, 1, 2) * math.log(1e6)
    np.testing.assert_allclose(from_densities(stains).permute(0, 2, 3, 1).numpy(), back, atol=1e-9)


def test_densities_are_undone() -> None:
    images = colors(3)
    torch.testing.assert_close(from_densities(densities(images)), images, atol=1e-4, rtol=0)
    still = stain_jitter(images, torch.ones(3, 3), torch.zeros(3, 3))
    torch.testing.assert_close(still, images, atol=1e-4, rtol=0)


def test_a_pure_stain_by_hand() -> None:
    # Haematoxylin of density 1 lets through e^-0.65 of red, e^-0.70 of green and e^-0.29 of blue.
    pure = torch.tensor([0.65, 0.70, 0.29]).neg().exp().view(1, 3, 1, 1)
    torch.testing.assert_close(densities(pure).flatten(), torch.tensor([1.0, 0, 0]), atol=1e-5, rtol=0)
    # Twice as much of it, and 0.1 of eosin (0.07, 0.99, 0.11) on top.
    jittered = stain_jitter(pure, torch.tensor([[2.0, 1, 1]]), torch.tensor([[0.0, 0.1, 0]]))
    wanted = torch.tensor([2 * 0.65 + 0.007, 2 * 0.70 + 0.099, 2 * 0.29 + 0.011]).neg().exp()
    torch.testing.assert_close(jittered.flatten(), wanted, atol=1e-5, rtol=0)


def test_each_image_has_its_own_jitter() -> None:
    images = colors(2)
    factors = torch.tensor([[1.0, 1, 1], [1.5, 0.5, 1]])
    both = stain_jitter(images, factors, torch.zeros(2, 3))
    alone = stain_jitter(images[1:], factors[1:], torch.zeros(1, 3))
    torch.testing.assert_close(both[0], images[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(both[1:], alone)


def test_statistics_are_those_of_lab_by_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.color")
    images = (colors(5) * 255).byte()
    lab = np.stack([skimage.rgb2lab(image) for image in images.permute(0, 2, 3, 1).numpy()]).reshape(5, -1, 3)
    means, deviations = image_statistics(images)
    np.testing.assert_allclose(means.numpy(), lab.mean(1), atol=0.05)
    np.testing.assert_allclose(deviations.numpy(), lab.std(1), atol=0.05)
    found = stain_statistics(images)
    np.testing.assert_allclose(found.mean, lab.mean(1).mean(0), atol=0.05)
    np.testing.assert_allclose(found.mean_spread, lab.mean(1).std(0), atol=0.05)
    np.testing.assert_allclose(found.deviation, lab.std(1).mean(0), atol=0.05)
    np.testing.assert_allclose(found.deviation_spread, lab.std(1).std(0), atol=0.05)


def test_an_image_brought_to_a_template_has_its_mean_and_deviation() -> None:
    grays = 0.4 + 0.2 * colors(2)  # far from where sRGB ends, so that nothing is cut off
    own = image_statistics(grays)
    wanted = own[0] + torch.tensor([[5.0, 3, -4], [-6, 0, 2]]), own[1] * torch.tensor([[1.2], [0.7]])
    mean, deviation = image_statistics(to_template(grays, *own, *wanted))
    torch.testing.assert_close(mean, wanted[0], atol=0.05, rtol=0)
    torch.testing.assert_close(deviation, wanted[1], atol=0.05, rtol=0)
    torch.testing.assert_close(to_template(grays, *own, *own), grays, atol=1e-3, rtol=0)


def test_a_flat_image_is_moved_and_not_blown_up() -> None:
    flat = torch.full((1, 3, 8, 8), 0.5)
    moved = to_template(flat, *image_statistics(flat), torch.tensor([[60.0, 0, 0]]), torch.full((1, 3), 20.0))
    lab = rgb_to_lab(moved)[0].flatten(1)
    torch.testing.assert_close(lab.mean(1), torch.tensor([60.0, 0, 0]), atol=0.05, rtol=0)
    assert float(lab.std(1).max()) < 0.01


def test_templates_are_normal_with_the_spread_of_the_images() -> None:
    statistics = StainStatistics((60.0, 10.0, -5.0), (4.0, 2.0, 1.0), (12.0, 6.0, 3.0), (2.0, 1.0, 0.5))
    draws = torch.rand(20000, 6, generator=torch.Generator().manual_seed(1))
    mean, deviation = template(statistics, draws)
    torch.testing.assert_close(mean.mean(0), torch.tensor(statistics.mean), atol=0.1, rtol=0)
    torch.testing.assert_close(mean.std(0), torch.tensor(statistics.mean_spread), atol=0.1, rtol=0)
    torch.testing.assert_close(deviation.mean(0), torch.tensor(statistics.deviation), atol=0.1, rtol=0)
    middle = template(statistics, torch.full((1, 6), 0.5))
    torch.testing.assert_close(middle[0][0], torch.tensor(statistics.mean))


@given(st.integers(0, 3), st.booleans())
def test_right_angles_are_the_eight_of_the_square(quarters: int, mirrored: bool) -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    draws = torch.tensor([[quarters / 4 + 0.1, 0.2 if mirrored else 0.7]])
    upright = image.flip(-1) if mirrored else image
    assert torch.equal(right_angles(image, draws), torch.rot90(upright, quarters, (2, 3)))
