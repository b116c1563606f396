import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.ssl.functional.clustering import self_label, sinkhorn, swav, transport_plan, transport_plan_by_pot


def scores(seed: int, batch: int = 8, k: int = 4, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(batch, k, dtype=torch.float64, generator=generator)


def test_swav_by_hand() -> None:
    found = swav(torch.tensor([[0.1 * math.log(3), 0.0], [0.0, 0.0]]), torch.tensor([[0.25, 0.75], [1.0, 0.0]]), 0.1)
    # ÷ 0.1: softmax (¾, ¼) and (½, ½): −¼·log ¾ − ¾·log ¼ = 1.111641, and log 2 = 0.693147
    assert found.item() == pytest.approx((1.111641 + 0.693147) / 2, abs=1e-6)


def test_sinkhorn_by_hand() -> None:
    # exp(scores) = [[1, 3], [1, 1]]: columns ÷ 2 and ÷ 4: [[½, ¾], [½, ¼]]; rows ÷ 1¼ and ÷ ¾
    codes = sinkhorn(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]), 1.0, 1)
    assert codes.flatten().tolist() == pytest.approx([0.4, 0.6, 2 / 3, 1 / 3])
    # the fixed point has columns of sum 1: [[x, 1 − x], [1 − x, x]] with odds ratio x²/(1 − x)² = 1/3, x = 1/(1 + √3)
    codes = sinkhorn(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]), 1.0, 100)
    assert codes[0, 0].item() == pytest.approx(1 / (1 + math.sqrt(3)))


@given(seed=st.integers(0, 1000), rows=st.permutations(range(8)), columns=st.permutations(range(4)))
@settings(max_examples=25)
def test_codes_are_balanced_and_follow_images_and_prototypes(seed: int, rows: list[int], columns: list[int]) -> None:
    case = scores(seed)
    codes = sinkhorn(case, 0.5, 200)
    assert codes.sum(1).tolist() == pytest.approx([1.0] * 8)
    assert codes.sum(0).tolist() == pytest.approx([2.0] * 4, rel=1e-3)
    three = sinkhorn(case, 0.5, 3)
    assert three.sum(1).tolist() == pytest.approx([1.0] * 8)
    assert torch.allclose(sinkhorn(case[rows][:, columns], 0.5, 3), three[rows][:, columns])
    assert torch.allclose(sinkhorn(case + 7, 0.5, 3), three)


def test_sinkhorn_neither_overflows_nor_tracks_gradients() -> None:
    codes = sinkhorn(torch.tensor([[1e4, -1e4], [1e4, 1e4], [-1e4, 0.0]], requires_grad=True), 0.05, 3)
    assert codes.isfinite().all()
    assert not codes.requires_grad
    with pytest.raises(ValueError, match="at least one iteration, not 0"):
        sinkhorn(codes, 0.05, 0)


def test_against_lightly() -> None:
    losses = pytest.importorskip("lightly.loss")
    high, low = [scores(s, 6, 3, 0.3) for s in (0, 1)], [scores(s, 6, 3, 0.3) for s in (2, 3, 4)]
    views = high + low
    codes = [sinkhorn(view, 0.05, 3) for view in high]
    pairs = [swav(views[v], codes[k], 0.1).item() for k in range(2) for v in range(5) if v != k]
    assert sum(pairs) / len(pairs) == pytest.approx(losses.SwaVLoss()(high, low).item(), rel=1e-12)


def test_gradients_of_swav_are_finite_differences_and_reach_no_code() -> None:
    codes = scores(1).softmax(1).requires_grad_()
    found = scores(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: swav(s, codes, 0.5), (found,))
    swav(found, codes, 0.5).backward()
    assert codes.grad is None
    with pytest.raises(ValueError, match=r"scores \(8, 4\) and codes \(8, 3\)"):
        swav(found, codes[:, :3])


def test_labels_are_shared_out_where_all_images_prefer_one() -> None:
    # everybody's first choice is label 0; half of them must take label 1: those whose preference is weakest
    p = torch.tensor([0.7, 0.9, 0.6, 0.8])
    assert self_label(torch.stack([p, 1 - p], 1).log(), 10).tolist() == [1, 0, 1, 0]


def test_a_large_lambda_gives_the_best_equal_split() -> None:
    ot = pytest.importorskip("ot")
    for seed in range(3):
        log_probs = scores(seed, 12, 3).log_softmax(1)
        best = torch.from_numpy(ot.emd([], [], -log_probs.numpy())).argmax(1)
        labels = self_label(log_probs, 200)
        assert labels.dtype == torch.int64
        assert torch.bincount(labels).tolist() == [4, 4, 4]
        assert torch.equal(labels, best)


@pytest.mark.parametrize(("n", "k", "spread"), [(60, 5, 1.0), (200, 10, 3.0), (300, 128, 0.3), (5, 8, 1.0)])
@pytest.mark.parametrize("lambd", [10.0, 25.0])
def test_both_ways_to_the_plan_agree(n: int, k: int, spread: float, lambd: float) -> None:
    pytest.importorskip("ot")
    for seed in range(2):
        log_probs = scores(seed, n, k, spread).log_softmax(1)
        ours, theirs = transport_plan(log_probs, lambd), transport_plan_by_pot(log_probs, lambd)
        assert torch.equal(ours.argmax(1), theirs.argmax(1))
        assert (n * (ours - theirs)).abs().max() < 0.01
        for plan in (ours, theirs):
            assert (n * plan.sum(1)).tolist() == pytest.approx([1.0] * n)
            assert (k * plan.sum(0)).tolist() == pytest.approx([1.0] * k, abs=0.01)


def test_the_plan_is_that_of_the_published_iteration() -> None:
    # the scaling of softmax^λ as the paper writes it, without logarithms
    log_probs = scores(0, 50, 4).log_softmax(1)
    kernel = (10 * log_probs).exp()
    rows = torch.full((50,), 1 / 50, dtype=torch.float64)
    for _ in range(500):
        columns = 1 / 4 / (rows @ kernel)
        rows = 1 / 50 / (kernel @ columns)
    exact = rows[:, None] * kernel * columns
    assert (50 * (transport_plan(log_probs, 10) - exact)).abs().max() < 0.01
    assert torch.equal(self_label(log_probs, 10), exact.argmax(1))


@pytest.mark.parametrize("plan", [transport_plan, transport_plan_by_pot])
def test_certain_answers_do_not_underflow(plan) -> None:  # type: ignore[no-untyped-def]
    # log-probabilities near −1000, to the power of 25: far below what float64 can hold
    log_probs = torch.tensor([[0.0, -1000.0], [-1000.0, 0.0], [0.0, -1000.0], [-1000.0, 0.0]], dtype=torch.float64)
    assert plan(log_probs, 25.0).argmax(1).tolist() == [0, 1, 0, 1]


@given(seed=st.integers(0, 100), order=st.permutations(range(12)), columns=st.permutations(range(3)))
@settings(max_examples=15)
def test_labels_follow_images_and_columns(seed: int, order: list[int], columns: list[int]) -> None:
    log_probs = scores(seed, 12, 3).log_softmax(1)
    labels = self_label(log_probs, 10)
    assert torch.equal(self_label(log_probs[order], 10), labels[order])
    assert torch.equal(torch.tensor(columns)[self_label(log_probs[:, columns], 10)], labels)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_labels() -> None:
    for seed in range(3):
        log_probs = scores(seed, 500, 20).log_softmax(1)
        assert torch.equal(self_label(log_probs.cuda(), 10).cpu(), self_label(log_probs, 10))
