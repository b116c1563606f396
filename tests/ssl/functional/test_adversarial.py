import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.ssl.functional import domain_adversarial, rescaled_weights, transferability


def test_telling_domains_apart_by_hand() -> None:
    source, target = torch.tensor([0.0, math.log(3)]), torch.tensor([0.0, math.log(3)])
    # P(source) is ½ and ¾ on both sides: −log ½, −log ¾ on the source, −log ½, −log ¼ on the target
    found = domain_adversarial(source, target).item()
    assert found == pytest.approx((0.693147 + 0.287682) / 2 + (0.693147 + 1.386294) / 2, abs=1e-6)
    weights = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    assert domain_adversarial(source, target, *weights).item() == pytest.approx(0.693147 + 1.386294 / 2, abs=1e-6)


def test_weights_of_images_carry_no_gradient() -> None:
    weights = torch.ones(2, requires_grad=True)
    logits = torch.zeros(2, requires_grad=True)
    domain_adversarial(logits, logits, weights, weights).backward()
    assert weights.grad is None
    assert domain_adversarial(torch.tensor([1e4]), torch.tensor([-1e4])).item() == 0.0
    assert domain_adversarial(torch.tensor([-1e4]), torch.tensor([1e4])).isfinite()


def test_transferability_by_hand() -> None:
    # P(source) = ¾; the entropy of (½, ½) is all of log 2, that of a certain answer 0
    found = transferability(torch.tensor([math.log(3)] * 2), torch.tensor([[7.0, 7.0], [100.0, 0.0]]))
    assert found.tolist() == pytest.approx([0.75 - 1, 0.75 - 0])


@given(seed=st.integers(0, 1000), n=st.integers(2, 9))
def test_rescaled_weights_have_mean_one_and_keep_the_order(seed: int, n: int) -> None:
    weights = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = rescaled_weights(weights)
    assert found.mean().item() == pytest.approx(1.0)
    assert found.min().item() == 0.0
    assert torch.equal(found.argsort(), weights.argsort())
    assert torch.allclose(rescaled_weights(3 * weights - 7), found)


def test_equal_weights_say_nothing() -> None:
    assert rescaled_weights(torch.tensor([0.3, 0.3])).tolist() == [0.0, 0.0]
