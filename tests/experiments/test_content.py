"""What stands above several pairs of domains, by hand."""

from typing import Any

import numpy as np
import pytest

from uda.experiments.content import difference_content, mean_tree, pairs_content
from uda.experiments.unida.content import share_of
from uda.probes.answer import Answer


def pair(*scores: float | None, setting: str = "open") -> dict[str, Any]:
    mean = None if None in scores else sum(s for s in scores if s is not None) / len(scores)
    return {
        "task": "unida",
        "method": "dance",
        "seeds": list(range(len(scores))),
        "steps": 3,
        "metrics": {"h_score": mean},
        "std": {"h_score": None},
        "ci95": {"h_score": None},
        "ci95_kind": "Student's t over seeds",
        "per_seed": {"h_score": list(scores)},
        "setting": setting,
        "environment": {},
    }


def test_pairs_are_averaged_seed_by_seed() -> None:
    """Seed 0: (.8 + .4) / 2 = .6, seed 1: (.9 + .5) / 2 = .7; their mean .65, std .1 / √2 = .0707.

    With one degree of freedom t is 12.706, so the half width is 12.706 · .0707 / √2 = .6353; the interval ends where
    shares do, at 1. The spread between the pairs, far larger, is no part of it.
    """
    content = pairs_content({"a-b": pair(0.8, 0.9), "b-a": pair(0.4, 0.5)})
    assert content["per_seed"]["h_score"] == pytest.approx([0.6, 0.7])
    assert content["metrics"]["h_score"] == pytest.approx(0.65)
    assert content["std"]["h_score"] == pytest.approx(0.0707, abs=1e-4)
    assert content["ci95"]["h_score"] == pytest.approx([0.65 - 0.6353, 1], abs=1e-4)
    assert [(row["folder"], row["metrics"]["h_score"]) for row in content["pairs"]] == [
        ("a-b", pytest.approx(0.85)),
        ("b-a", pytest.approx(0.45)),
    ]
    assert (content["method"], content["seeds"], content["steps"], content["setting"]) == ("dance", [0, 1], 3, "open")


def test_a_figure_that_one_pair_lacks_has_no_mean() -> None:
    content = pairs_content({"a-b": pair(0.8, 0.9), "b-a": pair(0.4, None, setting="closed")})
    assert content["per_seed"]["h_score"] == [pytest.approx(0.6), None]
    assert (content["metrics"]["h_score"], content["ci95"]["h_score"]) == (None, None)
    assert content["setting"] is None  # the pairs' settings differ


def test_one_seed_has_a_mean_and_no_interval() -> None:
    content = pairs_content({"a-b": pair(0.8), "b-a": pair(0.4)})
    assert content["metrics"]["h_score"] == pytest.approx(0.6)
    assert (content["std"]["h_score"], content["ci95"]["h_score"]) == (None, None)


def test_the_difference_over_pairs_is_paired_by_seed() -> None:
    """Ours .6, .7 and theirs .55, .61: differences .05, .09, mean .07, std .0283, half width 12.706 · .02 = .2541."""
    ours = pairs_content({"a-b": pair(0.8, 0.9), "b-a": pair(0.4, 0.5)})
    theirs = pairs_content({"a-b": pair(0.8, 0.9), "b-a": pair(0.3, 0.32)}) | {"method": "source_only"}
    found = difference_content(ours, theirs, {})
    entry = found["metrics"]["h_score"]
    assert found["against"] == "source_only"
    assert entry["mean"] == pytest.approx(0.07)
    assert entry["ci95"] == pytest.approx([0.07 - 0.2541, 0.07 + 0.2541], abs=1e-4)
    assert entry["ci95_kind"] == "Student's t over paired seeds"
    assert entry["smallest_detectable"] > entry["mean"]


def test_a_difference_without_interval_names_no_kind() -> None:
    ours, theirs = (pairs_content({"a-b": pair(score)}) for score in (0.8, 0.7))
    entry = difference_content(ours, theirs, {})["metrics"]["h_score"]
    assert (entry["mean"], entry["ci95"], entry["ci95_kind"]) == (pytest.approx(0.1), None, None)


def test_the_unknown_share_is_none_where_nothing_is_unsure_whatever_the_run_rejects() -> None:
    """Two groups of scores, all below 1.3 times the published 1: the run's own threshold cuts them, the share is 0."""
    rng = np.random.default_rng(0)
    scores = np.repeat([0.1, 0.6], 20)
    sure = Answer(rng.normal(size=(40, 3)), np.full((40, 2), 0.5), scores, threshold=0.3)
    assert (sure.predictions == 2).mean() == 0.5
    found = share_of(sure, published=1.0, seed=0)
    assert found is not None
    assert (found["estimate"], found["low"]) == (0, 0)
    unsure = share_of(Answer(sure.features, sure.probabilities, np.repeat([0.1, 1.6], 20), 2.0), published=1.0, seed=0)
    assert unsure is not None
    assert unsure["estimate"] == 0.5
    assert share_of(sure, published=0.0, seed=0) is None  # scores relative to their mean say nothing of this


def test_trees_of_figures_are_averaged_place_by_place() -> None:
    trees = [
        {"a": {"x": 1.0, "y": None}, "n": [3, 1], "c": [0.2, 0.4]},
        {"a": {"x": 2.0, "y": 1.0}, "n": [3, 1], "c": [0.4, 0.4]},
    ]
    found = mean_tree(trees)
    assert found == {"a": {"x": 1.5, "y": None}, "n": [3, 1], "c": [pytest.approx(0.3), 0.4]}
    assert mean_tree(trees[:1]) == trees[0]
    assert mean_tree([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0}  # what one lacks has no mean
