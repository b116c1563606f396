"""Views of tissue and of films: what they change, what they leave, and what cannot be learned under them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.experiments.pretraining import pretrain
from tests.ssl.test_random_views import CLOCK, batch_of
from tests.tiny import draw_classes
from uda.batch import Batch
from uda.ssl.families import RANDOM_VIEWS, find_random_views
from uda.ssl.medical_views import Histology, XRay
from uda.ssl.random_views import Contrast
from uda.ssl.stain import densities, from_densities, stain_statistics
from uda.ssl.views import to_bytes, to_float

STILL = Histology(12, scale=(1, 1), ratio=(1, 1), turns=False, jitter=0, normalize=0, blur=0)


def test_natural_views_are_those_of_photographs() -> None:
    assert find_random_views("natural") is Contrast
    assert {"histology", "xray", "natural"} <= set(RANDOM_VIEWS)


def test_a_view_depends_on_its_image_and_not_on_the_batch() -> None:
    images = batch_of(list(range(40))).images
    for view in (Histology(12, stain_statistics(images), blur=0.5), XRay(12)):
        many = view(batch_of([5, 9, 7]), CLOCK, "a")
        torch.testing.assert_close(view(batch_of([9]), CLOCK, "a")[0], many[1])
        assert not torch.equal(view(batch_of([9]), CLOCK, "b")[0], many[1])
        assert many.shape == (3, 3, 12, 12)
        assert 0 <= float(many.min()) <= float(many.max()) <= 1


def test_turns_alone_move_whole_pixels() -> None:
    batch = batch_of(list(range(64)))
    views = replace(STILL, turns=True)(batch, CLOCK, "a")
    upright = to_float(batch.images)
    ways = [torch.rot90(m, k, (2, 3)) for m in (upright, upright.flip(-1)) for k in range(4)]
    same = torch.stack([(views - way).abs().amax((1, 2, 3)) < 1e-5 for way in ways])
    assert same.any(0).all()
    assert same.any(1).all()  # each of the eight somewhere


def test_jitter_changes_every_stain_by_no_more_than_asked_for() -> None:
    stains = 0.2 + 0.4 * torch.rand(200, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    batch = Batch(to_bytes(from_densities(stains)), torch.arange(200), None, "target")
    views = replace(STILL, jitter=1.0, stain=0.1, stain_shift=0.0)(batch, CLOCK, "a")
    before, after = densities(to_float(batch.images)), densities(views)
    factor = after.flatten(2).mean(2) / before.flatten(2).mean(2)
    assert float((factor - 1).abs().max()) < 0.101
    assert (factor.std(0) > 0.04).all()  # uniform over ±0.1: a deviation of 0.058
    half = replace(STILL, jitter=0.5)(batch, CLOCK, "a")
    assert 60 < int((half - STILL(batch, CLOCK, "a")).abs().amax((1, 2, 3)).gt(1e-3).sum()) < 140


def test_normalization_takes_its_statistics_from_the_training_images() -> None:
    batch = batch_of(list(range(50)))
    view = replace(STILL, normalize=1.0)
    still = view(batch, CLOCK, "a")
    assert torch.equal(still, STILL(batch, CLOCK, "a"))  # none measured
    pink = stain_statistics(torch.tensor([230, 150, 190], dtype=torch.uint8).view(1, 3, 1, 1).expand(4, 3, 12, 12))
    views = replace(view, statistics=pink)(batch, CLOCK, "a")
    # One color without spread: the deviation wanted is 0, so every image becomes that color.
    torch.testing.assert_close(views.mean((0, 2, 3)) * 255, torch.tensor([230.0, 150, 190]), atol=0.5, rtol=0)


def test_films_stay_gray() -> None:
    pixels = torch.randint(0, 256, (30, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    batch = Batch(pixels.expand(-1, 3, -1, -1), torch.arange(30), None, "target")
    views = XRay(16)(batch, CLOCK, "a")
    torch.testing.assert_close(views[:, 0], views[:, 2], atol=1e-5, rtol=0)
    assert not torch.equal(views, XRay(16, degrees=0)(batch, CLOCK, "a"))


def test_rotation_under_views_that_are_turned_is_refused(tmp_path: Path) -> None:
    photos = draw_classes(tmp_path / "photos", {"a": 4, "b": 4})
    out = tmp_path / "run"
    own = ["views=histology", "data.augment=views"]
    assert pretrain(photos, out, *own, "views.turns=false", objective="rotation", steps=1) == 0
    assert pretrain(photos, tmp_path / "two", "views=histology", objective="rotation simclr", steps=1) == 0
    for name in ("rotation", "turn_shift", "placebo:rotation"):
        assert pretrain(photos, tmp_path / "three", *own, objective=name, steps=1) == 2


def test_the_refusals_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = draw_classes(tmp_path / "photos", {"a": 4, "b": 4})
    assert pretrain(photos, tmp_path / "run", "views=histology", "data.augment=views", objective="rotation") == 2
    assert "set views.turns=false, or data.augment=crop-flip" in capsys.readouterr().err
    assert pretrain(photos, tmp_path / "run", "views=histology", "views.hue=0.1", objective="simclr") == 2
    assert "views.hue" in capsys.readouterr().err  # stains have no such option
