"""The study of long tails: its summary pairs by seed, its table has a row for each method at each ratio."""

import pytest

from benchmarks.imbalance_cifar import FIGURES, NONE, RANDOM, ROTATION, SIMCLR, summary
from benchmarks.imbalance_page import imbalance
from benchmarks.jobs import Row

RECIPE = {"encoder": {"backbone": "b"}, "training": {"steps": 8, "batch_size": 4, "lr": 0.5}, "pretraining_steps": 8}


def row(ratio: int, method: str, start: str, objective: str, seed: int, accuracy: float) -> Row:
    arm = {"ratio": ratio, "method": method, "start": start, "objective": objective, "seed": seed}
    few = {"few_accuracy": None if ratio == 10 else 0.25}
    return arm | {"metrics": dict.fromkeys(FIGURES, 0.5) | {"accuracy": accuracy} | few}


ROWS = [
    row(ratio, method, start, objective, seed, accuracy + seed / 10)
    for ratio in (10, 100)
    for method in ("ce", "ldam")
    for start, objective, accuracy in ((RANDOM, NONE, 0.5), (SIMCLR, NONE, 0.6), (RANDOM, ROTATION, 0.4))
    for seed in (0, 1)
    if objective == NONE or ratio == 100
]


def test_gains_are_paired_by_seed_against_the_method_alone() -> None:
    found = summary(ROWS)
    gains = {(gain["start"], gain["objective"]): gain["accuracy"]["mean"] for gain in found["gains"]}
    assert gains == pytest.approx({(SIMCLR, NONE): 0.1, (RANDOM, ROTATION): -0.1})
    assert len(found["gains"]) == 6  # SimCLR at both ratios, rotation at one, for two methods
    assert found["curves"]["ce from random"] == {
        "ratio": [10, 100],
        "accuracy": [0.55, 0.55],
        "balancedness": [0.5] * 2,
    }


def test_every_method_has_a_row_at_both_ratios() -> None:
    text = imbalance({"recipe": RECIPE, "summary": summary(ROWS)}, None)
    assert [line for line in text.splitlines() if line.startswith("| 10")] == [
        "| 10 | `ce` | 55.0 | 65.0 |  | +10.0 (+10.0 … +10.0) |  |",
        "| 10 | `ldam` | 55.0 | 65.0 |  | +10.0 (+10.0 … +10.0) |  |",
        "| 100 | `ce` | 55.0 / 25.0 | 65.0 / 25.0 | 45.0 / 25.0 | +10.0 (+10.0 … +10.0) | -10.0 (-10.0 … -10.0) |",
        "| 100 | `ldam` | 55.0 / 25.0 | 65.0 / 25.0 | 45.0 / 25.0 | +10.0 (+10.0 … +10.0) | -10.0 (-10.0 … -10.0) |",
    ]
    assert "in the 2 steps of the second stage a scale of `lws` can move by some 0.5 from 1" in text
    assert "| cross-entropy, random start | 55.0 / 50.0 | 55.0 / 50.0 |" in text
