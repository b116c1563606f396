from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.report.reading import read
from uda.metrics import unida_metrics
from uda.report.unida import UnidaReport, example_groups, select_thumbnails, write_unida_report


def make(n=60, k=4, threshold=0.8, labelled=True, seed=0, size=12) -> UnidaReport:
    """Return a report on arrays as a run might leave them; all from one generator."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k + 1, n)
    scores = np.where(labels == k, rng.normal(1.2, 0.4, n), rng.normal(0.4, 0.3, n))
    closed = np.where(rng.random(n) < 0.7, labels, rng.integers(0, k, n)) % k
    predictions = np.where(scores > threshold, k, closed)
    confidences = rng.uniform(0.2, 1, n)
    rows = select_thumbnails(scores, predictions, confidences, threshold, labels if labelled else None)
    centers = rng.normal(size=(k + 1, 16)) * 3
    return UnidaReport(
        title="source → target",
        recipe={"method": "dance", "optimizer": {"lr": 0.01}},
        metrics=unida_metrics(labels, predictions, closed, scores, k) if labelled else {},
        history=pd.DataFrame({"step": range(30), "loss": rng.random(30)}),
        class_names=tuple(f"class_{i}" for i in range(k)),
        scores=scores,
        threshold=threshold,
        fixed_threshold=0.7,
        rejection="otsu",
        predictions=predictions,
        confidences=confidences,
        labels=labels if labelled else None,
        target_images=torch.from_numpy(rng.integers(0, 255, (len(rows), 3, size, size), dtype=np.uint8)),
        thumbnail_rows=rows,
        target_paths=[f"images/{i}.jpg" for i in range(n)],
        source_features=centers[np.arange(40) % k] + rng.normal(size=(40, 16)),
        source_labels=np.arange(40) % k,
        target_features=centers[labels] + rng.normal(size=(n, 16)),
    )


def written(tmp_path, inputs: UnidaReport) -> tuple[str, list[str]]:
    """Write and read a page; return its text and its section titles."""
    path = tmp_path / "report.html"
    write_unida_report(path, inputs)
    html = path.read_text(encoding="utf-8")
    reader = read(html)
    assert "http://" not in html
    assert "https://" not in html
    titles = [part.split("</h2>")[0] for part in html.split("<h2>")[1:]]
    return " ".join(reader.text), titles


def test_a_labelled_target_gets_every_section_in_order(tmp_path):
    inputs = replace(
        make(),
        unreadable=[("images/bad.jpg", "truncated file")],
        notes=["weights: none"],
        ci95={"h_score": [0.78, 0.82]},
    )
    text, titles = written(tmp_path, inputs)
    assert titles == [
        "Answer",
        "Example images",
        "Score distribution",
        "Confusion matrix",
        "Features (t-SNE)",
        "Training curves",
        "Problems and notes",
        "Recipe",
    ]
    rejected = int((inputs.predictions == 4).sum())
    assert f"{60 - rejected} of 60 target images" in text
    assert f"{100 * inputs.metrics['universal_score']:.1f} %" in text
    for part in ("oracle", "images/bad.jpg", "truncated file", "weights: none", "lr: 0.01"):
        assert part in text


def test_an_unlabelled_target_gets_no_claim_about_accuracy(tmp_path):
    text, titles = written(tmp_path, make(labelled=False))
    assert "Confusion matrix" not in titles
    assert "The target has no labels" in text
    assert "accuracy" not in text.lower()
    assert "✗" not in text


def test_labels_of_minus_one_count_as_no_labels(tmp_path):
    inputs = replace(make(labelled=False), labels=np.full(60, -1))
    text, titles = written(tmp_path, inputs)
    assert "Confusion matrix" not in titles
    assert "The target has no labels" in text


@pytest.mark.parametrize(("threshold", "said"), [(float("inf"), "Nothing was"), (-99.0, "Everything was")])
@pytest.mark.parametrize("labelled", [True, False])
def test_nothing_or_everything_rejected_is_said(tmp_path, threshold, said, labelled):
    text, _ = written(tmp_path, make(threshold=threshold, labelled=labelled))
    assert f"{said} rejected" in text


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("labelled", [True, False])
def test_one_or_two_images_are_enough(tmp_path, n, labelled):
    text, _ = written(tmp_path, make(n=n, labelled=labelled))
    assert ("of 1 target image (" if n == 1 else "of 2 target images (") in text


@pytest.mark.parametrize(("threshold", "shown"), [(float("inf"), False), (-99.0, True)])
def test_the_most_unknown_are_shown_where_some_are_rejected(tmp_path, threshold, shown):
    text, _ = written(tmp_path, make(threshold=threshold))
    assert ("Most unknown" in text) == shown
    assert "Highest unknown-scores" not in text


def test_345_classes(tmp_path):
    text, _ = written(tmp_path, make(n=400, k=345))
    assert "the 15 most frequent" in text


def test_no_features_no_history_no_thumbnails(tmp_path):
    none = np.zeros((0, 16))
    inputs = replace(
        make(),
        source_features=none,
        source_labels=np.zeros(0, dtype=int),
        target_features=none,
        history=pd.DataFrame(),
        thumbnail_rows=np.zeros(0, dtype=int),
        target_images=torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
        fixed_threshold=None,
    )
    text, _ = written(tmp_path, inputs)
    for part in ("No features were kept", "The history holds no numbers", "no images to show"):
        assert part in text


def test_a_usual_report_stays_small(tmp_path):
    path = tmp_path / "report.html"
    inputs = make(n=200, k=10)
    rng, m = np.random.default_rng(0), len(inputs.thumbnail_rows)
    slopes = np.linspace(40, 200, 128)[:, None] + rng.uniform(-1, 1, (m, 3, 1, 1)) * np.linspace(0, 90, 128)
    photographs = np.clip(slopes + rng.normal(0, 6, slopes.shape), 0, 255).astype(np.uint8)  # smooth, with grain
    write_unida_report(path, replace(inputs, target_images=torch.from_numpy(photographs)))
    assert path.stat().st_size < 3_000_000


def test_markup_in_class_and_file_names_stays_text(tmp_path):
    evil = "<script>alert('x')</script>"
    inputs = make()
    inputs = replace(
        inputs,
        title=evil,
        class_names=(evil, "$a$", "_b", "c & d"),
        target_paths=[f'{i}"{evil}.jpg' for i in range(60)],
        notes=[evil],
        unreadable=[(evil, evil)],
        rejection=evil,
        recipe={evil: evil},
    )
    text, _ = written(tmp_path, inputs)  # the reader refuses script tags
    assert text.count(evil) > 10


def test_arrays_of_other_lengths_are_refused(tmp_path):
    inputs = make()
    with pytest.raises(ValueError, match=r"60 target images.*scores 59"):
        write_unida_report(tmp_path / "r.html", replace(inputs, scores=inputs.scores[:-1]))
    with pytest.raises(ValueError, match="thumbnail_rows"):
        write_unida_report(tmp_path / "r.html", replace(inputs, thumbnail_rows=inputs.thumbnail_rows[:-1]))
    assert not (tmp_path / "r.html").exists()


# Six images, two classes (0, 1) and unknown (2), threshold 1:
#   row            0    1    2    3    4    5
SCORES = np.array([0.1, 0.2, 0.9, 1.1, 3.0, 0.3])
PREDICTED = np.array([0, 0, 1, 2, 2, 0])
CONFIDENCES = np.array([0.9, 0.95, 0.6, 0.5, 0.3, 0.7])
LABELS = np.array([0, 1, 1, 0, 2, 2])


def test_groups_of_examples_by_hand():
    groups = example_groups(SCORES, PREDICTED, CONFIDENCES, 1.0, LABELS)
    # Accepted: class 0 has rows 1, 0, 5 by confidence, class 1 has row 2; they take turns, class 0 first.
    assert groups["confident"].tolist() == [1, 2, 0, 5]
    assert groups["unknown"].tolist() == [4, 3]  # the rejected rows by score, and no accepted one
    # Distances to 1: .9 .8 .1 .1 2 .7; rows 2 and 3 differ by rounding only.
    assert set(groups["threshold"].tolist()[:2]) == {2, 3}
    assert groups["threshold"].tolist()[2:] == [5, 1, 0, 4]
    # Wrong: row 1 (a 1 called 0, .95), row 5 (an unknown called 0, .7); row 3 (a 0 rejected).
    assert groups["errors"].tolist() == [1, 3, 5]
    assert "errors" not in example_groups(SCORES, PREDICTED, CONFIDENCES, 1.0, None)


def test_unlabelled_rows_are_no_errors():
    labels = np.where(np.arange(6) == 1, -1, LABELS)
    assert example_groups(SCORES, PREDICTED, CONFIDENCES, 1.0, labels)["errors"].tolist() == [5, 3]


def test_no_row_is_near_an_infinite_threshold():
    groups = example_groups(SCORES, np.where(PREDICTED == 2, 0, PREDICTED), CONFIDENCES, float("inf"), None)
    assert groups["threshold"].tolist() == []
    assert groups["unknown"].tolist() == []
    assert len(groups["confident"]) == 6


@pytest.mark.parametrize("limit", [0, 1, 3, 8, 48, 1000])
def test_thumbnails_are_few_and_each_is_chosen_once(limit):
    inputs = make(n=500, k=7)
    rows = select_thumbnails(
        inputs.scores, inputs.predictions, inputs.confidences, inputs.threshold, inputs.labels, limit
    )
    assert rows.dtype == np.int64
    assert len(rows) <= min(limit, 48)
    assert len(set(rows.tolist())) == len(rows)
    assert len(rows) > 0 or limit == 0
    assert ((rows >= 0) & (rows < 500)).all()


def test_what_is_chosen_is_what_is_shown():
    inputs = make(n=500, k=7)
    groups = example_groups(inputs.scores, inputs.predictions, inputs.confidences, inputs.threshold, inputs.labels)
    shown = {int(row) for found in groups.values() for row in found}
    assert shown == set(inputs.thumbnail_rows.tolist())


def test_thumbnails_of_no_images():
    empty = np.zeros(0)
    assert select_thumbnails(empty, empty.astype(int), empty, 1.0, empty.astype(int)).tolist() == []
