import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from uda.ssl.functional import jensen_shannon

SURE = 60.0  # a softmax of 1 and 0, but for 1e-26


def random(views: int, seed: int, scale: float = 2.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(views)]


def test_three_views_by_hand() -> None:
    # (1, 0), (0, 1) and (½, ½) have the mean (½, ½): divergences log 2, log 2 and 0.
    views = [torch.tensor([[SURE, 0.0]]), torch.tensor([[0.0, SURE]]), torch.tensor([[0.0, 0.0]])]
    assert float(jensen_shannon(views)) == pytest.approx(2 / 3 * math.log(2))
    # (¾, ¼) and (¼, ¾): ¾ log(¾ / ½) + ¼ log(¼ / ½) for both; a second image whose views agree halves the mean.
    gap = math.log(3)
    views = [torch.tensor([[gap, 0.0], [1.0, 2.0]]), torch.tensor([[0.0, gap], [1.0, 2.0]])]
    assert float(jensen_shannon(views)) == pytest.approx((0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2)


def test_views_that_are_sure_of_different_classes_are_log_v_apart() -> None:
    assert float(jensen_shannon(list(SURE * torch.eye(3)[:, None]))) == pytest.approx(math.log(3))


def test_it_equals_the_published_form() -> None:
    views = random(3, 0)
    probabilities = [view.softmax(1) for view in views]
    log_mean = (sum(probabilities) / 3).clamp(1e-7, 1).log()
    published = sum(F.kl_div(log_mean, p, reduction="batchmean") for p in probabilities) / 3
    assert float(jensen_shannon(views)) == pytest.approx(float(published))


@given(st.integers(2, 4), st.integers(0, 1000), st.floats(0, 50))
def test_it_lies_between_zero_and_log_v_whatever_the_order(views: int, seed: int, scale: float) -> None:
    logits = random(views, seed, scale)
    found = float(jensen_shannon(logits))
    assert -1e-12 <= found <= math.log(views) + 1e-12
    assert found == pytest.approx(float(jensen_shannon(logits[::-1])))
    assert float(jensen_shannon(logits[:1] * views)) == pytest.approx(0, abs=1e-12)


def test_all_views_carry_gradients_and_certainty_gives_finite_ones() -> None:
    views = [view.requires_grad_() for view in random(3, 1)]
    assert torch.autograd.gradcheck(lambda *logits: jensen_shannon(logits), views)
    sure = torch.tensor([[1e4, -1e4]], requires_grad=True)
    jensen_shannon([sure, -sure.detach(), sure.detach()]).backward()
    assert bool(torch.isfinite(sure.grad).all())


def test_half_precision_is_computed_in_float32() -> None:
    views = [view.bfloat16() for view in random(3, 2)]
    assert jensen_shannon(views).dtype == torch.float32
    assert float(jensen_shannon(views)) == pytest.approx(float(jensen_shannon([view.float() for view in views])))


def test_one_view_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        jensen_shannon(random(1, 0))
