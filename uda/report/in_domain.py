"""The page of the in-domain study: every start's figures side by side, their features as maps, and where they look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uda.report import cam, embedding, page, plots, tables
from uda.report.page import Figure, Section
from uda.report.run import RunReport
from uda.wording import counted

_KINDS = ("accuracy", "auroc", "ece")
_ASKED = (("linear_{}", "all labels"), ("linear_{}_10", "10 %"), ("linear_{}_1", "1 %"), ("knn_{}", "kNN"))
_TITLES = {"accuracy": "Accuracy", "auroc": "Macro AUROC", "ece": "Calibration error"}
_MAPS = 4  # starts beside each other


@dataclass(frozen=True)
class StartShown:
    """What is drawn of one start.

    features: (N, D) of the test images with labels (N,); maps: (n, h, w), how strong the features are at each place of
    the images shown, None where the backbone has no map.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    maps: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class InDomainReport(RunReport):
    """Everything the page shows.

    starts, differences: as in `metrics.json`; leaked: test images whose group is learned from; images: (n, 3, s, s)
    uint8, with their classes, whose maps are shown.
    """

    starts: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]
    ci95_kind: str
    shown: Sequence[StartShown]
    images: tuple[np.ndarray, Sequence[str]]
    leaked: int = 0


def write_in_domain_report(path: Path, report: InDomainReport) -> None:
    """Write the page."""
    sections = [_answer(report), _differences(report), *_features(report), _maps(report)]
    sections += [page.problems(report.unreadable, report.notes), page.recipe(report.recipe)]
    page.write(path, report.title, "In-domain pre-training", sections)


def figures_table(starts: Sequence[Mapping[str, Any]], kind: str) -> pd.DataFrame:
    """Return a row for each start, a column for each way to ask, of one kind of figure with its interval."""
    rows = []
    for start in starts:
        row = {"start": start["start"]}
        for pattern, title in _ASKED:
            name = pattern.format(kind)
            value = tables.number(name, start["metrics"].get(name))
            interval = tables.interval_text(name, start["ci95"].get(name))
            row[title] = value if interval == page.MISSING else f"{value} ({interval})"
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame.attrs["caption"] = _TITLES[kind]
    return frame


def _answer(report: InDomainReport) -> Section:
    names = [str(start["start"]) for start in report.starts]
    headline = "linear_auroc_10"
    bars = plots.bars_with_ci(
        names,
        [start["metrics"].get(headline) for start in report.starts],
        [tables.bounds(start["ci95"].get(headline)) for start in report.starts],
        "Macro AUROC, 10 % of the labels (%)",
        [start["per_seed"].get(headline, ()) for start in report.starts],
        100.0,
    )
    caption = f"A linear classifier on a tenth of the labels, each start with its 95 % interval ({report.ci95_kind})"
    seen = f"; of {report.leaked} of them others of their group were seen" if report.leaked else ""
    text = f"On images that neither pre-training nor a probe has seen{seen}. Intervals: {report.ci95_kind}."
    return Section("Answer", text, [Figure(bars, caption, caption)], [figures_table(report.starts, k) for k in _KINDS])


def _differences(report: InDomainReport) -> Section:
    rows = []
    for found in report.differences:
        for name in ("linear_auroc", "linear_auroc_10", "linear_auroc_1", "linear_accuracy_10"):
            if name in found["metrics"]:
                cells = tables.difference_row(name, found["metrics"][name])
                rows.append(
                    {"start": found["start"], "against": found["against"], "figure": tables.readable(name)} | cells
                )
    text = "Paired by seeds; one seed gives no interval." if rows else "Nothing was pre-trained."
    return Section("Does pre-training here help?", text, tables=[pd.DataFrame(rows)] if rows else [])


def _features(report: InDomainReport) -> list[Section]:
    figures = []
    for start in report.shown:
        points, rows = embedding.tsne(start.features, report.seed, groups=start.labels)
        png = embedding.embedding(points, np.zeros(len(rows), dtype=bool), start.labels[rows], report.class_names)
        figures.append(Figure(png, f"{start.name}: {counted(len(rows), 'test image')}", f"t-SNE, {start.name}"))
    return [Section("Features (t-SNE)", "Far distances mean nothing.", figures)]


def _maps(report: InDomainReport) -> Section:
    images, classes = report.images
    columns = [(start.name, start.maps) for start in report.shown if start.maps is not None]
    if not columns or not len(images):
        return Section("Feature maps", "The backbone gives no map of places.")
    figures = []
    for first in range(0, len(columns), _MAPS):
        part = columns[first : first + _MAPS]
        # The least value of a map is its ground: what stands out is drawn.
        shown = [(name, maps - maps.min(axis=(1, 2), keepdims=True)) for name, maps in part]
        png = cam.activation_figure(images, shown, [[name, *([""] * len(part))] for name in classes])
        caption = "Test images of each class, and how strong the features of each start are at each place"
        figures.append(Figure(png, caption, "Feature maps"))
    return Section("Feature maps", "", figures)
