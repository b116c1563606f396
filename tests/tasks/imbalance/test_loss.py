"""The losses of long tails, by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from uda.tasks.imbalance.loss import (
    effective_number_weights,
    ldam,
    ldam_margins,
    logit_adjusted,
    weighted_cross_entropy,
)
from uda.tasks.imbalance.tau_norm import tau_normalized


def test_weights_are_inverse_effective_numbers() -> None:
    # beta 0.5: (1 - 0.5^n) / 0.5 of 1 and 2 images are 1 and 1.5; weights 1 and 2/3 are scaled by 2 / (5/3).
    found = effective_number_weights(torch.tensor([1, 2]), 0.5)
    assert found.tolist() == pytest.approx([1.2, 0.8])
    assert effective_number_weights(torch.tensor([3, 700]), 0.0).tolist() == [1, 1]
    # Towards beta = 1 the weights are those of 1 / n: 100 : 1 for 10 and 1000 images.
    near = effective_number_weights(torch.tensor([10, 1000]), 1 - 1e-9)
    assert (near[0] / near[1]).item() == pytest.approx(100, rel=1e-4)


def test_the_weighted_loss_is_a_mean_over_images() -> None:
    logits, labels = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0])
    # Both images cost ln 2 and weigh 3: torch's own weighted mean would be ln 2 again.
    assert weighted_cross_entropy(logits, labels, torch.tensor([3.0, 1.0])).item() == pytest.approx(3 * math.log(2))


def test_margins_grow_as_the_fourth_root_of_rarity() -> None:
    # 1 and 16 images: 16^(-1/4) = 1/2, so the frequent class has half the margin of the rare one.
    assert ldam_margins(torch.tensor([16, 1]), 0.5).tolist() == pytest.approx([0.25, 0.5])


def test_ldam_holds_the_true_class_back() -> None:
    cosines, labels = torch.tensor([[0.5, 0.1]]), torch.tensor([0])
    margins = torch.tensor([0.25, 0.5])
    # 30 · (0.5 - 0.25) = 7.5 against 30 · 0.1 = 3: ln(1 + e^-4.5).
    wanted = math.log1p(math.exp(-4.5))
    assert ldam(cosines, labels, margins, 30.0).item() == pytest.approx(wanted, rel=1e-5)
    # A second image, of class 1, costs ln(1 + e^(30 · 0.5 - 30 · (0.1 - 0.5))) = ln(1 + e^27); its weight is 3.
    weighted = ldam(cosines.repeat(2, 1), torch.tensor([0, 1]), margins, 30.0, torch.tensor([1.0, 3.0]))
    assert weighted.item() == pytest.approx((wanted + 3 * math.log1p(math.exp(27))) / 4, rel=1e-5)
    none = torch.zeros(2)
    assert ldam(cosines, labels, none, 30.0).item() == pytest.approx(F.cross_entropy(30 * cosines, labels).item())


def test_logit_adjustment_adds_the_log_of_the_share() -> None:
    logits, labels, counts = torch.tensor([[1.0, 1.0]]), torch.tensor([1]), torch.tensor([3, 1])
    # Shares 3/4 and 1/4 of equal logits: the loss is -ln(1/4).
    assert logit_adjusted(logits, labels, counts, 1.0).item() == pytest.approx(math.log(4))
    assert logit_adjusted(logits, labels, counts, 0.0).item() == pytest.approx(math.log(2))


def test_tau_takes_lengths_out() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert tau_normalized(weight, 0.0).tolist() == weight.tolist()
    assert tau_normalized(weight, 1.0)[0].tolist() == pytest.approx([0.6, 0.8])
    half = tau_normalized(weight, 0.5)
    assert half[0].tolist() == pytest.approx([3 / 5**0.5, 4 / 5**0.5])
    assert half[1].tolist() == [0, 0]
