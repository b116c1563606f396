"""The page of long-tailed data and its figures: nothing breaks where classes are many, or have no figure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.report.reading import read
from uda.report.classes import by_frequency, class_curves, class_shapes
from uda.report.imbalance import ImbalanceReport, space_section, write_imbalance_report

PNG = b"\x89PNG\r\n\x1a\n"


def test_classes_stand_by_their_frequency() -> None:
    assert by_frequency(np.array([3, 9, 9, 1])).tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize("n", [2, 10, 100])
def test_figures_of_any_number_of_classes(n: int) -> None:
    names, counts = [f"class {i}" for i in range(n)], np.arange(1, n + 1)
    accuracies = np.linspace(0, 1, n)
    gaps = np.where(np.arange(n) == 0, np.nan, accuracies)
    for draw in (class_curves, class_shapes):
        one, other = (draw(names, counts, [("a", values), ("b", gaps)]) for values in (accuracies, 1 - accuracies))
        assert one.startswith(PNG)
        assert one != other


def test_a_space_without_figures_says_so() -> None:
    section = space_section(["a", "b"], np.array([2, 1]), [("x", np.full(2, np.nan))])
    assert not section.figures
    assert "too few test images" in section.text


def test_the_page_lists_every_class_and_an_empty_group_as_a_dash(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.5, "many_accuracy": None, "medium_accuracy": 0.75, "few_accuracy": 0.25}
    report = ImbalanceReport(
        title="a run",
        recipe={"task": "imbalance"},
        metrics=metrics,
        class_names=("ant", "<bee>"),
        history=pd.DataFrame({"step": [1, 2], "classification": [1.0, 0.5]}),
        counts=np.array([40, 2]),
        accuracies=np.array([0.75, 0.25]),
        probe_accuracies=np.array([0.5, np.nan]),
        features=np.random.default_rng(0).normal(size=(8, 3)),
        labels=np.arange(8) % 2,
    )
    write_imbalance_report(tmp_path / "page.html", report)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    text = " ".join(read(html).text)
    assert "Learned from 42 images of 2 classes, 40 of the most frequent and 2 of the rarest; tested on 8" in text
    assert "Accuracy, many" in text
    assert "&lt;bee&gt;" in html
    assert "<bee>" not in html
