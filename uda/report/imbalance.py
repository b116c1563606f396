"""The page to look at after learning from a long tail: how each class fares, and the shape of the feature space."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from uda.report import page, tables
from uda.report.classes import Arms, by_frequency, class_curves, class_shapes
from uda.report.curves import curves_section
from uda.report.page import Figure, Section
from uda.report.pretrain import features_section
from uda.report.run import RunReport


@dataclass(frozen=True, kw_only=True)
class ImbalanceReport(RunReport):
    """Everything the page shows.

    counts: (C,) training images of each class; accuracies, probe_accuracies: (C,) on each class, of the classifier and
    of linear probes on the features, NaN where there is none; features: (N, D) of the test images, labels: (N,).
    """

    history: pd.DataFrame
    counts: np.ndarray
    accuracies: np.ndarray
    probe_accuracies: np.ndarray
    features: np.ndarray
    labels: np.ndarray


def write_imbalance_report(path: Path, report: ImbalanceReport) -> None:
    """Write the page of one run."""
    names, counts = report.class_names, report.counts
    arms = [("classifier", report.accuracies), ("probe on the features", report.probe_accuracies)]
    sections = [
        _answer(report),
        classes_section(names, counts, arms, _table(names, counts, arms)),
        space_section(names, counts, [("features", report.probe_accuracies)]),
        features_section(report.features, report.labels, names, report.seed),
        curves_section(report.history),
        page.problems(report.unreadable, report.notes),
        page.recipe(report.recipe),
    ]
    page.write(path, report.title, "Long-tailed data", sections)


def _answer(report: ImbalanceReport) -> Section:
    most, fewest = int(report.counts.max()), int(report.counts.min())
    text = (
        f"Learned from {report.counts.sum()} images of {len(report.counts)} classes, {most} of the most frequent and "
        f"{fewest} of the rarest; tested on {len(report.labels)} others. Classes count alike within many (over 100 "
        "training images), medium (20 to 100) and few (below 20); a group without a class has a dash."
    )
    shown = ("accuracy", "many_accuracy", "medium_accuracy", "few_accuracy", "balancedness")
    cards = [(tables.number(name, report.metrics.get(name)), tables.readable(name)) for name in shown]
    table = tables.metrics_table(report.metrics, ci95=report.ci95)
    return Section("Answer", text, tables=[table], lead=page.cards(cards))


def classes_section(names: Sequence[str], counts: np.ndarray, arms: Arms, table: pd.DataFrame | None = None) -> Section:
    """Return the accuracy on each class against how many images there were to learn it from."""
    png = class_curves(names, counts, arms)
    caption = "Share of each class's test images named right (above), and its training images (below, logarithmic)"
    html = "" if table is None else page.details("Every class as numbers", table)
    return Section("Classes", "", [Figure(png, caption, "Accuracy class by class")], html=html)


def space_section(names: Sequence[str], counts: np.ndarray, arms: Arms) -> Section:
    """Return the picture of balanced or unbalanced feature spaces."""
    title = "Feature space"
    if any(np.isnan(accuracies).all() for _, accuracies in arms):
        return Section(title, "A class has too few test images to measure the features with.")
    text = (
        "How well features tell each class apart, whatever the trained classifier makes of them: the accuracy of "
        "linear probes, each fitted on four fifths of the test images (as many of each class) and asked about the "
        "rest. A balanced space fills the dashed circle, its mean accuracy; an unbalanced "
        "one is dented where classes were rare in training (Kang et al., ICLR 2021)."
    )
    caption = "Clockwise from above, the most frequent class first; numbers are training images"
    return Section(title, text, [Figure(class_shapes(names, counts, arms), caption, "Accuracy around a circle")])


def _table(names: Sequence[str], counts: np.ndarray, arms: Arms) -> pd.DataFrame:
    order = by_frequency(counts)
    columns: dict[str, list[object]] = {
        "class": [names[i] for i in order],
        "training images": [int(counts[i]) for i in order],
    }
    for title, accuracies in arms:
        columns[title] = [tables.number("accuracy", float(accuracies[i])) for i in order]
    return pd.DataFrame(columns)
