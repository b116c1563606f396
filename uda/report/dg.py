"""The page to look at after domain generalization: what the model says of a domain that it has never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uda.report import embedding, page, plots, tables
from uda.report.curves import curves_section
from uda.report.page import Figure, Section
from uda.report.pairs import cited, shown, sources_table
from uda.report.published import Published
from uda.report.run import RunReport

_PER_GROUP = 12


@dataclass(frozen=True, kw_only=True)
class DgReport(RunReport):
    """Everything the page shows; N images of the unseen domain, K classes.

    predictions: (N,) in 0 … K−1, with confidences (N,); labels: (N,), −1 unlabelled; images: thumbnails
    (M, 3, h, w) uint8 of the rows (M,) that `select_examples` has chosen; features: (N, D) of the unseen domain and
    source_features (S, D) with source_labels (S,), for t-SNE; selection: rule, step and number of evaluations;
    target_used: whether images of the unseen domain were learned from; pair: data set and unseen domain as published
    figures name them, and those figures with how they differ from this run.
    """

    history: pd.DataFrame
    predictions: np.ndarray
    confidences: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    rows: np.ndarray
    features: np.ndarray
    source_features: np.ndarray
    source_labels: np.ndarray
    selection: Mapping[str, Any]
    target_used: bool
    pair: tuple[str, str] = ("", "")
    published: Sequence[tuple[Published, str]] = ()


def select_examples(predictions: np.ndarray, confidences: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return rows worth looking at: the most confident answers of each class in turn, and the most confident errors.

    All (N,); labels: −1 where unknown. At most 12 rows a group.
    """
    order = np.argsort(-confidences, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)  # the how-many-eth of its predicted class
    for number in np.unique(predictions):
        of_class = order[predictions[order] == number]
        rank[of_class] = np.arange(len(of_class))
    in_turn = order[np.argsort(rank[order], kind="stable")]
    wrong = order[(labels[order] >= 0) & (labels[order] != predictions[order])]
    return {"confident": in_turn[:_PER_GROUP], "errors": wrong[:_PER_GROUP]}


def write_dg_report(path: Path, report: DgReport) -> None:
    """Write the page of one run."""
    sections = [_answer(report)]
    if report.published:
        sections.append(_published(report))
    sections.append(_examples(report))
    if (report.labels >= 0).any():
        sections.append(_confusion(report))
    sections += [_features(report), curves_section(report.history)]
    sections += [page.problems(report.unreadable, report.notes), page.recipe(report.recipe)]
    page.write(path, report.title, "Domain generalization", sections)


def _answer(report: DgReport) -> Section:
    n = len(report.predictions)
    text = f"{n} images of a domain that was held out were named. "
    if report.target_used:
        text += (
            "Its images, without labels, were learned from (adapt=true): this is adaptation, and does not compare with "
            "domain generalization. "
        )
    rule, step = report.selection["rule"], report.selection["step"]
    text += f"The answer is that of step {step} (rule: {rule}), of {report.selection['evaluations']} evaluations."
    if not (report.labels >= 0).any():
        text += "\n\nThe held-out images have no labels, so nothing here measures how many answers are right."
    shown = [
        (tables.number(name, report.metrics[name]), tables.readable(name))
        for name in ("accuracy", "per_class_accuracy", "source_accuracy")
        if report.metrics.get(name) is not None
    ]
    measured = tables.metrics_table(report.metrics, ci95=report.ci95)
    return Section("Answer", text, tables=[measured], lead=page.cards(shown))


def _published(report: DgReport) -> Section:
    ours = {"method": "this run", "backbone": str(report.recipe["encoder"]["backbone"])}
    rows = [ours | {"accuracy": shown("accuracy", report.metrics["accuracy"])}]
    for entry, _ in report.published:
        figure = shown("accuracy", entry.figure(report.pair, "accuracy"))
        rows.append({"method": cited(entry), "backbone": entry.backbone, "accuracy": figure})
    beside = pd.DataFrame(rows)
    beside.attrs["caption"] = f"Accuracy on {report.pair[1]} in per cent, published figures below ours"
    return Section("Published figures", "", tables=[beside, sources_table(report.published)])


def _examples(report: DgReport) -> Section:
    titles = {"confident": "Most confident answers of each class", "errors": "Most confident errors"}
    place = {int(row): i for i, row in enumerate(report.rows)}
    figures = []
    for name, found in select_examples(report.predictions, report.confidences, report.labels).items():
        rows = [int(row) for row in found if int(row) in place]
        if rows:
            marked = [_mark(report, row) for row in rows]
            images = report.images[[place[row] for row in rows]]
            png = plots.gallery(images, [text for text, _ in marked], [color for _, color in marked])
            figures.append(Figure(png, titles[name], titles[name]))
    text = "The label given and the confidence in it; right answers have a green frame, wrong ones an orange one."
    return Section("Example images", text if figures else "There are no images to show.", figures)


def _mark(report: DgReport, row: int) -> tuple[str, str]:
    """Return an image's caption and the color of its frame."""
    names, label = report.class_names, report.labels[row]
    truth = names[label] if label >= 0 else None
    return plots.marked(names[report.predictions[row]], truth, f"{100 * report.confidences[row]:.0f} %")


def _confusion(report: DgReport) -> Section:
    known = report.labels >= 0
    true, given = report.labels[known], report.predictions[known]
    figure = Figure(
        plots.confusion_matrix(true, given, report.class_names), "Rows are the true classes.", "Confusion matrix"
    )
    frequent = tables.confusions_table(true, given, report.class_names)
    frequent.attrs["caption"] = "The most frequent mistakes"
    return Section("Confusion matrix", "", [figure], [frequent] if len(frequent) else [])


def _features(report: DgReport) -> Section:
    n_source = len(report.source_features)
    target = np.where(report.labels >= 0, report.labels, report.predictions)
    labels = np.concatenate([report.source_labels, target]).astype(np.int64)
    unseen = np.arange(len(labels)) >= n_source
    groups = labels + unseen * (len(report.class_names) + 1)
    points, rows = embedding.tsne(np.concatenate([report.source_features, report.features]), report.seed, groups=groups)
    png = embedding.embedding(points, unseen[rows], labels[rows], report.class_names)
    caption = f"{len(rows)} of {len(labels)} images; target: the held-out domain. Far distances mean nothing."
    return Section("Features (t-SNE)", "", [Figure(png, caption, "t-SNE of source and held-out features")])
