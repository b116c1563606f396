import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from uda.ssl.augmix import (
    OPERATIONS,
    affine_maps,
    augmix,
    autocontrast,
    equalize,
    even_shares,
    posterize,
    solarize,
    warp,
)


def photos(n: int = 4, size: int = 16, seed: int = 0) -> torch.Tensor:
    """Smooth random images of whole gray levels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 255 * torch.rand(n, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return smooth.round() / 255


def pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def of_pil(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def test_pixel_operations_equal_pils() -> None:
    images = photos()
    bits, thresholds = torch.tensor([4.0, 3.0, 1.0, 8.0]), torch.tensor([256.0, 200.0, 128.0, 0.0])
    for place, image in enumerate(images):
        own = pil(image)
        level = 1.001 / 255
        assert torch.allclose(autocontrast(images)[place], of_pil(ImageOps.autocontrast(own)), atol=level)
        assert torch.allclose(equalize(images)[place], of_pil(ImageOps.equalize(own)))
        assert torch.allclose(posterize(images, bits)[place], of_pil(ImageOps.posterize(own, int(bits[place]))))
        inverted = ImageOps.solarize(own, int(thresholds[place]))
        assert torch.allclose(solarize(images, thresholds)[place], of_pil(inverted))


def test_pixel_operations_by_hand() -> None:
    levels = torch.tensor([0.0, 100, 200, 255]).view(1, 1, 2, 2).expand(1, 3, 2, 2) / 255
    assert (posterize(levels, torch.tensor([1.0])) * 255)[0, 0].flatten().tolist() == [0, 0, 128, 128]
    assert (solarize(levels, torch.tensor([200.0])) * 255)[0, 0].flatten().tolist() == [0, 100, 55, 0]
    assert autocontrast(0.25 + levels / 2)[0, 0].flatten().tolist() == pytest.approx([0, 100 / 255, 200 / 255, 1])
    flat = torch.full((1, 3, 2, 2), 0.2)
    assert torch.allclose(autocontrast(flat), flat)
    assert torch.allclose(equalize(flat), flat)


def maps(name: str, level: float, negative: bool, size: int = 16) -> torch.Tensor:
    number = torch.tensor([OPERATIONS.index(name)])
    return affine_maps(number, torch.tensor([level]), torch.tensor([negative]), size)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_motions_equal_pils(name: str, negative: bool) -> None:
    image, sign, level, size = photos(1)[0], -1 if negative else 1, 9.0, 16
    own, bilinear = pil(image), Image.Resampling.BILINEAR
    # 9 of 10: 27 degrees, a shear of 0.27, ⌊0.9 · 16 / 3⌋ = 4 pixels.
    coefficients = {
        "shear_x": (1, sign * 0.27, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, sign * 0.27, 1, 0),
        "translate_x": (1, 0, sign * 4, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, sign * 4),
    }
    if name == "rotate":
        expected = own.rotate(sign * 27, resample=bilinear)
    else:
        expected = own.transform(own.size, Image.Transform.AFFINE, coefficients[name], resample=bilinear)
    found = warp(image[None], maps(name, level, negative))[0]
    assert torch.allclose(found, of_pil(expected), atol=1.001 / 255)
    assert float((found - image).abs().mean()) > 0.02
    black = (found == 0).all(0)
    assert 0 < float(black.float().mean()) < 0.5
    assert size == found.shape[-1]


def test_a_translation_by_hand() -> None:
    # Two pixels to the left of a 16-pixel image: ⌊4 / 10 · 16 / 3⌋ = 2.
    image = photos(1)
    moved = warp(image, maps("translate_x", 4.0, False))
    assert torch.allclose(moved[..., :14], image[..., 2:], atol=1e-6)
    assert bool((moved[..., 14:] == 0).all())


def test_other_operations_do_not_move() -> None:
    for name in ("autocontrast", "equalize", "posterize", "solarize"):
        assert maps(name, 9.0, True)[0].tolist() == [[1, 0, 0], [0, 1, 0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 4), st.sampled_from([None, 1, 2, 3]), st.booleans())
def test_views_are_images_and_do_not_depend_on_the_batch(seed, step, width, depth, strong) -> None:
    images, index = photos(6), torch.tensor([9, 0, 4, 2**33, 1, 7])
    severity = 10.0 if strong else 3.0
    before = images.clone()
    views = augmix(images, seed, step, index, "a", width, depth, severity)
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert bool(((views >= 0) & (views <= 1)).all())
    assert torch.equal(images, before)
    part = augmix(images[2:4], seed, step, index[2:4], "a", width, depth, severity)
    assert torch.allclose(part, views[2:4], atol=1e-6)


def test_seeds_steps_and_purposes_are_further_draws() -> None:
    images, index = photos(8), torch.arange(8)
    first = augmix(images, 0, 0, index, "a")
    for other in (augmix(images, *key, index, name) for *key, name in ((1, 0, "a"), (0, 1, "a"), (0, 0, "b"))):
        assert bool(((first - other).abs().amax((1, 2, 3)) > 0.01).all())
    same = augmix(images[:1].expand(8, -1, -1, -1), 0, 0, index, "a")
    assert len({round(float(view.sum()), 3) for view in same}) == 8


def test_a_flat_gray_image_is_blended_with_itself_and_with_black_alone() -> None:
    # Contrast and histogram leave one gray level as it is, 128 keeps its highest 3 bits and is inverted only from 180
    # on, at severity 3; motions bring in black. So with single operations nothing is brighter than it was, and the
    # middle stays.
    images = torch.full((64, 3, 32, 32), 128 / 255)
    views = augmix(images, 0, 0, torch.arange(64), depth=1)
    assert float(views.max()) <= 128 / 255 + 1e-5
    assert torch.allclose(views[:, :, 14:18, 14:18], images[:, :, 14:18, 14:18], atol=1e-5)
    assert float(views.min()) < 0.3


def test_operations_are_equally_frequent_and_the_blend_is_uniform() -> None:
    # With one chain of one operation the view is x + (1 − m)(op(x) − x). White images show which it was: solarized or
    # posterized they stay of one color, 2 of 9. Moved to the left, they have whole black columns on the right only: 1
    # of 9, half of the signs, and the shift ⌊level · 8 / 30⌋ is not 0 for the 6.25 of 9.9 levels from 3.75 on.
    views = augmix(torch.ones(4000, 3, 8, 8), 0, 0, torch.arange(4000), width=1, depth=1, severity=10.0)[:, 0]
    darker = (views < 1 - 1e-6).flatten(1).any(1)
    one_color = (views - views[:, :1, :1]).flatten(1).abs().amax(1) < 1e-6
    assert float((darker & one_color).float().mean()) == pytest.approx(2 / 9, abs=0.026)  # 4 standard deviations
    moved = darker & ~one_color & ((views - views[:, :1]).flatten(1).abs().amax(1) < 1e-6)
    moved &= (views[:, :, :4] > 1 - 1e-6).flatten(1).all(1)
    assert float(moved.float().mean()) == pytest.approx(6.25 / 9.9 / 18, abs=0.012)
    # What is left of the white there is m, uniform in [0, 1).
    left, n = views[moved][:, 0, 7], int(moved.sum())
    for share in (0.25, 0.5, 0.75):
        assert float((left < share).float().mean()) == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


def test_shares_of_chains_are_dirichlet() -> None:
    # Of Dirichlet(1, 1, 1) each share is below t with probability 1 − (1 − t)².
    shares = even_shares(torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(shares.sum(1), torch.ones(20_000), atol=1e-6)
    for t in (0.2, 0.5, 0.8):
        assert (shares < t).float().mean(0).tolist() == pytest.approx([1 - (1 - t) ** 2] * 3, abs=0.015)
    assert bool(torch.isfinite(even_shares(torch.zeros(1, 3))).all())


def test_settings_that_are_none_are_refused() -> None:
    for wrong in ({"width": 0}, {"depth": 0}, {"depth": 4}, {"severity": 0.0}, {"severity": 11.0}):
        with pytest.raises(ValueError, match="is none"):
            augmix(photos(), 0, 0, torch.arange(4), **wrong)
