import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.ssl.functional.redundancy import barlow_twins, vicreg


def two_views(seed: int, batch: int = 6, dim: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(batch, dim, dtype=torch.float64, generator=generator)
    return a, a + 0.5 * torch.randn(batch, dim, dtype=torch.float64, generator=generator)


def test_barlow_twins_by_hand() -> None:
    # two rows: standardized columns are ±1 (the scale makes the eps of 1e-5 vanish), a: (1, 1), (−1, −1); b: (1, −1),
    # (−1, 1). C = aᵀb/2 = [[1, −1], [1, −1]]: diagonal (1 − 1)² + (1 + 1)² = 4, the rest (−1)² + 1² = 2
    a = torch.tensor([[700.0, 700.0], [500.0, 500.0]], dtype=torch.float64)
    b = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], dtype=torch.float64)
    assert barlow_twins(a, b, 0.25).item() == pytest.approx(4 + 0.25 * 2, abs=1e-6)
    assert barlow_twins(a, b, 2.0).item() == pytest.approx(4 + 2 * 2, abs=1e-6)
    # the same embeddings twice: C is all ones
    assert barlow_twins(a, a, 0.25).item() == pytest.approx(0.25 * 2, abs=1e-6)


def test_constant_embeddings_cost_barlow_twins_one_a_dimension() -> None:
    assert barlow_twins(torch.ones(4, 7), torch.ones(4, 7), 0.0051).item() == pytest.approx(7)


def test_vicreg_by_hand() -> None:
    # differences 0, 1, 0, 1 squared: mean 0.5. Unbiased variances 2 and 0 in both views: √2.0001 > 1 costs nothing,
    # √1e-4 = 0.01 costs 0.99: mean over dimensions 0.495, and so averaged over views. Covariances are 0.
    a = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    assert vicreg(a, b, 1, 0, 0).item() == pytest.approx(0.5)
    assert vicreg(a, b, 0, 1, 0).item() == pytest.approx(0.495)
    assert vicreg(a, b, 0, 0, 1).item() == pytest.approx(0.0)
    assert vicreg(a, b, 25, 25, 1).item() == pytest.approx(12.5 + 12.375)
    # a third of it in one view only: (0.495 + 0.2)/2 with b's second column of standard deviation 0.6 (variance 0.36)
    b = torch.tensor([[0.0, 1.0], [2.0, 1.0 + 0.72**0.5]], dtype=torch.float64)
    assert vicreg(a, b, 0, 1, 0).item() == pytest.approx((0.495 + (1 - 0.3601**0.5) / 2) / 2)


def test_the_covariance_term_is_summed_over_views() -> None:
    # rows ±(1, 1): covariance 2 everywhere, (2² + 2²) / 2 dimensions = 4 in each view
    a = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert vicreg(a, a, 25, 25, 1).item() == pytest.approx(8)
    assert vicreg(a, a * torch.tensor([1.0, 0.0]), 0, 0, 1).item() == pytest.approx(4)


def test_against_lightly() -> None:
    losses = pytest.importorskip("lightly.loss")
    for seed in range(3):
        a, b = two_views(seed, batch=16, dim=8)
        expected = losses.BarlowTwinsLoss(lambda_param=0.0051)(a, b).item()
        assert barlow_twins(a, b, 0.0051).item() == pytest.approx(expected, rel=1e-12)
        assert vicreg(a, b, 25, 25, 1).item() == pytest.approx(losses.VICRegLoss()(a, b).item(), rel=1e-12)


@given(seed=st.integers(0, 1000), order=st.permutations(range(6)), columns=st.permutations(range(4)))
@settings(max_examples=25)
def test_order_of_images_dimensions_and_views_does_not_matter(seed: int, order: list[int], columns: list[int]) -> None:
    a, b = two_views(seed)
    for loss in (lambda a, b: barlow_twins(a, b, 0.1), lambda a, b: vicreg(a, b, 25, 25, 1)):
        expected = pytest.approx(loss(a, b).item(), rel=1e-10)
        assert loss(a[order], b[order]).item() == expected
        assert loss(a[:, columns], b[:, columns]).item() == expected
        assert loss(b, a).item() == expected


@given(seed=st.integers(0, 1000), scale=st.floats(0.5, 100), shift=st.floats(-10, 10))
@settings(max_examples=25)
def test_only_barlow_twins_ignores_scale_and_both_ignore_a_common_shift(seed: int, scale: float, shift: float) -> None:
    a, b = two_views(seed)
    # up to the eps of batch normalization
    assert barlow_twins(scale * a + shift, b, 0.1).item() == pytest.approx(barlow_twins(a, b, 0.1).item(), rel=1e-3)
    assert vicreg(a + shift, b + shift, 25, 25, 1).item() == pytest.approx(vicreg(a, b, 25, 25, 1).item(), rel=1e-8)


def test_gradients_are_finite_differences() -> None:
    a, b = (x.requires_grad_() for x in two_views(3))
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins(a, b, 0.1), (a, b))
    assert torch.autograd.gradcheck(lambda a, b: vicreg(0.6 * a, 0.6 * b, 2, 3, 1), (a, b))


def test_collapsed_embeddings_have_finite_gradients() -> None:
    a, b = torch.ones(4, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    (barlow_twins(a, b, 0.1) + vicreg(a, b, 25, 25, 1)).backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_low_precision_is_not_lost_further_on() -> None:
    a, b = (x.bfloat16() for x in two_views(4, batch=64, dim=16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = barlow_twins(a, b, 0.0051), vicreg(a, b, 25, 25, 1)
    exact = barlow_twins(a.double(), b.double(), 0.0051), vicreg(a.double(), b.double(), 25, 25, 1)
    assert torch.stack(low).tolist() == pytest.approx(torch.stack(exact).tolist(), rel=1e-4)


@pytest.mark.parametrize("loss", [barlow_twins, vicreg])
def test_shapes_that_do_not_fit_are_refused(loss) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 2\)"):
        loss(torch.ones(4, 3), torch.ones(4, 2))
    with pytest.raises(ValueError, match="at least 2"):
        loss(torch.ones(1, 3), torch.ones(1, 3))
