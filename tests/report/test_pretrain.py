from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.report.reading import read
from uda.report.pretrain import PretrainReport, features_section, write_pretrain_report


def make(n=40, k=3, labelled=True, seed=0) -> PretrainReport:
    """Return a report on arrays as a run might leave them; all from one generator."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    return PretrainReport(
        title="photos: simclr",
        recipe={"task": "pretrain", "objectives": {"simclr": {"temperature": 0.5}}},
        metrics={"knn_accuracy": 0.625, "uniformity": -1.5, "effective_rank": 7.25, "feature_std": None},
        ci95={"knn_accuracy": [0.5, 0.75], "uniformity": None, "effective_rank": None, "feature_std": None},
        history=pd.DataFrame({"step": range(1, 31), "simclr": rng.random(30), "knn_accuracy": [None] * 29 + [0.6]}),
        class_names=tuple(f"class_{i}" for i in range(k)),
        features=rng.normal(size=(n, 16)) + labels[:, None],
        labels=labels if labelled else np.full(n, -1),
        views=[("simclr", torch.rand(8, 3, 16, 16))],
        warnings=[],
        unreadable=[],
        notes=["weights at the start: random"],
    )


def written(tmp_path, report: PretrainReport) -> tuple[str, list[str], int]:
    """Write and read a page; return its text, its section titles, and how many figures it has."""
    path = tmp_path / "report.html"
    write_pretrain_report(path, report)
    html = path.read_text(encoding="utf-8")
    reader = read(html)
    titles = [part.split("</h2>")[0] for part in html.split("<h2>")[1:]]
    return " ".join(reader.text), titles, html.count("<img ")


def test_every_section_in_order(tmp_path):
    text, titles, figures = written(tmp_path, replace(make(), unreadable=[("a/bad.jpg", "truncated file")]))
    assert titles == [
        *("Answer", "Views", "Features (t-SNE)", "Training curves", "Problems and notes", "Recipe"),
    ]
    assert figures == 3
    parts = ("photos: simclr", "62.5 %", "50.0 % … 75.0 %", "7.25", "a/bad.jpg", "truncated file")
    for part in (*parts, "weights at the start: random", "temperature: 0.5", "No sign of collapse."):
        assert part in text


def test_signs_of_collapse_stand_in_the_answer(tmp_path):
    text, _, _ = written(tmp_path, replace(make(), warnings=["features collapse", "moco: the loss sits at chance"]))
    assert "Warning: features collapse." in text
    assert "Warning: moco: the loss sits at chance." in text
    assert "No sign of collapse" not in text


def test_without_labels_steps_or_views_it_says_so(tmp_path):
    report = replace(make(labelled=False), history=pd.DataFrame(), views=[], class_names=())
    text, _, figures = written(tmp_path, report)
    assert figures == 1  # the map
    for part in ("The history holds no numbers.", "No objective looked at images."):
        assert part in text
    assert "No features were kept." in written(tmp_path, replace(report, features=np.zeros((0, 16))))[0]


@pytest.mark.parametrize("views", [torch.rand(8, 16), torch.rand(8, 1, 16, 16)])
def test_views_that_are_no_images_in_color_are_left_out(tmp_path, views):
    text, _, figures = written(
        tmp_path, replace(make(), views=[("bag", views), ("simclr", torch.rand(2, 3, 8, 8) * 9)])
    )
    assert figures == 3
    assert "bag:" not in text


def test_partly_labelled_features_are_drawn():
    labels = np.where(np.arange(40) % 2, -1, 0)
    section = features_section(make().features, labels, ("apple",), seed=0)
    assert "40 images" in section.figures[0].caption


def test_markup_in_names_stays_text(tmp_path):
    evil = "<script>alert('x')</script>"
    report = replace(
        make(), title=evil, class_names=(evil, "$a$", "_b"), views=[(evil, torch.rand(2, 3, 8, 8))], warnings=[evil]
    )
    text, _, _ = written(tmp_path, replace(report, notes=[evil], unreadable=[(evil, evil)], recipe={evil: evil}))
    assert text.count(evil) > 5
