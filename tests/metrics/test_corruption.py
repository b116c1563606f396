import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.metrics import mean_corruption_error, plain_corruption_error, relative_mean_corruption_error

OURS = {"fog": [0.1, 0.2, 0.3, 0.4, 0.5], "snow": [0.2, 0.2, 0.2, 0.2, 0.2]}
BASE = {"fog": [0.5, 0.6, 0.6, 0.6, 0.7], "snow": [0.4, 0.4, 0.5, 0.6, 0.6]}

rates = st.lists(st.floats(0.01, 1), min_size=5, max_size=5)
tables = st.fixed_dictionaries({"fog": rates, "snow": rates, "frost": rates})


def test_mean_corruption_error_by_hand():
    # fog 1.5 / 3.0 = 50 %, snow 1.0 / 2.5 = 40 %.
    assert mean_corruption_error(OURS, BASE) == pytest.approx(45.0)


def test_sums_are_divided_and_not_each_severity():
    # By severity it would be (1/2 + 1/1) / 2 = 75 %.
    assert mean_corruption_error({"fog": [0.1, 0.9]}, {"fog": [0.2, 0.9]}) == pytest.approx(100 * 1.0 / 1.1)


def test_relative_error_by_hand():
    # Clean .1 and .4. fog: (.3 − .1) / (.6 − .4) = 100 %, snow: (.2 − .1) / (.5 − .4) = 100 %.
    assert relative_mean_corruption_error(OURS, BASE, 0.1, 0.4) == pytest.approx(100.0)
    # Clean .25: fog .05 / .2 = 25 %, snow −.05 / .1 = −50 %.
    assert relative_mean_corruption_error(OURS, BASE, 0.25, 0.4) == pytest.approx(-12.5)


def test_a_baseline_may_be_its_mean_over_severities():
    assert mean_corruption_error(OURS, {"fog": 0.6, "snow": 0.5}) == pytest.approx(45.0)


def test_plain_mean_by_hand():
    assert plain_corruption_error(OURS) == pytest.approx((0.3 + 0.2) / 2)


@given(tables)
def test_the_baseline_itself_has_one_hundred_percent(base):
    assert mean_corruption_error(base, base) == pytest.approx(100.0)
    assert relative_mean_corruption_error(base, base, 0.005, 0.005) == pytest.approx(100.0)


@given(tables, tables, st.floats(0.1, 100))
def test_the_unit_of_errors_cancels(ours, base, unit):
    scaled = [{name: unit * np.array(values) for name, values in table.items()} for table in (ours, base)]
    assert mean_corruption_error(*scaled) == pytest.approx(mean_corruption_error(ours, base))


def test_takes_tensors_and_ignores_further_corruptions_of_the_baseline():
    ours = {"fog": torch.tensor(OURS["fog"])}
    assert mean_corruption_error(ours, BASE) == pytest.approx(50.0)


def test_undefined_figures():
    assert mean_corruption_error({}, BASE) is None
    assert plain_corruption_error({}) is None
    assert mean_corruption_error({"fog": [0.1]}, {"fog": [0.0]}) is None
    assert relative_mean_corruption_error(OURS, BASE, 0.1, 0.5) is None  # the baseline loses nothing by snow
    assert relative_mean_corruption_error(OURS, BASE, 0.1, 0.55) is None  # it is better on snow than without


def test_what_is_refused():
    with pytest.raises(ValueError, match="no errors for frost, zoom"):
        mean_corruption_error({"zoom": [0.1], "fog": [0.1], "frost": [0.1]}, BASE)
    with pytest.raises(ValueError, match="fog has 2 severities in errors and 5 in the baseline"):
        mean_corruption_error({"fog": [0.1, 0.2]}, BASE)
    with pytest.raises(ValueError, match=r"errors\['fog'\] must be finite"):
        plain_corruption_error({"fog": [0.1, float("nan")]})
