import pytest
import torch

from tests.ssl.functional.draws import normal
from uda.ssl.functional.contrastive import info_nce, margin_contrastive, n_pair, triplet


def test_margin_contrastive_by_hand() -> None:
    a = torch.zeros(4, 2)
    b = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.6, 0.0], [0.0, 0.0]])
    same = torch.tensor([True, False, False, False])
    # d = 5, 5, .6, 0 and m = 2: 25, 0, 1.4² = 1.96, 4
    assert margin_contrastive(a, b, same, 2.0).item() == pytest.approx(30.96 / 4, abs=1e-6)
    assert margin_contrastive(a, b, same.int(), 2.0).item() == pytest.approx(30.96 / 4, abs=1e-6)
    # the tutorials' form: 25, 0, 2 − .36, 2
    assert margin_contrastive(a, b, same, 2.0, squared_hinge=False).item() == pytest.approx(28.64 / 4, abs=1e-6)


def test_margin_contrastive_has_a_finite_gradient_where_the_distance_is_zero() -> None:
    a = torch.zeros(2, 3, requires_grad=True)
    margin_contrastive(a, torch.zeros(2, 3), torch.tensor([1, 0]), 1.0).backward()
    assert a.grad is not None
    assert torch.equal(a.grad, torch.zeros(2, 3))


def test_triplet_by_hand() -> None:
    query, positive = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    negative = torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    # 1 − 9 + .5 < 0; 4 − 2 + .5 = 2.5
    assert triplet(query, positive, negative, 0.5).item() == pytest.approx(1.25)


def test_n_pair_by_hand() -> None:
    query, positive = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    negatives = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    # products 3; 1 and 4: log(1 + e^−2 + e) = log 3.853617
    assert n_pair(query, positive, negatives).item() == pytest.approx(1.349012, abs=1e-6)


def test_n_pair_takes_the_other_rows_positives() -> None:
    query, positive = normal(5, 3), normal(5, 3, seed=1)
    rows = [
        n_pair(query[i : i + 1], positive[i : i + 1], positive[torch.arange(5) != i]) for i in range(5)
    ]  # each with its own four negatives
    assert n_pair(query, positive).item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-13)


def test_n_pair_of_normalized_rows_is_info_nce() -> None:
    query, positive, negatives = (torch.nn.functional.normalize(normal(n, 4, seed=n)) for n in (6, 6, 9))
    value = n_pair(query / 0.3, positive[:6], negatives)
    assert value.item() == pytest.approx(info_nce(query, positive[:6], negatives, 0.3).item(), rel=1e-13)
