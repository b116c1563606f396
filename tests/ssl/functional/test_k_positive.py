import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from tests.ssl.functional.draws import normal
from uda.ssl.functional.contrastive import info_nce, k_positive_contrastive

QUERY, KEY = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]])
QUEUE = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # similarities 1, 0 and −1
SAME = torch.tensor([[True, True, False]])


def test_all_positives_by_hand() -> None:
    # Z = e + e + 1 + 1/e = 6.804443, ln Z = 1.917576: ((1 + 1 + 0) − 3 · 1.917576) / −3.
    found = k_positive_contrastive(QUERY, KEY, QUEUE, SAME, 1.0, None)
    assert found.item() == pytest.approx(1.250909, abs=1e-5)


def test_one_positive_by_hand() -> None:
    # The first: Z = e + e + 1/e, ln Z = 1.758624, and the loss is 0.758624.
    # The second: Z = e + 1 + 1/e, ln Z = 1.407606, and the loss is (0.407606 + 1.407606) / 2 = 0.907606.
    generator = torch.Generator().manual_seed(0)
    found = {round(k_positive_contrastive(QUERY, KEY, QUEUE, SAME, 1.0, 1, generator).item(), 5) for _ in range(30)}
    assert found == {0.75862, 0.90761}


def test_the_released_code_takes_the_first_and_keeps_the_others_in_the_denominator() -> None:
    # ln Z = 1.917576 as with all positives; both terms are 1 − ln Z.
    found = k_positive_contrastive(QUERY, KEY, QUEUE, SAME, 1.0, 1, official=True)
    assert found.item() == pytest.approx(0.917576, abs=1e-5)


@given(st.integers(0, 1000))
def test_without_positives_in_the_queue_it_is_info_nce(seed: int) -> None:
    query, key, queue = normal(3, 4, seed=seed), normal(3, 4, seed=seed + 1), normal(5, 4, seed=seed + 2)
    none = torch.zeros(3, 5, dtype=torch.bool)
    for official in (False, True):
        found = k_positive_contrastive(query, key, queue, none, 0.5, 2, official=official)
        assert found.item() == pytest.approx(info_nce(query, key, queue, 0.5).item())


@pytest.mark.parametrize("official", [False, True])
def test_gradients_reach_the_query_alone(official: bool) -> None:
    query, key, queue = (normal(n, 4, seed=n).requires_grad_() for n in (3, 4, 6))
    same = torch.arange(18).reshape(3, 6) % 3 == 0

    def loss(q: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return k_positive_contrastive(q, key[:3], queue, same, 0.5, 1, generator, official)

    assert gradcheck(loss, (query,))
    loss(query).backward()
    assert key.grad is None
    assert queue.grad is None
