"""The page to look at after universal domain adaptation: a label or `unknown` for every image, and what it is worth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from uda.report import embedding, page, plots, tables
from uda.report.curves import curves_section
from uda.report.page import Figure, Section
from uda.report.run import RunReport
from uda.report.selection import selection_section
from uda.wording import counted

_PER_GROUP = 12
_HEADLINES = ("universal_score", "known_accuracy", "unknown_accuracy", "auroc")


@dataclass(frozen=True, kw_only=True)
class UnidaReport(RunReport):
    """Everything the page shows; N target images, K source classes, K stands for unknown.

    scores:      (N,) unknown-scores, higher means more unknown; above `threshold` an image is rejected by `rejection`.
    predictions: (N,) int64 in 0 … K; confidences: (N,) of the best known class, in [0, 1].
    labels:      (N,) 0 … K−1 known, K unknown, −1 unlabelled; None where the target has no labels.
    target_images: (M, 3, h, w) uint8 thumbnails of the rows `thumbnail_rows` (M,), chosen by `select_thumbnails`.
    source_features (S, D), source_labels (S,), target_features (N, D): for t-SNE; may have no rows.
    selection:   as in `metrics.json`.
    before, candidates: the sections of what was seen before training and of candidate new classes, or None.
    """

    history: pd.DataFrame
    scores: np.ndarray
    threshold: float
    fixed_threshold: float | None
    rejection: str
    predictions: np.ndarray
    confidences: np.ndarray
    labels: np.ndarray | None
    target_images: Tensor
    thumbnail_rows: np.ndarray
    target_paths: Sequence[str]
    source_features: np.ndarray
    source_labels: np.ndarray
    target_features: np.ndarray
    selection: Mapping[str, Any] | None = None
    before: Section | None = None
    candidates: Section | None = None
    unknown_share: Mapping[str, float] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The K class names and, last, "unknown"."""
        return (*self.class_names, "unknown")

    @property
    def labelled(self) -> np.ndarray:
        """Rows (integers) of the target images whose true label is known."""
        return np.flatnonzero(self.labels >= 0) if self.labels is not None else np.arange(0)

    def check(self) -> None:
        """Raise ValueError where arrays that stand for the same images differ in length."""
        n = len(self.predictions)
        sizes = {"scores": self.scores, "confidences": self.confidences, "target_paths": self.target_paths}
        sizes |= {} if self.labels is None else {"labels": self.labels}
        sizes |= {"target_features": self.target_features} if len(self.target_features) else {}
        wrong = [f"{name} {len(values)}" for name, values in sizes.items() if len(values) != n]
        if len(self.target_images) != len(self.thumbnail_rows):
            wrong.append(f"target_images {len(self.target_images)} for {len(self.thumbnail_rows)} thumbnail_rows")
        if wrong:
            raise ValueError(f"the report of {n} target images got arrays of other lengths: {', '.join(wrong)}")


