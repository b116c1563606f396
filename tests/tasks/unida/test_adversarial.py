"""DANN and UAN: who learns what, and with which sign."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from uda.clock import Clock
from uda.ssl.functional import domain_adversarial, rescaled_weights
from uda.tasks.unida import Dann, Features, Setup, Uan
from uda.tasks.unida.dann import adversarial_strength


def leaves(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Source and target features that get a gradient."""
    generator = torch.Generator().manual_seed(seed)
    source, target = torch.randn(2, 6, 4, generator=generator)
    return (source + 1).requires_grad_(), (target - 1).requires_grad_()


def batch(source: Tensor, target: Tensor) -> Features:
    return Features(source, torch.tensor([0, 1, 2, 0, 1, 2]), target, torch.arange(6))


def dann(**options: float) -> Dann:
    torch.manual_seed(0)
    return Dann(Setup(4, 3, 6), width=8, **options)  # type: ignore[arg-type]


def uan() -> Uan:
    torch.manual_seed(0)
    return Uan(Setup(4, 3, 6), width=8)


def test_the_published_schedule() -> None:
    assert adversarial_strength(0.0) == 0.0
    # 2 / (1 + e⁻⁵) − 1 at half of the run, 2 / (1 + e⁻¹⁰) − 1 at its end
    assert adversarial_strength(0.5) == pytest.approx(0.986614, abs=1e-6)
    assert adversarial_strength(1.0) == pytest.approx(0.999909, abs=1e-6)


def test_the_discriminator_learns_and_the_features_are_pushed_the_other_way() -> None:
    method, (source, target) = dann(), leaves()
    method(batch(source, target), Clock(50, 100))["domain"].backward()

    def domain_loss(moved: float) -> float:
        assert source.grad is not None
        assert target.grad is not None
        with torch.no_grad():
            parts = (
                method.discriminator(source - moved * source.grad),
                method.discriminator(target - moved * target.grad),
            )
            return domain_adversarial(*parts).item()

    at_rest = domain_loss(0.0)
    assert domain_loss(0.1) > at_rest  # features descend their gradient: the domains are harder to tell apart
    with torch.no_grad():
        for parameter in method.discriminator.parameters():
            assert parameter.grad is not None
            parameter -= 0.05 * parameter.grad
    assert domain_loss(0.0) < at_rest  # the discriminator descends its own: they are easier to tell apart


def test_the_reversed_gradient_is_lambda_times_the_plain_one() -> None:
    method, (source, target) = dann(adversarial=0.5), leaves()
    plain = torch.autograd.grad(domain_adversarial(method.discriminator(source), method.discriminator(target)), source)
    method(batch(source, target), Clock(50, 100))["domain"].backward()
    assert source.grad is not None
    assert torch.allclose(source.grad, -0.5 * adversarial_strength(0.5) * plain[0], atol=1e-6)


def test_at_the_start_features_follow_the_classifier_alone() -> None:
    method, (source, target) = dann(), leaves()
    losses = method(batch(source, target), Clock(0, 100))
    losses["domain"].backward()
    assert source.grad is not None
    assert source.grad.abs().max() == 0


def test_dann_rejects_by_entropy() -> None:
    method = dann()
    logits = torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    _, scores = method.answers(torch.randn(2, 4), logits, of_target=False)
    assert scores.tolist() == pytest.approx([math.log(3), 0.0], abs=1e-6)
    assert method.fixed_threshold == math.log(3) / 2


def test_uans_observer_moves_no_features_and_its_weights_are_those_of_the_paper() -> None:
    method, (source, target) = uan(), leaves()
    losses = method(batch(source, target), Clock(50, 100))
    losses["domain"].backward(retain_graph=True)
    assert source.grad is None
    assert target.grad is None
    assert all(p.grad is not None for p in method.observer.parameters())
    assert all(p.grad is None for p in method.adversary.parameters())
    with torch.no_grad():

        def similarity_minus_uncertainty(x: Tensor) -> Tensor:
            p = method.classifier(x).softmax(1)
            return method.observer(x).sigmoid() + (p * p.log()).sum(1) / math.log(3)

        on_source, on_target = (
            rescaled_weights(-similarity_minus_uncertainty(source)),
            rescaled_weights(similarity_minus_uncertainty(target)),
        )
        # −log P(source) on the source, −log(1 − P(source)) on the target
        told = -method.adversary(source).sigmoid().log(), -(1 - method.adversary(target).sigmoid()).log()
        expected = (on_source * told[0]).mean() + (on_target * told[1]).mean()
    assert losses["adversarial"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_uans_adversary_pushes_features_and_not_the_classifier() -> None:
    method, (source, target) = uan(), leaves()
    method(batch(source, target), Clock(50, 100))["adversarial"].backward()
    assert source.grad is not None
    assert source.grad.abs().sum() > 0
    assert method.classifier.weight.grad is None
    assert all(p.grad is None for p in method.observer.parameters())


def test_uan_calls_unknown_what_is_unsure_and_unlike_the_source() -> None:
    method = uan()
    with torch.no_grad():  # P(source) = sigmoid of the bias alone: ¾
        method.observer.layers[-1].weight.zero_()
        method.observer.layers[-1].bias.fill_(math.log(3))
    logits = torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    probabilities, scores = method.answers(torch.randn(2, 4), logits, of_target=True)
    assert scores.tolist() == pytest.approx([1 - 0.75, 0 - 0.75], abs=1e-6)
    assert np.allclose(probabilities, logits.softmax(1))
    assert method.fixed_threshold == 0.5  # w_t below −0.5 is unknown
