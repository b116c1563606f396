import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.ssl.functional.distillation import byol, dino, negative_cosine

LOG3 = math.log(3)


def logits(seed: int, views: int, batch: int = 5, k: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(views, batch, k, dtype=torch.float64, generator=generator))


def test_negative_cosine_and_byol_by_hand() -> None:
    p = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    z = torch.tensor([[10.0, 0.0], [0.0, 2.0]])
    # cosines 3/5 and 0: mean 0.3
    assert negative_cosine(p, z).item() == pytest.approx(-0.3)
    assert byol(p, z).item() == pytest.approx(2 - 0.6)
    assert byol(p, p).item() == pytest.approx(0, abs=1e-6)
    assert byol(p, -p).item() == pytest.approx(4)


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), order=st.permutations(range(5)))
@settings(max_examples=25)
def test_byol_is_the_squared_distance_of_normalized_rows(seed: int, scale: float, order: list[int]) -> None:
    p, z = logits(seed, 2)
    expected = (F.normalize(p) - F.normalize(z)).square().sum(1).mean().item()
    assert byol(p, z).item() == pytest.approx(expected)
    assert byol(scale * p, z / scale).item() == pytest.approx(expected)
    assert byol(p[order], z[order]).item() == pytest.approx(expected)
    assert byol(z, p).item() == pytest.approx(expected)


def test_dino_by_hand() -> None:
    student = [torch.tensor([[LOG3, 0.0]]), torch.tensor([[0.0, 0.0]])]
    teacher = [torch.tensor([[LOG3, 0.0]]), torch.tensor([[0.0, 0.0]])]
    # teacher 0 (¾, ¼) against student 1 (½, ½): log 2 = 0.693147; teacher 1 (½, ½) against student 0 (¾, ¼):
    # −½·(log ¾ + log ¼) = 0.836988
    assert dino(student, teacher, torch.zeros(2), 1, 1).item() == pytest.approx((0.693147 + 0.836988) / 2, abs=1e-6)
    # the center (log 3, 0) turns the teacher into (½, ½) and (¼, ¾): log 2, and −¼·log ¾ − ¾·log ¼ = 1.111641
    center = torch.tensor([LOG3, 0.0])
    assert dino(student, teacher, center, 1, 1).item() == pytest.approx((0.693147 + 1.111641) / 2, abs=1e-6)
    # temperature ½ squares odds: student 0 is (0.9, 0.1), −½·(log 0.9 + log 0.1) = 1.203973
    assert dino(student, teacher, torch.zeros(2), 0.5, 1).item() == pytest.approx((0.693147 + 1.203973) / 2, abs=1e-6)
    # … and teacher 0 (0.9, 0.1) against (½, ½) is still log 2
    assert dino(student, teacher, torch.zeros(2), 1, 0.5).item() == pytest.approx((0.693147 + 0.836988) / 2, abs=1e-6)


def test_dino_is_a_mean_over_pairs_of_different_views() -> None:
    student, teacher = logits(0, 4), logits(1, 2)
    center = torch.linspace(-1, 1, 7, dtype=torch.float64)
    pairs = [
        F.cross_entropy(student[s] / 0.1, ((teacher[t] - center) / 0.04).softmax(1)).item()
        for t, s in [(0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)]
    ]
    assert dino(student, teacher, center, 0.1, 0.04).item() == pytest.approx(sum(pairs) / 6)


def test_dino_of_a_uniform_student_is_the_logarithm_of_the_number_of_answers() -> None:
    student = [torch.zeros(5, 7)] * 3
    teacher = [view.float() for view in logits(2, 2)]
    assert dino(student, teacher, torch.zeros(7), 0.1, 0.04).item() == pytest.approx(math.log(7), rel=1e-6)


def test_against_lightly() -> None:
    losses = pytest.importorskip("lightly.loss")
    for seed in range(3):
        student, teacher = logits(seed, 5), logits(seed + 10, 2)
        oracle = losses.DINOLoss(output_dim=7, student_temp=0.125).double()
        oracle.center = torch.linspace(-1, 1, 7, dtype=torch.float64).view(1, 1, 7)
        center = oracle.center[0, 0].clone()
        expected = oracle(teacher, student, teacher_temp=0.0625).item()
        assert dino(student, teacher, center, 0.125, 0.0625).item() == pytest.approx(expected, rel=1e-12)
        oracle = losses.NegativeCosineSimilarity()
        assert negative_cosine(student[0], student[1]).item() == pytest.approx(oracle(*student[:2]).item(), rel=1e-12)


def test_gradients_are_finite_differences_and_reach_no_teacher() -> None:
    student, teacher = [view.requires_grad_() for view in logits(0, 3)], [v.requires_grad_() for v in logits(1, 2)]
    center = torch.zeros(7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *views: dino(views, teacher, center, 0.5, 0.25), tuple(student))
    dino(student, teacher, center, 0.5, 0.25).backward()
    assert all(view.grad is None for view in teacher)
    assert torch.autograd.gradcheck(byol, tuple(student[:2]))


@given(seed=st.integers(0, 1000), order=st.permutations(range(5)), shift=st.floats(-50, 50))
@settings(max_examples=25)
def test_dino_ignores_the_order_of_images_and_a_constant_in_the_logits(
    seed: int, order: list[int], shift: float
) -> None:
    student, teacher, center = logits(seed, 3), logits(seed + 1, 2), torch.zeros(7, dtype=torch.float64)
    expected = pytest.approx(dino(student, teacher, center, 0.1, 0.04).item())
    assert dino([s[order] for s in student], [t[order] for t in teacher], center, 0.1, 0.04).item() == expected
    assert dino([s + shift for s in student], [t - shift for t in teacher], center, 0.1, 0.04).item() == expected


def test_one_view_makes_no_pair() -> None:
    with pytest.raises(ValueError, match="1 views of the student and 1 of the teacher make no pair"):
        dino(logits(0, 1), logits(0, 1), torch.zeros(7))