def example_groups(
    scores: np.ndarray, predictions: np.ndarray, confidences: np.ndarray, threshold: float, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return the rows worth looking at, best first in each group; a group may be empty.

    "unknown" holds rejected images alone, the highest score first; "confident" takes turns among the predicted classes,
    the frequent ones first; "errors" between wrong labels, the most confident first, and known images that were
    rejected, the highest score first.
    """
    rows, rejected = np.arange(len(scores)), scores > threshold
    groups = {
        "confident": _in_turn(rows[~rejected], predictions, -confidences),
        "unknown": rows[rejected][np.argsort(-scores[rejected], kind="stable")],
        "threshold": np.argsort(np.abs(scores - threshold), kind="stable") if math.isfinite(threshold) else rows[:0],
    }
    if labels is not None:
        wrong = (labels >= 0) & (labels != predictions)
        groups["errors"] = _in_turn(rows[wrong], rejected, np.where(rejected, -scores, -confidences))
    return {name: found[:_PER_GROUP] for name, found in groups.items()}


def _in_turn(rows: np.ndarray, group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return the rows with the groups taking turns, larger groups first, each in ascending order of `key`."""
    _, number, size = np.unique(group[rows], return_inverse=True, return_counts=True)
    order = np.lexsort((key[rows], number))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - (np.cumsum(size) - size)[number[order]]
    return rows[np.lexsort((number, -size[number], rank))]


def select_thumbnails(
    scores: np.ndarray,
    predictions: np.ndarray,
    confidences: np.ndarray,
    threshold: float,
    labels: np.ndarray | None,
    limit: int = 48,
) -> np.ndarray:
    """Return the rows of the images that the report shows, each once, at most `limit`: only these have to be loaded.

    All arrays (N,), as in `UnidaReport`. The groups of `example_groups` share the limit equally, at most 12 rows each.
    """
    groups = example_groups(scores, predictions, confidences, threshold, labels)
    each = max(1, limit // len(groups))
    chosen = np.concatenate([found[:each] for found in groups.values()])
    _, first = np.unique(chosen, return_index=True)
    return chosen[np.sort(first)][:limit].astype(np.int64)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"


def _answer(report: UnidaReport) -> Section:
    n, k = len(report.predictions), len(report.class_names)
    rejected = int((report.predictions == k).sum())
    text = (
        f"{n - rejected} of {counted(n, 'target image')} ({_percent(n - rejected, n)}) got one of {k} known labels, "
        f"{rejected} ({_percent(rejected, n)}) the label unknown. An image is rejected where its unknown-score "
        f"exceeds {report.threshold:.4g} (rule: {report.rejection})."
    )
    if report.unknown_share is not None:
        text += f"\n\n{tables.unknown_share_text(report.unknown_share)}"
    if n and rejected in (0, n):
        what = "Nothing was rejected" if rejected == 0 else "Everything was rejected"
        text += f"\n\n{what}: if you expected otherwise, look at the score distribution below and at another rule."
    counts = tables.label_counts(report.predictions, report.confidences, report.names)
    many = len(counts) > 15
    first = counts.head(15)
    first.attrs["caption"] = "How many images got which label" + (", the 15 most frequent" if many else "")
    folded = page.details(f"All {len(counts)} labels", counts) if many else ""
    shown = [
        (str(n), "target image" if n == 1 else "target images"),
        (str(n - rejected), "with a known label"),
        (str(rejected), "unknown"),
    ]
    if not len(report.labelled):
        text += "\n\nThe target has no labels, so nothing here measures how many answers are right: look at the images."
        return Section("Answer", text, tables=[first], html=folded, lead=page.cards(shown))
    shown += [
        (tables.number(name, report.metrics[name]), tables.readable(name))
        for name in _HEADLINES
        if report.metrics.get(name) is not None
    ]
    measured = tables.metrics_table(report.metrics, ci95=report.ci95)
    measured.attrs["caption"] = f"Measured on the {len(report.labelled)} labelled target images. {tables.ORACLE_NOTE}"
    return Section("Answer", text, tables=[first, measured], html=folded, lead=page.cards(shown))


def _examples(report: UnidaReport) -> Section:
    groups = example_groups(report.scores, report.predictions, report.confidences, report.threshold, report.labels)
    titles = {
        "confident": "Most confident of each predicted class",
        "unknown": "Most unknown of the rejected images",
        "threshold": "Nearest to the threshold: the answers that a slightly different threshold would change",
        "errors": "Errors: wrong labels by confidence, and known images that were rejected by score",
    }
    place = {int(row): i for i, row in enumerate(report.thumbnail_rows)}
    images = report.target_images.cpu().numpy()
    figures, listed = [], []
    for name, found in groups.items():
        rows = [int(row) for row in found if int(row) in place]
        if not rows:
            continue
        marked = [_mark(report, row) for row in rows]
        png = plots.gallery(images[[place[row] for row in rows]], [t for t, _ in marked], [c for _, c in marked])
        files = [report.target_paths[row] for row in rows]
        figures.append(Figure(png, titles[name], f"{titles[name]}: {', '.join(map(str, files))}"))
        listed += [
            (file, report.names[report.predictions[row]], report.confidences[row], report.scores[row], name)
            for file, row in zip(files, rows, strict=True)
        ]
    table = pd.DataFrame(listed, columns=["file", "label", "confidence", "unknown-score", "shown as"])
    folded = page.details("Files of these images", table) if listed else ""
    frames = (
        "Right answers have a ✓ and a green frame, wrong ones a ✗ and an orange one." if len(report.labelled) else ""
    )
    text = f"The label given, the confidence in the best known class, the unknown-score. {frames}"
    return Section("Example images", text if figures else "There are no images to show.", figures, html=folded)


def _mark(report: UnidaReport, row: int) -> tuple[str, str]:
    """Return an image's caption and the color of its frame."""
    figures = f"{100 * report.confidences[row]:.0f} %, score {report.scores[row]:.3g}"
    label = -1 if report.labels is None else report.labels[row]
    return plots.marked(report.names[report.predictions[row]], report.names[label] if label >= 0 else None, figures)


def _scores(report: UnidaReport) -> Section:
    is_unknown, scores, k = None, report.scores, len(report.class_names)
    if report.labels is not None and len(report.labelled):
        scores, is_unknown = scores[report.labelled], report.labels[report.labelled] == k
    png = plots.score_histogram(scores, is_unknown, report.threshold, report.fixed_threshold)
    text = f"Images to the right of the threshold ({report.threshold:.4g}, rule: {report.rejection}) are rejected."
    if report.fixed_threshold is not None and math.isfinite(report.fixed_threshold):
        would = int((report.scores > report.fixed_threshold).sum())
        text += f" The method's fixed threshold ({report.fixed_threshold:.4g}) would reject {counted(would, 'image')}."
    caption = "Two separate humps mean that the threshold can tell known from unknown; one hump means that it cannot."
    return Section("Score distribution", text, [Figure(png, caption, "Histogram of the unknown-scores")])


def _confusion(report: UnidaReport) -> Section:
    assert report.labels is not None
    true, given = report.labels[report.labelled], report.predictions[report.labelled]
    caption = 'Rows are the true classes; gray rows have no images. All unknown classes share the row "unknown".'
    figure = Figure(plots.confusion_matrix(true, given, report.names), caption, "Confusion matrix")
    frequent = tables.confusions_table(true, given, report.names)
    frequent.attrs["caption"] = "The most frequent mistakes"
    return Section("Confusion matrix", "", [figure], [frequent] if len(frequent) else [])


def _features(report: UnidaReport) -> Section:
    n_source, n_target, k = len(report.source_features), len(report.target_features), len(report.class_names)
    if n_source + n_target == 0:
        return Section("Features (t-SNE)", "No features were kept.")
    truth = len(report.labelled) > 0 and report.labels is not None
    target = report.labels if truth and report.labels is not None else report.predictions
    blocks = [part for part in (report.source_features, report.target_features) if len(part)]
    labels = np.concatenate([report.source_labels[:n_source], target[:n_target]]).astype(np.int64)
    is_target = np.arange(n_source + n_target) >= n_source
    groups = labels + is_target * (k + 2)
    points, rows = embedding.tsne(np.concatenate(blocks), report.seed, groups=groups)
    png = embedding.embedding(points, is_target[rows], labels[rows], report.class_names)
    what = "true labels" if truth else "predicted labels, for want of true ones"
    caption = (
        f"{len(rows)} of {n_source + n_target} images. Colors are classes (in the target: {what}), names stand at the "
        "source classes. Distances between far clusters mean nothing."
    )
    return Section("Features (t-SNE)", "", [Figure(png, caption, "t-SNE of source and target features")])


def write_unida_report(path: Path, inputs: UnidaReport) -> None:
    """Write the page of one run; ValueError where arrays that stand for the same images differ in length."""
    inputs.check()
    sections = [_answer(inputs), _examples(inputs), _scores(inputs)]
    if inputs.candidates is not None:
        sections.append(inputs.candidates)
    if len(inputs.labelled):
        sections.append(_confusion(inputs))
    sections += [_features(inputs), curves_section(inputs.history)]
    if inputs.selection is not None:
        sections.append(selection_section(inputs.selection, inputs.recipe.get("data", {}).get("source_holdout", 0.0)))
    sections += [inputs.before] if inputs.before else []
    sections += [page.problems(inputs.unreadable, inputs.notes), page.recipe(inputs.recipe)]
    k, n = len(inputs.class_names), len(inputs.predictions)
    subtitle = f"Universal domain adaptation: {counted(n, 'target image')}, {k} known classes or unknown"
    page.write(path, inputs.title, subtitle, sections)
