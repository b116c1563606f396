import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.errors import UserError
from uda.metrics import calibration_metrics
from uda.probes.temperature import BOUNDS, fit_temperature, scaled_probabilities


def honest(n: int = 4000, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn from their softmax: perfectly calibrated at temperature 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def test_two_classes_by_hand() -> None:
    # Always a gap of 2 in favor of class 0, which is right three times of four: p = 3/4 wants a gap of log 3.
    logits, labels = torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(2 / math.log(3), rel=1e-6)
    assert scaled_probabilities(logits, temperature)[0].tolist() == pytest.approx([0.75, 0.25])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.2, 5))
def test_no_other_temperature_has_a_smaller_likelihood(seed: int, classes: int, factor: float) -> None:
    logits, labels = honest(40, classes, seed)
    logits = logits * factor
    temperature = fit_temperature(logits, labels)

    def nll(t: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / t, labels))

    grid = np.geomspace(*BOUNDS, 200)
    assert nll(temperature) <= min(map(nll, grid)) + 1e-9


def test_it_finds_what_made_the_confidence_wrong() -> None:
    logits, labels = honest()
    once = fit_temperature(logits, labels)
    assert once == pytest.approx(1, abs=0.06)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * once, rel=1e-6)
    before = calibration_metrics(scaled_probabilities(3 * logits, 1.0), labels)
    after = calibration_metrics(scaled_probabilities(3 * logits, 3 * once), labels)
    assert after["ece"] < 0.02 < 0.1 < before["ece"]
    assert all(after[name] < before[name] for name in before)


def test_unlabelled_images_are_left_out() -> None:
    logits, labels = honest(50)
    some = labels.clone()
    some[::3] = -1
    kept = some >= 0
    assert fit_temperature(logits, some) == pytest.approx(fit_temperature(logits[kept], labels[kept]))
    assert fit_temperature(logits, some.numpy()) == fit_temperature(logits, some)


def test_where_there_is_no_best_one_it_is_the_end_of_the_range() -> None:
    right = torch.tensor([[5.0, 0.0], [0.0, 7.0]])
    assert fit_temperature(right, torch.tensor([0, 1])) == BOUNDS[0]
    assert fit_temperature(right, torch.tensor([1, 0])) == BOUNDS[1]
    assert fit_temperature(torch.full((3, 4), 0.3), torch.tensor([0, 1, 2])) == 1.0


def test_scaling_changes_no_answer_and_gives_no_nan() -> None:
    logits, labels = honest(200)
    for temperature in (0.01, 1.0, 100.0):
        probabilities = scaled_probabilities(logits * 1e3, temperature)
        assert torch.equal(probabilities.argmax(1), logits.argmax(1))
        assert all(math.isfinite(value) for value in calibration_metrics(probabilities, labels).values())


def test_what_the_user_can_get_wrong() -> None:
    logits, labels = honest(10)
    with pytest.raises(UserError, match="no labelled images to fit a temperature on"):
        fit_temperature(logits, -torch.ones(10))
    with pytest.raises(UserError, match="not finite"):
        fit_temperature(logits / 0, labels)
    with pytest.raises(UserError, match="give a positive one"):
        scaled_probabilities(logits, 0.0)
    with pytest.raises(ValueError, match=r"10 rows of logits, but labels of the shape \(9,\)"):
        fit_temperature(logits, labels[:9])
    with pytest.raises(ValueError, match="only 5 columns"):
        fit_temperature(logits, labels + 5)
