"""What is said of several seeds and of differences, and where each interval comes from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import SMALL, command, draw_classes, metrics_of
from uda.experiments.content import accuracy_differences, difference_content, pairs_content, summary_content

IMAGES = "bootstrap over test images"


def of_seed(seed: int, **metrics: float | None) -> dict[str, Any]:
    """Return the content of a seed; every figure's interval over images is a tenth to both sides, rank has none."""
    intervals = {n: None if v is None or n == "effective_rank" else [v - 0.1, v + 0.1] for n, v in metrics.items()}
    return {"method": "simclr", "seeds": [seed], "metrics": metrics, "ci95": intervals, "ci95_kind": IMAGES}


def test_seeds_that_vary_have_students_interval() -> None:
    content = summary_content([of_seed(0, knn_accuracy=0.48), of_seed(1, knn_accuracy=0.52)])
    # the mean 0.5 ± 12.706 · 0.02828 / √2
    assert content["ci95"]["knn_accuracy"] == pytest.approx([0.5 - 0.2541, 0.5 + 0.2541], abs=1e-4)
    assert content["ci95_kind"] == "Student's t over seeds"


def test_seeds_that_do_not_vary_have_the_interval_over_images() -> None:
    seeds = [of_seed(seed, knn_accuracy=0.4375, effective_rank=3.0, uniformity=-seed) for seed in (0, 1)]
    content = summary_content(seeds)
    assert content["std"] == {"knn_accuracy": 0.0, "effective_rank": 0.0, "uniformity": pytest.approx(0.7071, abs=1e-4)}
    assert content["ci95"]["knn_accuracy"] == [0.3375, 0.5375]
    assert content["ci95"]["effective_rank"] is None  # nothing says how uncertain it is
    assert content["ci95"]["uniformity"][0] < -0.5 < content["ci95"]["uniformity"][1]
    assert content["ci95_kind"] == f"Student's t over seeds; where these do not vary, {IMAGES}"


def test_pairs_of_domains_whose_seeds_do_not_vary_have_no_interval() -> None:
    pair = summary_content([of_seed(seed, h_score=0.5) for seed in (0, 1)]) | {
        "task": "",
        "steps": 0,
        "environment": {},
    }
    content = pairs_content({"a-b": pair, "b-a": pair})
    assert (content["metrics"], content["ci95"]) == ({"h_score": 0.5}, {"h_score": None})


def test_a_difference_says_where_its_interval_is_from() -> None:
    arms = [summary_content([of_seed(s, a=0.5, b=0.5 + s * up, c=1.0) for s in (0, 1)]) for up in (0.1, 0.3)]
    metrics = difference_content(arms[0], arms[1], {"a": [-0.2, 0.2]})["metrics"]
    assert (metrics["a"]["ci95"], metrics["a"]["ci95_kind"]) == ([-0.2, 0.2], IMAGES)
    assert metrics["b"]["ci95_kind"] == "Student's t over paired seeds"
    assert (metrics["c"]["ci95"], metrics["c"]["ci95_kind"]) == (None, None)  # no interval is of no kind


def test_differences_in_accuracy_are_paired_by_image() -> None:
    ours = {"knn_accuracy": np.array([True, True, False, False] * 25), "svm_accuracy": np.ones(3, dtype=bool)}
    theirs = {"knn_accuracy": np.array([True, False, False, False] * 25), "accuracy": np.ones(3, dtype=bool)}
    found = accuracy_differences(ours, theirs, seed=0)
    assert found.keys() == {"knn_accuracy"}
    # A quarter of the images is won: 0.25 ± 1.96 · √(0.25 · 0.75 / 100), up to the bootstrap's own noise.
    assert found["knn_accuracy"] == pytest.approx([0.165, 0.335], abs=0.02)


def test_arms_that_answer_alike_differ_by_nothing() -> None:
    right = {"knn_accuracy": np.array([True, False]), "accuracy": np.empty(0, dtype=bool)}
    assert accuracy_differences(right, right, seed=0) == {"knn_accuracy": [0.0, 0.0], "accuracy": None}


def test_differences_in_accuracy_are_drawn_by_group() -> None:
    # Four groups of 25 images alike: of one all are won. As a mean of four, not of a hundred, it may well be 0.
    ours, theirs = {"a": np.repeat([True, False], [25, 75])}, {"a": np.zeros(100, dtype=bool)}
    low, high = accuracy_differences(ours, theirs, seed=0, groups={"a": np.repeat(np.arange(4), 25)})["a"] or ()
    assert (low, high) == (0.0, 0.75)  # P(no draw of four) is .32; P(all four) .4 %, P(three or more) 5 %
    arms = [summary_content([of_seed(0, a=0.5)]) | {"groups": {"groups": 4}} for _ in range(2)]
    kind = difference_content(arms[0], arms[1], {"a": [low, high]})["metrics"]["a"]["ci95_kind"]
    assert kind == "bootstrap over groups of test images"


@pytest.mark.parametrize("task", ["unida", "dg"])
def test_images_of_one_patient_are_drawn_together(tmp_path: Path, task: str) -> None:
    for name in ("film", "scan"):
        root = draw_classes(tmp_path / "centers" / name, {"normal": 6, "tumor": 6})
        patients = [f"{kind}/{i}.png,{kind} {i // 3}\n" for kind in ("normal", "tumor") for i in range(6)]
        (root / "groups.csv").write_text("path,patient\n" + "".join(patients))
    ends: tuple[object, ...] = ("--source", tmp_path / "centers" / "film", "--target", tmp_path / "centers" / "scan")
    run = (*ends, "--task", task, "--steps", 1, "--compare", "--out", tmp_path / "run", *SMALL)
    assert command(*run) == 0
    content = metrics_of(tmp_path / "run")
    assert content["groups"] == {"test_groups": 4}
    assert "groups of t" in content["ci95_kind"]
    kinds = {entry["ci95_kind"] for entry in content["difference"]["metrics"].values() if entry["ci95"] is not None}
    assert kinds == {"bootstrap over groups of test images"}


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("robustness", ("--objective", "rotation", "--compare")),
        ("robustness", ("--method", "one_class", "--objective", "turn_shift", "--set", "method.normal=normal")),
        ("imbalance", ("--objective", "rotation", "--compare")),
    ],
)
def test_test_images_of_one_patient_are_drawn_together(tmp_path: Path, task: str, more: tuple[object, ...]) -> None:
    patients: list[str] = []
    for split, count in (("train", 6), ("test", 8)):
        draw_classes(tmp_path / "pool" / split, {"normal": count, "tumor": count})
        files = [f"{kind}/{i}.png,{split} {kind} {i // 4}\n" for kind in ("normal", "tumor") for i in range(count)]
        patients += [f"{split}/{line}" for line in files]
    (tmp_path / "pool" / "groups.csv").write_text("path,patient\n" + "".join(patients))
    run = ("--task", task, "--source", tmp_path / "pool", "--steps", 1, "--out", tmp_path / "run", *more, *SMALL)
    short = ("report.corruptions=[contrast]", "report.severities=[1]", "report.attacks=[fgsm]")
    assert command(*run, *(short if task == "robustness" else ())) == 0
    content = metrics_of(tmp_path / "run")
    assert content["groups"] == {"test_groups": 4}
    assert content["ci95_kind"] == "bootstrap over groups of test images"
    differences = content.get("difference", {"metrics": {}})["metrics"].values()
    kinds = {entry["ci95_kind"] for entry in differences if entry["ci95"] is not None}
    assert kinds == ({"bootstrap over groups of test images"} if "--compare" in more else set())
