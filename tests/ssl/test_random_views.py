import math
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.ssl import pixels, random_views
from uda.ssl.families import RANDOM_VIEWS, find_random_views
from uda.ssl.medical_views import Histology
from uda.ssl.random_views import Asymmetric, Contrast, Glyphs, Weak
from uda.ssl.resampling import crop_boxes
from uda.ssl.views import CropFlip, Glyph, gray, to_float

FAMILIES = sorted(RANDOM_VIEWS)
CLOCK = Clock(7, 10, seed=2)
STILL = Contrast(12, scale=(1, 1), ratio=(1, 1), flip=0, jitter=0, gray=0)  # nothing is done


def batch_of(index: list[int], size: int = 12, domain: str = "target") -> Batch:
    """Images that belong to their index, whatever batch they are in."""
    images = torch.randint(0, 256, (400, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor(index)
    return Batch(images[rows], rows, None, domain)


def same_image(n: int, size: int = 12) -> Batch:
    image = batch_of([3], size).images
    return Batch(image.expand(n, -1, -1, -1), torch.arange(n), None, "target")


def changed(a: Tensor, b: Tensor) -> float:
    """Share of the images that differ."""
    return (a != b).flatten(1).any(1).float().mean().item()


@pytest.mark.parametrize("name", FAMILIES)
def test_views_have_the_size_asked_for_and_stay_in_range(name: str) -> None:
    family = find_random_views(name)(10)
    batch = batch_of(list(range(20)))
    for size, scale, side in ((None, None, 10), (6, None, 6), (6, (0.1, 0.4), 6), (None, (0.5, 0.5), 10)):
        views = family(batch, CLOCK, "a", size=size, scale=scale)
        assert views.shape == (20, 3, side, side)
        assert views.dtype == torch.float32
        assert views.is_contiguous()
        assert 0 <= views.min() < views.max() <= 1


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("scale", [None, (0.1, 0.4)])
def test_a_view_does_not_depend_on_its_batch(
    name: str, scale: tuple[float, float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = find_random_views(name)(12)
    index = list(range(40))
    together = family(batch_of(index), CLOCK, "b", scale=scale)
    assert torch.equal(family(batch_of(index), CLOCK, "b", scale=scale), together)  # and asking twice changes nothing
    for at in (0, 5, 39):
        assert torch.allclose(family(batch_of([at]), CLOCK, "b", scale=scale)[0], together[at], atol=1e-6)
    backward = family(batch_of(index[::-1]), CLOCK, "b", scale=scale)
    assert torch.allclose(backward.flip(0), together, atol=1e-6)
    monkeypatch.setattr(random_views, "_PART", 3 * 144)  # three images at a time
    assert torch.allclose(family(batch_of(index), CLOCK, "b", scale=scale), together, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_views_differ_between_names_steps_seeds_and_domains(name: str) -> None:
    family = find_random_views(name)(8)
    index = list(range(40))
    first = family(batch_of(index), CLOCK, "a")
    for other in (
        family(batch_of(index), CLOCK, "b"),
        family(batch_of(index), replace(CLOCK, step=8), "a"),
        family(batch_of(index), replace(CLOCK, seed=3), "a"),
        family(batch_of(index, domain="source"), CLOCK, "a"),
    ):
        assert changed(first, other) > 0.8


def test_without_anything_the_view_is_the_image() -> None:
    batch = batch_of(list(range(9)))
    assert torch.allclose(STILL(batch, CLOCK, "a"), to_float(batch.images), atol=1e-6)


@pytest.mark.parametrize(("stored", "side"), [(80, 64), (110, 100)])  # in parts of the batch, and image by image
def test_views_do_not_depend_on_the_number_of_threads(stored: int, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    family = Contrast(side, blur=0.5, solarize=0.5)
    batch = batch_of(list(range(40)), stored)
    alone = family(batch, CLOCK, "a")
    monkeypatch.setattr(random_views, "_FEW", 0)
    monkeypatch.setattr(random_views, "_PART", 3 * side**2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(family(batch, CLOCK, "a"), alone)
        with torch.inference_mode():
            assert torch.equal(family(batch, CLOCK, "a"), alone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_zero_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("called for nothing")

    for name in ("color_jitter", "grayscale", "solarize", "where_chosen"):
        monkeypatch.setattr(random_views, name, refuse)
    monkeypatch.setattr(pixels, "gaussian_blur", refuse)
    STILL(batch_of([0]), CLOCK, "a")
    with pytest.raises(AssertionError, match="for nothing"):
        replace(STILL, gray=1.0)(batch_of([0]), CLOCK, "a")


def test_each_probability_is_met_and_each_operation_is_its_own() -> None:
    batch, n = same_image(3000), 3000
    plain = to_float(batch.images[:1])
    expected = {
        "flip": plain.flip(3),
        "gray": gray(plain),
        "solarize": tv.solarize(plain, 0.5),
        "blur": tv.gaussian_blur(plain, [7, 7], [1.0, 1.0]),
    }
    for name, view in expected.items():
        family = replace(STILL, **{name: 0.3, "sigma": (1.0, 1.0)})
        views = family(batch, CLOCK, "a")
        done = (views - view).abs().flatten(1).amax(1) < 1e-4
        left = (views - plain).abs().flatten(1).amax(1) < 1e-4
        assert torch.all(done ^ left), name
        # 4 standard deviations of a share: √(0.3 · 0.7 ÷ 3000) = 0.00837
        assert done.float().mean().item() == pytest.approx(0.3, abs=0.0335), name
    jittered = replace(STILL, jitter=0.3)(batch, CLOCK, "a")
    assert (jittered - plain).abs().flatten(1).amax(1).gt(1e-4).sum().item() / n == pytest.approx(0.3, abs=0.0335)


def test_factors_lie_in_torchvisions_ranges_and_are_uniform() -> None:
    gray_image = torch.full((3000, 3, 4, 4), 102, dtype=torch.uint8)  # 0.4
    gray_image[:, :, :2] = 51  # 0.2; the mean is 0.3
    batch = Batch(gray_image, torch.arange(3000), None, "target")
    alone = replace(STILL, size=4, jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    for name in ("brightness", "contrast"):
        views = replace(alone, **{name: 0.4})(batch, CLOCK, "a")
        factor = views[:, 0, 3, 3] / 0.4 if name == "brightness" else (views[:, 0, 3, 3] - 0.3) / 0.1
        assert 0.6 - 1e-4 <= factor.min() < 0.61
        assert 1.39 < factor.max() <= 1.4 + 1e-4
        assert factor.mean().item() == pytest.approx(1.0, abs=4 * 0.8 / math.sqrt(12 * 3000))
        wide = replace(alone, **{name: 1.6})(batch, CLOCK, "a")[:, 0, 3, 3]  # torchvision: 0 … 2.6, not −0.6 …
        low = 0.0 if name == "brightness" else 0.3
        assert low - 1e-6 <= wide.min() < low + 0.01
    red = torch.zeros(3000, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 255
    turned = replace(alone, hue=0.1)(Batch(red, torch.arange(3000), None, "t"), CLOCK, "a")[:, :, 0, 0]
    turn = (turned[:, 1] - turned[:, 2]) / 6  # up to a sixth of the circle either channel rises by 6 · turn
    assert turn.abs().max().item() == pytest.approx(0.1, abs=1e-3)
    assert turn.mean().item() == pytest.approx(0.0, abs=4 * 0.2 / math.sqrt(12 * 3000))


@pytest.mark.parametrize(("stored", "side"), [(32, 24), (110, 100)])  # in parts of the batch, and image by image
def test_contrast_of_one_image_is_torchvisions_chain(stored: int, side: int) -> None:
    family = Contrast(side, blur=0.5, solarize=0.5)
    batch = batch_of(list(range(60)), stored)
    views = family(batch, CLOCK, "a")
    draws = random_views.uniform(CLOCK.seed, CLOCK.step, batch.index, "contrast/targeta", 36)
    boxes = crop_boxes(draws[:, :22], (stored, stored), (0.2, 1.0), (3 / 4, 4 / 3)).tolist()
    adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    close = []
    for image, view, box, row in zip(batch.images, views, boxes, draws[:, 22:].tolist(), strict=True):
        image = image if stored > 64 else image / 255  # large ones are rounded to bytes, as torchvision's are
        expected = tv.resized_crop(image, *box, [side, side], antialias=True)
        expected = expected if expected.is_floating_point() else expected / 255
        expected = tv.horizontal_flip(expected) if row[0] < 0.5 else expected
        factors = [*(0.6 + 0.8 * draw for draw in row[6:9]), 0.2 * row[9] - 0.1]
        if row[1] < 0.8:
            for kind in sorted(range(4), key=lambda kind, row=row: row[10 + kind]):
                expected = adjust[kind](expected, factors[kind])
        expected = tv.rgb_to_grayscale(expected, 3) if row[2] < 0.2 else expected
        expected = tv.gaussian_blur(expected, [13, 13], [0.1 + 1.9 * row[4]] * 2) if row[3] < 0.5 else expected
        expected = tv.solarize(expected, 0.5) if row[5] < 0.5 else expected
        close.append(((view - expected).abs() < 1 / 255).float().mean().item())
    # a pixel within rounding of 0.5 may be inverted here and not there: 1 − 0.4998 for 0.4998 is small, so none shows
    assert min(close) == 1.0


def test_asymmetric_views_follow_their_names() -> None:
    family = Asymmetric(16, sigma=(0.5, 1.0))
    assert family.rates("a") == (1.0, 0.0)
    assert family.rates("b") == (0.1, 0.2)
    assert family.rates("small 1") == (0.5, 0.0)
    pixels = torch.full((2000, 3, 16, 16), 128, dtype=torch.uint8)  # 0.502, the inverse of which is 0.498
    grays = Batch(pixels, torch.arange(2000), None, "target")
    still = replace(family, second_solarize=0.3, jitter=0.0)
    assert (still(grays, CLOCK, "a") > 0.5).all()
    share = (still(grays, CLOCK, "b") < 0.5).flatten(1).all(1).float().mean().item()
    assert share == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2000))


def test_glyphs_are_gray_never_mirrored_and_the_glyph_augmentations() -> None:
    batch = batch_of(list(range(30)))
    views = Glyphs(10)(batch, CLOCK, "a")
    assert torch.equal(views[:, 0], views[:, 2])
    assert torch.equal(views, Glyph(10)(batch, CLOCK, "a"))
    still = Glyphs(12, degrees=0, zoom=(1, 1), shear=0, shift=0, strength=0)
    plain = gray(to_float(batch.images))
    assert torch.allclose(still(batch, CLOCK, "a"), plain, atol=1e-5)
    half = still(batch, CLOCK, "a", size=6)
    for image, view in zip(plain, half, strict=True):
        assert torch.allclose(view, tv.resize(image, [6, 6], antialias=True), atol=1e-5)
    crops = still(batch, CLOCK, "a", size=6, scale=(0.2, 0.4))
    assert changed(crops, half) == 1.0


def test_weak_views_are_whole_pixels_of_the_image() -> None:
    batch = batch_of(list(range(30)), 16)
    assert torch.equal(Weak(12)(batch, CLOCK, "a"), CropFlip(12)(batch, CLOCK, "a"))
    assert torch.equal(Weak(12)(batch, CLOCK, "a", size=5), CropFlip(5)(batch, CLOCK, "a"))
    whole = Weak(16)(batch, CLOCK, "a", scale=(1.0, 1.0))
    plain = to_float(batch.images)
    mirrored = (whole - plain.flip(3)).abs().flatten(1).amax(1) < 1e-5
    kept = (whole - plain).abs().flatten(1).amax(1) < 1e-5
    assert torch.all(mirrored ^ kept)
    assert 5 < mirrored.sum() < 25


def test_options_are_keywords_and_ranges_are_checked() -> None:
    for kind in RANDOM_VIEWS.values():
        given = [field.name for field in fields(kind) if field.init and not field.kw_only]
        assert given == (["size", "statistics"] if kind is Histology else ["size"])
    with pytest.raises(UserError, match=r"views\.scale is a range and cannot go from 0\.9 to 0\.2; put the smaller"):
        Contrast(8, scale=(0.9, 0.2))
    with pytest.raises(UserError, match=r"views\.zoom is a range"):
        Glyphs(8, zoom=(1.2, 0.8))
    with pytest.raises(UserError, match="unknown views 'contrst': did you mean contrast"):
        find_random_views("contrst")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", FAMILIES)
def test_cuda_gives_the_same_views(name: str) -> None:
    batch = batch_of(list(range(64)), 40)
    family = find_random_views(name)(32)
    for scale in (None, (0.1, 0.4)):
        ours = family(batch, CLOCK, "b", scale=scale)
        theirs = family(batch.to(torch.device("cuda")), CLOCK, "b", scale=scale).cpu()
        # a pixel within rounding of the solarization's threshold changes by as little
        assert torch.allclose(ours, theirs, atol=2e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_is_not_waited_for() -> None:
    batch = batch_of(list(range(8)), 40).to(torch.device("cuda"))
    family = Asymmetric(32)
    family(batch, CLOCK, "b")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        family(batch, CLOCK, "b")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_gray_tiles_are_drawn_one_by_one_and_all_else_stays() -> None:
    batch = batch_of(list(range(40)), size=13)
    plain, some = (Contrast(13, jitter=0, gray=0, gray_tiles=share)(batch, CLOCK, "a") for share in (0.0, 0.3))
    assert torch.equal(some[..., 12:], plain[..., 12:])  # beyond the tiles of 4 pixels
    cells = [t[..., :12, :12].unflatten(3, (3, 4)).unflatten(2, (3, 4)) for t in (plain, some, gray(plain))]
    same, grayed = ((cells[1] - other).abs().amax(dim=(1, 3, 5)) < 1e-6 for other in (cells[0], cells[2]))
    assert (same | grayed).all()
    assert (grayed & ~same).float().mean().item() == pytest.approx(0.3, abs=0.08)  # 360 tiles: 3 deviations are .07
    assert (grayed & ~same).flatten(1).float().mean(dim=1).std() > 0
