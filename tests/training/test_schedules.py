import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.clock import Clock
from uda.training.schedules import SCHEDULES, constant, cosine, inverse, linear, step


def test_inverse_by_hand() -> None:
    # (1 + 10·t/T)^(−0.75): 1 at the start; 6^(−0.75) = 0.260847… halfway; 11^(−0.75) = 0.165559… at the end
    assert inverse(Clock(0, 8)) == 1
    assert inverse(Clock(4, 8)) == pytest.approx(0.2608474, abs=1e-7)
    assert inverse(Clock(8, 8)) == pytest.approx(0.1655600, abs=1e-6)


def test_cosine_by_hand() -> None:
    # ½(1 + cos(π·t/T)): 1, at a third ½(1 + ½) = ¾, ½ in the middle, 0 at the end
    assert [cosine(Clock(t, 6)) for t in (0, 2, 3, 6)] == pytest.approx([1, 0.75, 0.5, 0], abs=1e-12)


def test_linear_by_hand() -> None:
    assert [linear(Clock(t, 8)) for t in (0, 2, 7, 8)] == pytest.approx([1, 0.75, 0.125, 0])


def test_constant() -> None:
    assert constant(Clock(3, 4)) == 1


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 10**6), st.data())
def test_no_schedule_ever_rises_or_leaves_the_unit_interval(name: str, total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    now, later = (SCHEDULES[name](Clock(at, total)) for at in (step, step + 1))
    assert 0 <= later <= now <= 1
    assert math.isfinite(now)


def test_step_is_a_tenth_over_the_last_fifth() -> None:
    assert [step(Clock(at, 10)) for at in (0, 7, 8, 9)] == [1, 1, 0.1, 0.1]
