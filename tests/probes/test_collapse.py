import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.probes.collapse import chance_loss, collapse_figures, watch


def spread_out(n: int = 500, d: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_figures_by_hand() -> None:
    # Four directions ±e₁, ±e₂: each dimension is (1, −1, 0, 0), std √½ = 1/√D. Singular values √2, √2: rank 2.
    found = collapse_figures([[3.0, 0], [-1, 0], [0, 2], [0, -2.5]])
    assert found.feature_std == pytest.approx(math.sqrt(0.5))
    assert found.relative_std == pytest.approx(1.0)
    found = collapse_figures([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert found.effective_rank == pytest.approx(2.0)


def test_even_spread_is_one_and_full_rank() -> None:
    found = collapse_figures(spread_out())
    assert found.relative_std == pytest.approx(1.0, abs=0.02)
    assert found.effective_rank is not None
    assert found.effective_rank > 60
    assert watch(spread_out()) == []


def test_equal_features_are_reported_on_both_counts() -> None:
    warnings = watch(np.ones((100, 64)) + 1e-4 * spread_out(100))
    assert len(warnings) == 2
    assert warnings[0].startswith("features collapse: they hardly differ between images (standard deviation 1")
    assert "of the 1/√64 of even spread); lower the learning rate" in warnings[0]
    assert "(effective rank 1.0" in warnings[1]
    assert "of 64); strengthen the views" in warnings[1]


def test_one_line_is_reported_though_both_its_ends_are_used() -> None:
    line = np.outer(np.tile([1.0, -1.0], 50), np.ones(64))
    assert collapse_figures(line).relative_std == pytest.approx(1.0)
    (warning,) = watch(line)
    assert "nearly on one line (effective rank 1.00 of 64)" in warning


def test_features_behind_a_relu_are_no_collapse() -> None:
    # half a normal variable: mean cosine 2/π, relative std √(1 − 2/π) = 0.60
    found = collapse_figures(np.maximum(spread_out(), 0))
    assert found.relative_std == pytest.approx(math.sqrt(1 - 1 / math.pi), abs=0.03)
    assert watch(np.maximum(spread_out(), 0)) == []


def test_the_threshold_is_a_tenth_of_even_spread() -> None:
    # a common offset c along one dimension and unit noise in 63: relative std about √(63/(63 + c²))
    for offset, expected in ((60.0, 0), (110.0, 1)):  # 0.13 and 0.07
        x = spread_out()
        x[:, 0] = offset
        assert sum("hardly differ" in warning for warning in watch(x)) == expected


@pytest.mark.parametrize(("loss", "expected"), [(4.852, 1), (4.80, 1), (4.90, 1), (4.6, 0), (0.1, 0)])
def test_a_loss_at_chance_is_reported(loss: float, expected: int) -> None:
    # ln(127 + 1) = 4.852; within 2 % is 4.755 to 4.949
    warnings = watch(spread_out(), loss, chance_loss(128))
    assert len(warnings) == expected
    assert all(f"the loss {loss:.4g} sits at chance (4.852), so nothing is being learned" in text for text in warnings)


def test_a_loss_above_chance_is_worse_than_a_guess() -> None:
    # ln 4 = 1.3863; 2 % above it is 1.414
    (warning,) = watch(spread_out(), 1.45, chance_loss(4))
    assert warning.startswith("the loss 1.45 is above chance (1.386), so nothing is being learned; train for longer")


@pytest.mark.parametrize(("loss", "expected"), [(0.99, 1), (1.0, 1), (1.01, 1), (0.95, 0), (1.3, 0)])
def test_a_loss_that_may_pass_that_of_constant_embeddings_is_reported_near_it_alone(loss: float, expected: int) -> None:
    warnings = watch(spread_out(), loss, constant=1.0)
    assert len(warnings) == expected
    assert all(text.startswith(f"the loss {loss:.4g} is that of constant embeddings (1), so") for text in warnings)


def test_a_loss_alone_says_nothing_but_that_it_is_finite() -> None:
    assert watch(spread_out(), 4.852) == []
    assert watch(spread_out(), None, 4.852) == []
    assert watch(spread_out(), math.nan) == ["the loss is nan: the training diverged; lower the learning rate"]


def test_features_that_are_not_finite_are_reported_and_have_no_figures() -> None:
    x = spread_out(5000)
    x[1, 3] = np.nan
    (warning,) = watch(x)
    assert "not finite: the training diverged" in warning
    found = collapse_figures(x[:50])
    assert (found.feature_std, found.relative_std, found.effective_rank) == (None, None, None)


def test_few_images_few_dimensions_and_zeros() -> None:
    assert collapse_figures(np.ones((1, 9))).feature_std is None
    assert collapse_figures(np.zeros((0, 9))).feature_std is None
    zeros = collapse_figures(np.zeros((9, 9)))
    assert (zeros.feature_std, zeros.effective_rank) == (0.0, None)
    assert len(watch(np.zeros((9, 9)))) == 1
    assert watch(np.tile([[1.0, 0.0], [0.0, 0.1]], (20, 1))) == []  # two dimensions: a low rank is no sign
    with pytest.raises(ValueError, match="two dimensions"):
        watch(np.zeros(4))


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 99), st.floats(0.01, 100))
def test_figures_are_bounded_and_do_not_depend_on_scale(n: int, d: int, seed: int, factor: float) -> None:
    x = spread_out(n, d, seed)
    found, scaled = collapse_figures(x), collapse_figures(x * factor)
    assert found.relative_std is not None
    assert found.effective_rank is not None
    assert 0 <= found.relative_std <= 1 + 1e-9
    assert 1 - 1e-9 <= found.effective_rank <= min(n, d) + 1e-9
    assert scaled.relative_std == pytest.approx(found.relative_std)
    assert scaled.effective_rank == pytest.approx(found.effective_rank)


def test_tensors_of_any_kind_are_taken() -> None:
    x = torch.from_numpy(spread_out(64)).requires_grad_()
    assert collapse_figures(x) == collapse_figures(x.detach().numpy())
    assert collapse_figures(x.bfloat16()).relative_std == pytest.approx(collapse_figures(x).relative_std, rel=1e-2)


def test_many_rows_are_thinned_evenly() -> None:
    x = np.concatenate([spread_out(3000), spread_out(3000) + 5])  # the first rows alone know nothing of the offset
    found = collapse_figures(x)
    assert found == collapse_figures(x[np.linspace(0, 5999, 2048).round().astype(int)])
    assert found.relative_std is not None
    assert found.relative_std < 0.9
