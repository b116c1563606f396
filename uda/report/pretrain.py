"""The page to look at after pre-training: what objectives saw, how features formed, what they tell apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from uda.report import canvas, embedding, page, plots, tables
from uda.report.curves import curves_section
from uda.report.page import Figure, Section
from uda.report.run import RunReport
from uda.wording import counted


@dataclass(frozen=True, kw_only=True)
class PretrainReport(RunReport):
    """Everything the page shows.

    features: (N, D) and labels: (N,), −1 unlabelled, for t-SNE; views: for each objective the first views it sees,
    (M, 3, S, S) in [0, 1]; warnings: signs of collapse.
    """

    history: pd.DataFrame
    features: np.ndarray
    labels: np.ndarray
    views: Sequence[tuple[str, Tensor]]
    warnings: Sequence[str]


def write_pretrain_report(path: Path, report: PretrainReport) -> None:
    """Write the page of one run."""
    features = features_section(report.features, report.labels, report.class_names, report.seed)
    sections = [_answer(report), _views(report), features, curves_section(report.history)]
    sections += [page.problems(report.unreadable, report.notes), page.recipe(report.recipe)]
    page.write(path, report.title, "Pre-training", sections)


def _answer(report: PretrainReport) -> Section:
    values = [(tables.number(name, value), tables.readable(name)) for name, value in report.metrics.items()]
    text = "\n\n".join(f"Warning: {warning}." for warning in report.warnings) or "No sign of collapse."
    table = tables.metrics_table(report.metrics, ci95=report.ci95)
    return Section("Answer", text, tables=[table], lead=page.cards(values))


def _views(report: PretrainReport) -> Section:
    figures = []
    for name, views in report.views:
        if views.ndim != 4 or views.shape[1] != 3:
            continue
        pixels = (views.clamp(0, 1) * 255).round().byte().numpy()
        png = plots.gallery(pixels, [""] * len(pixels), [canvas.GRAY] * len(pixels), columns=8)
        figures.append(Figure(png, f"{name}: what the encoder is shown at the first step", f"Views of {name}"))
    return Section("Views", "" if figures else "No objective looked at images.", figures)


def features_section(features: np.ndarray, labels: np.ndarray, names: tuple[str, ...], seed: int) -> Section:
    """Return the map of features (N, D), colored by labels (N,), −1 unlabelled."""
    if len(features) == 0:
        return Section("Features (t-SNE)", "No features were kept.")
    points, rows = embedding.tsne(features, seed, groups=labels)
    png = embedding.embedding(points, np.zeros(len(rows), dtype=bool), labels[rows], names)
    caption = f"{counted(len(rows), 'image')} in the evaluation view; colors are classes. Far distances mean nothing."
    return Section("Features (t-SNE)", "", [Figure(png, caption, "t-SNE of the features")])
