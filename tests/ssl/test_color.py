import numpy as np
import pytest
import torch

from uda.ssl.color import gamut_bins, lab_to_rgb, rgb_to_lab


def image(*color: float) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.float64).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        # Y = 0.212671: L = 116 · 0.212671^(1/3) − 16 = 53.2408; x = (0.412453/0.95047)^(1/3) = 0.757042,
        # y = 0.596904, z = (0.019334/1.08883) = 0.017757^(1/3) = 0.260880: a = 500 (x − y), b = 200 (y − z)
        ((1.0, 0.0, 0.0), (53.2408, 80.0923, 67.2032)),
        # linear 0.5: ((0.735357 + 0.055)/1.055)^2.4; L = 116 · 0.5^(1/3) − 16
        ((0.735357, 0.735357, 0.735357), (76.0693, 0.0, 0.0)),
    ],
)
def test_known_colors(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    assert rgb_to_lab(image(*rgb)).flatten().tolist() == pytest.approx(lab, abs=6e-3)


def test_there_and_back() -> None:
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lab_to_rgb(rgb_to_lab(images)), images, atol=1e-4)
    dark = images / 50  # the linear part of both curves
    assert torch.allclose(lab_to_rgb(rgb_to_lab(dark)), dark, atol=1e-4)
    assert torch.allclose(lab_to_rgb(rgb_to_lab(images.float())), images.float(), atol=1e-3)


def test_colors_that_do_not_exist_are_cut_off() -> None:
    assert lab_to_rgb(image(50.0, 120.0, -120.0)).aminmax() == (0.0, pytest.approx(1.0, abs=0.3))


def test_against_an_independent_library() -> None:
    color = pytest.importorskip("skimage.color")
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lab = rgb_to_lab(images)
    assert np.allclose(lab.permute(0, 2, 3, 1).numpy(), color.rgb2lab(images.permute(0, 2, 3, 1).numpy()), atol=1e-9)
    back = color.lab2rgb(lab.permute(0, 2, 3, 1).numpy())
    assert np.allclose(lab_to_rgb(lab).permute(0, 2, 3, 1).numpy(), back, atol=1e-6)


def test_half_precision_around_does_not_round_the_colors() -> None:
    images = torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rgb_to_lab(images), rgb_to_lab(images))
        inside = rgb_to_lab(images)
    assert torch.equal(inside, rgb_to_lab(images))


def test_the_bins_that_srgb_reaches() -> None:
    bins = gamut_bins()
    assert bins.shape == (261, 2)
    assert len(bins.unique(dim=0)) == 261
    assert torch.equal(bins % 10, torch.zeros_like(bins))
    assert [0.0, 0.0] in bins.tolist()
    # every color falls into one of them: colors inside the cube, which the search has not looked at
    images = torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(2))
    found = {tuple(cell) for cell in ((rgb_to_lab(images)[0, 1:].flatten(1).T / 10).round() * 10).tolist()}
    assert found <= {tuple(cell) for cell in bins.tolist()}
    assert torch.equal(gamut_bins(levels=256), bins)
