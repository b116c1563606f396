"""The page to look at after probing: what the features are worth, drawn as a map, and where a ViT looks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uda.report import page, tables
from uda.report.page import Figure, Section
from uda.report.pretrain import features_section
from uda.report.run import RunReport


@dataclass(frozen=True, kw_only=True)
class ProbeReport(RunReport):
    """Everything the page shows.

    features: (N, D) of the test images, with labels (N,); attention: a PNG, None where the backbone is no ViT.
    """

    features: np.ndarray
    labels: np.ndarray
    attention: bytes | None


def write_probe_report(path: Path, report: ProbeReport) -> None:
    """Write the page of one run."""
    shown = ("linear_accuracy", "knn_accuracy", "svm_accuracy", "linear_accuracy_10", "linear_accuracy_1")
    cards = [(tables.number(n, report.metrics[n]), tables.readable(n)) for n in shown if n in report.metrics]
    table = tables.metrics_table(report.metrics, ci95=report.ci95)
    sections = [
        Section("Answer", "On test images that no probe has learned from.", tables=[table], lead=page.cards(cards)),
        features_section(report.features, report.labels, report.class_names, report.seed),
    ]
    if report.attention is not None:
        caption = "Each row: the image, the mean over heads, and each head of the last block's class token"
        sections.append(Section("Attention", "", [Figure(report.attention, caption, "Attention maps")]))
    sections += [page.problems(report.unreadable, report.notes), page.recipe(report.recipe)]
    page.write(path, report.title, "Probing", sections)
