import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.metrics import ProxyADistance, proxy_a_distance


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_separable_domains_are_two_apart():
    found = proxy_a_distance(column(*[0.0] * 10), column(*[1.0] * 10))
    assert found.value == 2.0
    assert found.error == 0.0
    # Wilson of 0 in 10: upper z²/(10 + z²) = 3.8415/13.8415 = .27753. Both domains: hypot(.27753, .27753)/2 = .19625,
    # and 2(1 − 2·.19625) = 1.2150.
    assert found.ci95 == (pytest.approx(1.2150, abs=1e-4), 2.0)


def test_some_of_the_source_looks_like_the_target():
    # 2 of 10 source images lie among the target's: ε = (.2 + 0)/2 = .1, so 2(1 − .2) = 1.6.
    found = proxy_a_distance(column(*[0.0] * 8, 1.0, 1.0), column(*[1.0] * 10))
    assert found.error == pytest.approx(0.1)
    assert found.value == pytest.approx(1.6)


def test_a_domain_weighs_the_same_however_many_images_it_has():
    # 200 of 1,000 source images among the target's 10: ε is .1 still; not balanced it would be .198 or less.
    found = proxy_a_distance(column(*[0.0] * 800, *[1.0] * 200), column(*[1.0] * 10))
    assert found.error == pytest.approx(0.1)


def test_the_same_images_twice_are_not_apart():
    x = np.random.default_rng(0).normal(size=(60, 5))
    found = proxy_a_distance(x, x)
    assert found.value == pytest.approx(0.0, abs=0.05)
    assert found.ci95 is not None
    assert found.ci95[0] == 0.0


def test_draws_from_one_distribution_are_nearly_not_apart():
    rng = np.random.default_rng(1)
    found = proxy_a_distance(rng.normal(size=(400, 50)), rng.normal(size=(400, 50)))
    assert found.value is not None
    assert found.value < 0.25
    assert found.ci95 is not None
    assert found.ci95[0] < 0.05


def test_features_that_do_not_vary_tell_nothing():
    found = proxy_a_distance(np.ones((5, 3)), np.ones((7, 3)))
    assert found.value == 0.0
    assert found.error == 0.5


@pytest.mark.parametrize(("n", "m"), [(0, 5), (1, 5), (5, 1)])
def test_with_fewer_than_two_images_it_is_undefined(n, m):
    assert proxy_a_distance(np.zeros((n, 2)), np.ones((m, 2))) == ProxyADistance(None, None, None)


def test_widths_that_differ_are_refused():
    with pytest.raises(ValueError, match="as wide as each other, not 2 and 3"):
        proxy_a_distance(np.zeros((4, 2)), np.zeros((4, 3)))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.floats(0, 3))
def test_it_lies_in_its_interval_and_ignores_units(seed, n, m, gap):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 4)), rng.normal(size=(m, 4)) + gap
    found = proxy_a_distance(a, b, seed)
    assert found.value is not None
    assert found.ci95 is not None
    assert 0 <= found.ci95[0] <= found.value <= found.ci95[1] <= 2
    assert proxy_a_distance(a, b, seed) == found
    scale = np.array([1.0, 2.0, 8.0, 1024.0])  # powers of two: rounding is the same
    assert proxy_a_distance(a * scale, b * scale, seed).value == pytest.approx(found.value, abs=1e-9)
