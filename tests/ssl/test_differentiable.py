"""Differentiable augmentation by hand, and the views through which every objective reaches generated images."""

import pytest
import torch

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.discriminator import Discriminator
from uda.ssl import OBJECTIVES, Info, Need
from uda.ssl.differentiable import Differentiable, augmented, color, cutout, draws_for, translation
from uda.ssl.objective import Objective
from uda.ssl.views import NoAugmentation, OrGiven

FITTING = [kind for kind in OBJECTIVES.values() if not kind.needs & ~(Need.PIXELS | Need.MAP)]


def test_color_by_hand() -> None:
    views = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    # brightness 0.5 + (1 − 0.5)/2 … here draw 0.7 adds 0.1; saturation and contrast at 0.5 times 1: nothing else
    assert torch.allclose(color(views, torch.tensor([[0.7, 0.5, 0.5]])), views + 0.1)
    # saturation at draw 0: gray of the mean, 0.4
    assert torch.allclose(color(views, torch.tensor([[0.5, 0.0, 0.5]])), torch.full((1, 3, 2, 2), 0.4))
    # contrast at draw 0: half of the distance to the mean, 0.4
    expected = torch.tensor([0.3, 0.4, 0.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert torch.allclose(color(views, torch.tensor([[0.5, 0.5, 0.0]])), expected)


def test_translation_by_hand() -> None:
    views = torch.arange(64.0).view(1, 1, 8, 8).expand(2, 3, 8, 8)
    # an eighth of 8 pixels is 1: draws below a third move by −1, above two thirds by 1, for rows and columns
    moved = translation(views, torch.tensor([[0.1, 0.5], [0.5, 0.9]]))
    assert torch.equal(moved[0, 0, :7], views[0, 0, 1:])
    assert moved[0, 0, 7].tolist() == [0.5] * 8
    assert torch.equal(moved[1, 0, :, 1:], views[1, 0, :, :7])
    assert moved[1, 0, :, 0].tolist() == [0.5] * 8


def test_cutout_by_hand() -> None:
    views = torch.zeros(2, 3, 4, 4)
    # half of 4 is a square of 2; draws · 5 are 2: its center, rows and columns 1 and 2; the other: over a corner
    cut = cutout(views, torch.tensor([[0.5, 0.5], [0.0, 0.99]]))
    assert cut[0, 0].tolist() == [[0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 0]]
    assert cut[1, 0].tolist() == [[0, 0, 0, 0.5], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_they_follow_each_other_with_draws_of_their_own() -> None:
    views, draws = torch.rand(2, 3, 8, 8), torch.rand(2, 5)
    names = ("translation", "color")
    assert draws_for(names) == 5
    assert torch.equal(augmented(views, names, draws), color(translation(views, draws[:, :2]), draws[:, 2:]))
    assert augmented(views, (), draws) is views


def test_an_image_is_treated_as_its_draws_say_whatever_stands_beside_it() -> None:
    views, draws = torch.rand(5, 3, 8, 8), torch.rand(5, 7)
    names = ("color", "translation", "cutout")
    together = augmented(views, names, draws)
    assert torch.allclose(augmented(views[3:4], names, draws[3:4]), together[3:4], atol=1e-6)


def test_views_are_functions_of_step_and_name() -> None:
    family = Differentiable(16)
    batch = Batch((torch.rand(4, 3, 16, 16) * 255).byte(), torch.arange(4), None, "images")
    one, again, other = (
        family(batch, Clock(0, 9), "a"),
        family(batch, Clock(0, 9), "a"),
        family(batch, Clock(0, 9), "b"),
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert family(batch, Clock(0, 9), "c", size=8, scale=(0.2, 0.4)).shape == (4, 3, 8, 8)


@pytest.mark.parametrize("kind", FITTING, ids=lambda kind: str(kind.name))
def test_a_gradient_of_every_objective_reaches_generated_images(kind: type[Objective]) -> None:
    torch.manual_seed(0)
    encoder = Discriminator(32, 8)
    info = Info(20, 0, 32, 0, OrGiven(32, NoAugmentation(32)), Differentiable(32))
    objective = kind(encoder, info)
    images = torch.rand(6, 3, 32, 32, requires_grad=True)
    generated = Batch(images * 1.0, torch.arange(6), None, "generated")
    (gradient,) = torch.autograd.grad(objective(encoder, generated, Clock(0, 9)).value, images)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
