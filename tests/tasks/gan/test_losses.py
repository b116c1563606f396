"""Losses of two players, by hand."""

import math

import pytest
import torch

from uda.tasks.gan.losses import discriminator_loss, generator_loss, gradient_penalty

REAL, FAKE = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])


def test_hinge() -> None:
    # real: 0, 0.5, 2 → 2.5/3; generated: 0, 1 → 0.5
    assert discriminator_loss(REAL, FAKE).item() == pytest.approx(2.5 / 3 + 0.5)
    assert generator_loss(FAKE).item() == pytest.approx(1.5)


def test_non_saturating() -> None:
    def surprise(score: float) -> float:
        return -math.log(1 / (1 + math.exp(-score)))

    real = sum(map(surprise, (2, 0.5, -1))) / 3
    fake = sum(map(surprise, (3, 0))) / 2  # 1 − σ(s) is σ(−s)
    assert discriminator_loss(REAL, FAKE, "non_saturating").item() == pytest.approx(real + fake, rel=1e-6)
    assert generator_loss(FAKE, "non_saturating").item() == pytest.approx(sum(map(surprise, (-3, 0))) / 2, rel=1e-6)


def test_the_gradient_penalty_is_half_the_squared_length() -> None:
    # score 3·x₀ + x₁²: gradient (3, 2x₁): at x₁ = 2 of length² 25, at 0 of 9; the mean's half is 8.5
    images = torch.tensor([[[[1.0, 2.0]]], [[[5.0, 0.0]]]], requires_grad=True)
    weight = torch.tensor(3.0, requires_grad=True)
    scores = weight * images[:, 0, 0, 0] + images[:, 0, 0, 1] ** 2
    penalty = gradient_penalty(scores, images)
    assert penalty.item() == pytest.approx(8.5)
    penalty.backward()
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(3)  # d/dw of w²/2
