"""The page to look at after training a GAN: what it paints, what is between, and what its discriminator knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from uda.report import page, tables
from uda.report.canvas import BLUE, GREEN, ORANGE, PURPLE, VERMILION, bare, new_figure, plain, png_bytes
from uda.report.curves import curves_section
from uda.report.grid import grid
from uda.report.page import Figure, Section
from uda.report.run import RunReport
from uda.wording import counted

_ENLARGE = 3
_COLUMNS = 10


@dataclass(frozen=True, kw_only=True)
class GanReport(RunReport):
    """Everything the page shows.

    samples, real, strips: (N, 3, S, S) uint8, in rows of ten; n_real, n_fake, extractor: what the figures are of;
    classifier_accuracy: of a classifier of real images on others of these; labels, confidences: (n_fake,) what it took
    the generated ones for, None without classes.
    """

    history: pd.DataFrame
    samples: np.ndarray
    real: np.ndarray
    strips: np.ndarray
    n_real: int
    n_fake: int
    extractor: str
    classifier_accuracy: float | None
    labels: np.ndarray | None
    confidences: np.ndarray | None


def write_gan_report(path: Path, report: GanReport) -> None:
    """Write the page of one run."""
    sections = [_answer(report), samples_section([("Generated", report.samples), ("Real", report.real)], _COLUMNS)]
    png = grid(report.strips, _COLUMNS, _ENLARGE)
    caption = "Each row goes from one latent vector to another along the great circle"
    sections.append(Section("Between two images", "", [Figure(png, caption, "Interpolated images")]))
    if report.labels is not None and report.confidences is not None:
        sections.append(_labels(report, report.labels, report.confidences))
    sections += [forgetting_section([("this run", report.history)]), curves_section(report.history)]
    sections += [page.problems(report.unreadable, report.notes), page.recipe(report.recipe)]
    page.write(path, report.title, "Generated images", sections)


def _answer(report: GanReport) -> Section:
    text = (
        f"Measured on {counted(report.n_real, 'real image')} and {report.n_fake} generated ones, by the features of "
        f"{report.extractor}. Figures of other counts or another extractor cannot be compared with these."
    )
    shown = ("kid", "fid", "precision", "recall", "probe_accuracy")
    cards = [(tables.number(name, report.metrics.get(name)), tables.readable(name)) for name in shown]
    table = tables.metrics_table(report.metrics, ci95=report.ci95)
    return Section("Answer", text, tables=[table], lead=page.cards(cards))


def samples_section(parts: Sequence[tuple[str, np.ndarray]], columns: int) -> Section:
    """Return grids of images (N, 3, S, S) uint8, each under its name."""
    text = "Generated images are of the same latent vectors at every look, and in every arm of a comparison."
    figures = [Figure(grid(images, columns, _ENLARGE), name, f"{name}: images") for name, images in parts]
    return Section("Samples", text, figures)


def _labels(report: GanReport, labels: np.ndarray, confidences: np.ndarray) -> Section:
    accuracy = tables.number("accuracy", report.classifier_accuracy)
    text = (
        "What a linear classifier takes the generated images for: it was fitted on the extractor's features of four "
        f"fifths of the real ones, and names {accuracy} of the rest right."
    )
    counts = tables.label_counts(labels, confidences, report.class_names)
    return Section("Labels", text, tables=[counts])


def forgetting_section(runs: Sequence[tuple[str, pd.DataFrame]]) -> Section:
    """Return the curve of the probe on the discriminator's features for each run's history."""
    title = "What the discriminator knows"
    curves = []
    for name, history in runs:
        if {"step", "probe_accuracy"} <= set(history.columns):
            measured = history[["step", "probe_accuracy"]].dropna()
            if len(measured):
                curves.append((name, measured["step"].to_numpy(), measured["probe_accuracy"].to_numpy()))
    if not curves:
        return Section(title, "The images have no classes that a probe of its features could tell apart.")
    text = (
        "A linear probe of the discriminator's pooled features, fitted anew at each look on real images and tested on "
        "others. A curve that falls is forgetting: as the generator moves on, what the discriminator once told apart "
        "goes (Chen et al., CVPR 2019, section 3)."
    )
    return Section(title, text, [Figure(_probe_curves(curves), "Accuracy of the probe against the step", title)])


def _probe_curves(curves: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> bytes:
    figure = new_figure(8, 3.4)
    ax = figure.subplots()
    colors = (BLUE, ORANGE, GREEN, VERMILION, PURPLE)
    for number, (name, steps, accuracies) in enumerate(curves):
        color = colors[number % len(colors)]
        ax.plot(steps, 100 * accuracies, color=color, marker="o", markersize=4, linewidth=1.6, label=plain(name, 40))
    ax.set_xlabel("step")
    ax.set_ylabel("probe accuracy (%)")
    ax.grid(axis="y", color="#E3E6E9", linewidth=0.7)
    bare(ax)
    if len(curves) > 1:
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return png_bytes(figure)
