from dataclasses import replace

import numpy as np
import torch

from tests.report.reading import read
from uda.report.attention import attention_figure
from uda.report.probe import ProbeReport, write_probe_report


def make(n=30, k=3, seed=0) -> ProbeReport:
    """Return a report on arrays as a probing might leave them; all from one generator."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    return ProbeReport(
        title="photos: resnet18",
        recipe={"task": "probe", "method": {"k": 200}},
        metrics={"linear_accuracy": 0.75, "knn_accuracy": 0.5, "fewshot_accuracy_1": None, "alignment": 0.25},
        ci95={"linear_accuracy": [0.625, 0.875], "knn_accuracy": [0.4, 0.6], "fewshot_accuracy_1": None},
        class_names=tuple(f"class_{i}" for i in range(k)),
        features=rng.normal(size=(n, 16)) + labels[:, None],
        labels=labels,
        attention=None,
        unreadable=[("a/bad.jpg", "truncated file")],
        notes=["weights: random"],
    )


def written(tmp_path, report: ProbeReport) -> tuple[str, list[str]]:
    """Write and read a page; return its text and its section titles."""
    path = tmp_path / "report.html"
    write_probe_report(path, report)
    html = path.read_text(encoding="utf-8")
    text = " ".join(read(html).text)
    return text, [part.split("</h2>")[0] for part in html.split("<h2>")[1:]]


def test_figures_with_their_intervals(tmp_path):
    text, titles = written(tmp_path, make())
    assert titles == ["Answer", "Features (t-SNE)", "Problems and notes", "Recipe"]
    for part in (
        "75.0 %",
        "62.5 % … 87.5 %",
        "50.0 %",
        "5-way 1-shot",
        "0.25",
        "a/bad.jpg",
        "weights: random",
        "k: 200",
    ):
        assert part in text
    assert "On test images that no probe has learned from." in text


def test_the_first_cards_are_the_accuracies_that_were_asked_for(tmp_path):
    write_probe_report(tmp_path / "report.html", make())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    cards = [part.split("</span>")[0] for part in html.split('class="card"><b>')[1:]]
    assert cards == ["75.0 %</b><span>Linear accuracy", "50.0 %</b><span>kNN accuracy"]


def test_attention_has_a_section_where_there_is_some(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), dtype=np.uint8)
    maps = torch.rand(2, 3, 4, 4).softmax(-1).numpy()
    text, titles = written(tmp_path, replace(make(), attention=attention_figure(images, maps)))
    assert titles == ["Answer", "Features (t-SNE)", "Attention", "Problems and notes", "Recipe"]
    assert "each head of the last block's class token" in text


def test_markup_in_names_stays_text(tmp_path):
    evil = "<script>alert('x')</script>"
    text, _ = written(tmp_path, replace(make(), title=evil, class_names=(evil, "$a$", "_b"), notes=[evil]))
    assert text.count(evil) >= 2
