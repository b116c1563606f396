import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ssl.functional.draws import normal
from uda.ssl.functional import (
    entropy,
    entropy_separation,
    hard_negative_one_vs_all,
    open_set_entropy,
)


@pytest.mark.parametrize("k", [1, 2, 7, 1000])
def test_the_entropy_of_a_uniform_distribution_is_log_k(k: int) -> None:
    assert entropy(torch.full((3, k), -4.2, dtype=torch.float64)).tolist() == pytest.approx([math.log(k)] * 3)


def test_the_entropy_of_a_certain_answer_is_zero() -> None:
    assert entropy(torch.tensor([[1000.0, 0.0, 0.0]])).tolist() == [0.0]
    assert entropy(torch.tensor([[0.0, -math.inf, -math.inf]])).tolist() == [0.0]


def test_masked_logits_leave_the_others_alone_and_give_finite_gradients() -> None:
    logits = torch.tensor([[0.3, -0.2, -math.inf], [1.0, -math.inf, 1.0]], requires_grad=True)
    found = entropy(logits)
    assert found[0].item() == pytest.approx(entropy(torch.tensor([0.3, -0.2])).item())
    assert found[1].item() == pytest.approx(math.log(2))
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[:, 2].abs().max() < 1e-7


def test_entropy_by_hand() -> None:
    # logits 0 and log 3: p = ¼ and ¾; H = ¼·log 4 + ¾·log(4/3) = 0.346574 + 0.215762
    assert entropy(torch.tensor([0.0, math.log(3)])).item() == pytest.approx(0.562335, abs=1e-6)
    # with eps = 0.25: −¼·log(½) − ¾·log(1) = 0.173287
    assert entropy(torch.tensor([0.0, math.log(3)]), eps=0.25).item() == pytest.approx(0.173287, abs=1e-6)


@pytest.mark.parametrize("n", [100, 10_000, 1_000_000])
def test_what_the_published_eps_costs_grows_with_the_number_of_rows(n: int) -> None:
    # uniform: −Σ 1/n·log(1/n + eps) = log n − log(1 + eps·n): 0.001 nats at a hundred rows, log 11 = 2.4 at a million
    logits = torch.zeros(n, dtype=torch.float64)
    lost = entropy(logits) - entropy(logits, eps=1e-5)
    assert lost.item() == pytest.approx(math.log(1 + 1e-5 * n), rel=1e-6)


def test_entropy_separation_by_hand() -> None:
    # entropies 0.562335 (p = ¼, ¾) and log 2 = 0.693147; rho = 0.2: distances 0.362335 and 0.493147
    logits = torch.tensor([[0.0, math.log(3)], [5.0, 5.0]])
    assert entropy_separation(logits, 0.2, 0.1).item() == pytest.approx(-(0.362335 + 0.493147) / 2, abs=1e-6)
    # margin 0.4 holds the first at the constant: −(0.4 + 0.493147) / 2
    assert entropy_separation(logits, 0.2, 0.4).item() == pytest.approx(-0.446574, abs=1e-6)
    # eps = 0.25: entropies 0.173287 and −log(¾) = 0.287682, distances 0.026713 (below the margin) and 0.087682
    found = entropy_separation(logits, 0.2, 0.05, eps=0.25)
    assert found.item() == pytest.approx(-(0.05 + 0.087682) / 2, abs=1e-6)


def test_entropy_separation_moves_entropies_away_from_rho_and_nothing_within_the_margin() -> None:
    # entropies: about 0.09 (sure), 0.69 − ε (torn), 0.56 (within the margin of rho = 0.5)
    logits = torch.tensor([[4.0, 0.0], [0.3, 0.0], [1.0986, 0.0]], dtype=torch.float64, requires_grad=True)
    entropies = entropy(logits).detach()
    assert ((entropies - 0.5).abs() > 0.1).tolist() == [True, True, False]
    entropy_separation(logits, 0.5, 0.1).backward()
    assert logits.grad is not None
    assert logits.grad[2].tolist() == [0.0, 0.0]
    moved = entropy(logits.detach() - 0.1 * logits.grad)
    assert moved[0] < entropies[0]  # below rho: surer
    assert moved[1] > entropies[1]  # above rho: more torn
    assert moved[2] == entropies[2]


@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_gradients_of_entropy_separation_are_finite_differences(eps: float) -> None:
    logits = torch.tensor([[4.0, 0.0, 1.0], [0.3, 0.0, 0.2], [1.0, 0.0, -3.0]], dtype=torch.float64)
    distances = (entropy(logits) - 0.55).abs()
    assert (distances > 0.2).tolist() == [True, True, False]
    assert (distances - 0.2).abs().min() > 0.01  # not at the kink
    assert torch.autograd.gradcheck(lambda c: entropy_separation(c, 0.55, 0.2, eps), (logits.requires_grad_(),))


@given(seed=st.integers(0, 1000), order=st.permutations(range(4)))
@settings(max_examples=25)
def test_the_order_of_the_batch_does_not_matter_to_entropy_separation(seed: int, order: list[int]) -> None:
    logits = 2 * normal(4, 3, seed=seed)
    separation = entropy_separation(logits, 0.5, 0.1)
    assert entropy_separation(logits[order], 0.5, 0.1).item() == pytest.approx(separation.item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_entropy_separation_of_extreme_logits_stays_finite(dtype: torch.dtype, eps: float) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [3e38, -3e38, 0.0], [-1e30, -1e30, -1e30], [0.0, 0.0, 0.0]])
    logits = logits.to(dtype).requires_grad_()
    entropy_separation(logits, 0.5, 0.1, eps).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_one_vs_all_takes_the_own_class_and_the_nearest_other() -> None:
    logits = torch.tensor([[0.0, math.log(3), 0.0], [math.log(3), -5.0, 0.0]], requires_grad=True)
    found = hard_negative_one_vs_all(logits, torch.tensor([0, 0]))
    # image 1: −log ½, and of the others class 1 is the nearest, p = ¾: −log ¼
    # image 2: −log ¾, and class 2, p = ½: −log ½
    assert found.item() == pytest.approx((0.693147 + 1.386294 + 0.287682 + 0.693147) / 2, abs=1e-6)
    found.backward()
    assert logits.grad is not None
    # p − 1 for the own class, p for the nearest, nothing for the third; over two images
    expected = [[-0.25, 0.375, 0.0], [-0.125, 0.0, 0.25]]
    assert torch.allclose(logits.grad, torch.tensor(expected), atol=1e-6)


def test_a_single_class_has_no_negatives() -> None:
    logits = torch.tensor([[0.0]], requires_grad=True)
    found = hard_negative_one_vs_all(logits, torch.tensor([0]))
    found.backward()
    assert found.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_open_set_entropy_by_hand_and_its_direction() -> None:
    # p = ½: log 2; p = ¾: ¾·log(4/3) + ¼·log 4 = 0.562335
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64, requires_grad=True)
    found = open_set_entropy(logits)
    assert found.item() == pytest.approx((math.log(2) + 0.562335) / 2, abs=1e-6)
    assert torch.autograd.gradcheck(open_set_entropy, (logits,))
    found.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] < 0  # descending it makes the likelier answer likelier
    extreme = torch.tensor([[1e4, -1e4]], requires_grad=True)
    open_set_entropy(extreme).backward()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()
