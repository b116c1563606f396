"""Optimal transport against POT and by hand, and what adaptive filling adds."""

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from uda.ssl.functional import adaptive_filling, plan_rows, swapped_prediction, transport


def problem(seed: int, n: int = 9, k: int = 4) -> tuple[Tensor, Tensor]:
    """Scores (n, k) in [−1, 1] like cosines, and masses (k,) that sum to 1, float64."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.rand(n, k, dtype=torch.float64, generator=generator) - 1
    return scores, torch.rand(k, dtype=torch.float64, generator=generator).add(0.2).softmax(0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("epsilon", [0.05, 0.2, 1.0])
def test_balanced_transport_is_pots(epsilon: float, seed: int) -> None:
    scores, masses = problem(seed)
    found = transport(scores, torch.ones(9), masses, epsilon, iterations=600).log.exp()
    expected = ot.sinkhorn(
        np.full(9, 1 / 9),
        masses.numpy(),
        -scores.numpy(),
        reg=epsilon,
        method="sinkhorn_log",
        stopThr=1e-10,
        numItermax=5000,
        warn=False,
    )
    assert np.allclose(found, expected, atol=1e-7)


@pytest.mark.filterwarnings("ignore:If reg_type = entropy")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("epsilon", "kappa"), [(0.01, 0.5), (0.05, 0.05), (0.5, 2.0)])
def test_unbalanced_transport_is_pots(epsilon: float, kappa: float, seed: int) -> None:
    scores, masses = problem(seed)
    found = transport(scores, torch.ones(9), masses, epsilon, kappa, iterations=1000).log.exp()
    expected = ot.unbalanced.sinkhorn_unbalanced(
        np.full(9, 1 / 9),
        masses.numpy(),
        -scores.numpy(),
        reg=epsilon,
        reg_m=kappa,
        reg_type="entropy",
        stopThr=1e-13,
        numItermax=3000,
    )
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-12)


def test_unbalanced_transport_of_one_row_to_one_column_by_hand() -> None:
    # One entry q, with a = b = 1: minimize −s·q + ε·(q log q − q) + 2κ·(q log q − q + 1); the derivative
    # −s + (ε + 2κ)·log q is 0 at q = exp(s / (ε + 2κ)): here exp(0.6 / 1.2).
    plan = transport(torch.tensor([[0.6]]), torch.ones(1), torch.ones(1), epsilon=0.2, kappa=0.5, iterations=500)
    assert plan.log.item() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("kappa", [0.5, math.inf])
def test_a_count_is_as_many_equal_rows_and_zero_is_none(kappa: float) -> None:
    scores, masses = problem(3, n=4)
    counts = torch.tensor([1.0, 3.0, 0.0, 2.0])
    counted = transport(scores, counts, masses, 0.1, kappa, 300).log
    repeated = transport(scores[[0, 1, 1, 1, 3, 3]], torch.ones(6), masses, 0.1, kappa, 300).log
    assert torch.allclose(counted[[0, 1, 1, 1, 3, 3]], repeated, atol=1e-9)
    assert counted.isfinite().all()  # the row that is not there has its entries all the same


def test_problems_of_a_batch_are_apart() -> None:
    problems = [problem(seed) for seed in range(3)]
    together = transport(
        torch.stack([s for s, _ in problems]), torch.ones(3, 9), torch.stack([m for _, m in problems]), 0.05, 0.5
    )
    for number, (scores, masses) in enumerate(problems):
        alone = transport(scores, torch.ones(9), masses, 0.05, 0.5)
        assert torch.allclose(together.log[number], alone.log, atol=1e-9)
        assert torch.allclose(together.columns[number], alone.columns, atol=1e-9)


def test_a_plan_goes_on_where_another_ended() -> None:
    scores, masses = problem(5)
    at_once = transport(scores, torch.ones(9), masses, 0.05, 0.5, iterations=30)
    half = transport(scores, torch.ones(9), masses, 0.05, 0.5, iterations=15)
    assert torch.allclose(
        transport(scores, torch.ones(9), masses, 0.05, 0.5, 15, start=half.columns).log, at_once.log, atol=1e-12
    )
    assert not torch.allclose(half.log, at_once.log, atol=1e-9)


def test_rows_of_a_plan_can_be_made_alone() -> None:
    scores, masses = problem(6)
    plan = transport(scores, torch.ones(9), masses, 0.05, 0.5, 50)
    rows = plan_rows(scores[4:6], plan.columns, torch.tensor([math.log(1 / 9)], dtype=torch.float64), 0.05, 0.5)
    assert torch.allclose(rows, plan.log[4:6], atol=1e-9)


def test_small_epsilon_and_half_precision_stay_finite_and_carry_no_gradient() -> None:
    scores = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    plan = transport(scores, torch.ones(3), torch.tensor([1e-6, 1.0]), epsilon=1e-3, kappa=0.5)
    assert plan.log.isfinite().all()
    assert plan.log.dtype == torch.float32
    assert not plan.log.requires_grad


PROTOTYPES = torch.eye(2)


def test_where_most_are_near_made_up_private_images_fill() -> None:
    # Three of four are near (cosine above 0.7): 3 − 1 = 2 are missing among the others.
    similarities = torch.tensor([[0.8, 0.6], [0.6, 0.8], [1.0, 0.0], [0.6, -0.8]])
    filled = adaptive_filling(similarities, PROTOTYPES, gamma=0.7, given=3)
    assert torch.equal(filled.similarities[:4], similarities)
    # The candidates are made of the first three, 2/3 of an image each. (0.8, 0.6) and its farthest prototype (0, 1) add
    # to (0.8, 1.6), over √3.2; (1, 0) and (0, 1) to (1, 1), over √2.
    assert filled.counts.tolist() == pytest.approx([1, 1, 1, 1, 2 / 3, 2 / 3, 2 / 3, 0, 0])
    assert filled.similarities[4].tolist() == pytest.approx([0.8 / 3.2**0.5, 1.6 / 3.2**0.5])
    assert filled.similarities[6].tolist() == pytest.approx([0.5**0.5, 0.5**0.5])


def test_where_few_are_near_the_prototypes_fill() -> None:
    similarities = torch.tensor([[0.8, 0.6], [0.6, -0.8], [-0.6, -0.8], [0.0, -1.0]])
    filled = adaptive_filling(similarities, PROTOTYPES, gamma=0.7)
    # one near, three not: two are missing, one of each prototype
    assert filled.counts.tolist() == [1] * 4 + [0] * 4 + [1, 1]
    assert torch.equal(filled.similarities[-2:], PROTOTYPES)


@given(seed=st.integers(0, 1000), n=st.integers(1, 12), gamma=st.floats(0, 1))
def test_filling_makes_both_kinds_equally_many(seed: int, n: int, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64))
    prototypes = torch.nn.functional.normalize(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    filled = adaptive_filling(features @ prototypes.T, prototypes, gamma)
    near = int(((features @ prototypes.T).amax(1) > gamma).sum())
    assert filled.counts.sum().item() == pytest.approx(2 * max(near, n - near))
    farthest = (features @ prototypes.T).argmin(1)
    halfway = torch.nn.functional.normalize((features + prototypes[farthest]) / 2)
    assert torch.allclose(filled.similarities[n : 2 * n], halfway @ prototypes.T, atol=1e-4)


def test_swapped_prediction_by_hand() -> None:
    logits, neighbor = torch.tensor([[0.0, 0.0]], requires_grad=True), torch.tensor([[math.log(3), 0.0]])
    codes, neighbor_codes = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.25, 0.75]])
    # the image predicts its neighbor's code: log 2; the neighbor (softmax ¾, ¼) the image's: −log ¾ = 0.287682
    found = swapped_prediction(logits, neighbor, codes, neighbor_codes)
    assert found.item() == pytest.approx((math.log(2) + 0.287682) / 2, abs=1e-6)
    found.backward()
    # half of softmax − code: ½·(½ − ¼, ½ − ¾)
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.125, -0.125])
