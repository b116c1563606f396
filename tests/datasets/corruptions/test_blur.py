import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from uda.datasets.corruptions import blur, corrupt

ROW = torch.tensor([0.0, 0, 100, 0, 0, 0, 0, 0])


def image(row: torch.Tensor) -> torch.Tensor:
    return row.expand(1, 1, 8, 8)


def test_gaussian_blur_by_hand() -> None:
    # sigma 0.5, 2 taps to each side: exp(−2 · i²) = 1, .13534, .00034; their sum is 1.27134.
    found = blur.gaussian_blur(image(ROW), 0.5)[0, 0, 4]
    weights = [math.exp(-2 * i * i) for i in (2, 1, 0, 1, 2)]
    expected = [100 * weight / sum(weights) for weight in weights] + [0, 0, 0]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert torch.equal(blur.gaussian_blur(image(ROW), 0.05), image(ROW))  # no tap beside the middle one


@pytest.mark.parametrize("border", ["nearest", "reflect", "mirror"])
@pytest.mark.parametrize("sigma", [0.7, 3.0, 40.0])
def test_gaussian_blur_is_scipy_s(border: blur.Border, sigma: float) -> None:
    values = torch.rand(2, 1, 70, 61, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = blur.gaussian_blur(values, sigma, truncate=3, border=border)
    expected = ndimage.gaussian_filter(values.numpy(), (0, 0, sigma, sigma), mode=border, truncate=3)
    assert np.abs(found.numpy() - expected).max() < 1e-12


def test_disk_by_hand() -> None:
    # Radius 1: a plus of five pixels, each 1/5; without a soft edge it stays one.
    kernel = blur.disk(1, 0.01).numpy()
    assert kernel.shape == (17, 17)
    assert kernel[8, 7:10] == pytest.approx([0.2, 0.2, 0.2])
    assert kernel[7, 7:10] == pytest.approx([0, 0.2, 0])
    assert blur.disk(10, 0.5).shape == (21, 21)
    assert float(blur.disk(6, 0.5).sum()) == pytest.approx(1)
    # At radius 8 it touches its frame: 1 of 197 pixels lies on each edge, 7 lie beside. Of the 3 taps e^−2, 1, e^−2 the
    # outer ones weigh .10651. What lies beside the edge reaches it and is mirrored back, so it counts .10651 too much,
    # and what lies on the edge as much too little.
    share = math.exp(-2) / (1 + 2 * math.exp(-2))
    assert float(blur.disk(8, 0.5).sum()) == pytest.approx(1 + 4 * share * (7 - 1) / 197)


def test_defocus_is_a_correlation_with_the_disk() -> None:
    values = torch.rand(1, 2, 30, 23, generator=torch.Generator().manual_seed(0)) * 255
    found = blur.defocus_blur(values, 3, 0.1)
    expected = [
        ndimage.correlate(plane.double().numpy(), blur.disk(3, 0.1).numpy(), mode="mirror") for plane in values[0]
    ]
    assert np.abs(found[0].numpy() - np.stack(expected)).max() < 1e-3


def test_motion_blur_by_hand() -> None:
    # Angle 0, radius 1: three taps at x, x + 1, x + 2 of weights 1, e^−½, e^−2 over their sum.
    taps = [1, math.exp(-0.5), math.exp(-2)]
    weights = [100 * tap / sum(taps) for tap in taps]
    found = blur.motion_blur(image(ROW), torch.zeros(1, dtype=torch.float64), 1, 1.0)[0, 0, 3]
    assert found.tolist() == pytest.approx([weights[2], weights[1], weights[0], 0, 0, 0, 0, 0])
    # Downward, the rows of the image above are all equal: nothing changes, at the edge either.
    found = blur.motion_blur(image(ROW), torch.full((1,), 90.0, dtype=torch.float64), 9, 3.0)
    assert torch.allclose(found, image(ROW))


def test_motion_blur_by_windows_is_that_by_slices() -> None:
    padded = torch.rand(3, 2, 30, 30, generator=torch.Generator().manual_seed(0))
    places = torch.randint(0, 18, (2, 3, 5), generator=torch.Generator().manual_seed(1))
    weights = [0.5, 0.2, 0.1, 0.1, 0.1]
    found = blur._by_windows(padded, *places, weights, 12, 13)
    assert torch.equal(found, blur._by_slices(padded, *places, weights, 12, 13))
    # By hand: one value of one image.
    rows, columns = places[:, 1].tolist()
    expected = sum(w * padded[1, 0, 4 + y, 7 + x] for w, y, x in zip(weights, rows, columns, strict=True))
    assert found[1, 0, 4, 7].item() == pytest.approx(float(expected))


def test_zoom_blur_by_hand() -> None:
    # Twice as large: the middle four of eight pixels, 0 … 3, become eight at 0, 3/7, 6/7, …
    ramp = image(torch.arange(8.0))
    assert blur.zoomed(ramp, 2.0)[0, 0, 0].tolist() == pytest.approx([2 + 3 * i / 7 for i in range(8)])
    assert torch.equal(blur.zoomed(ramp, 1.0), ramp)
    assert torch.allclose(blur.zoom_blur(ramp, 2.5, 1.0), (2 * ramp + blur.zoomed(ramp, 2.0)) / 3)


@pytest.mark.parametrize(
    "name", ["defocus_blur", "motion_blur", "zoom_blur", "glass_blur", "gaussian_blur", "pixelate"]
)
def test_an_even_image_stays_as_it_is(name: str) -> None:
    levels = torch.arange(0, 256, 5, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 24, 24)
    for severity in (1, 3):
        assert torch.equal(corrupt(levels, name, severity), levels)
