"""The page to look at after few-shot training: how well novel classes are told by a few images each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uda.report import page, plots, tables
from uda.report.canvas import BLUE, GRAY
from uda.report.curves import curves_section
from uda.report.page import Figure, Section
from uda.report.pretrain import features_section
from uda.report.run import RunReport


@dataclass(frozen=True, kw_only=True)
class FewshotReport(RunReport):
    """Everything the page shows.

    by_classifier: by shots, by classifier: accuracy and ci95 (half width); per_class: by shots, by novel class;
    features (N, D) with labels (N,) of novel images; example: thumbnails of one episode, its support way by way, then
    `example_queries` of each way.
    """

    history: pd.DataFrame
    by_classifier: Mapping[str, Mapping[str, Mapping[str, Any]]]
    per_class: Mapping[str, Mapping[str, float]]
    ways: int
    classifier: str
    episodes: int
    features: np.ndarray
    labels: np.ndarray
    novel_names: tuple[str, ...]
    example: np.ndarray
    example_ways: Sequence[str]
    example_shots: int
    example_queries: int


def write_fewshot_report(path: Path, report: FewshotReport) -> None:
    """Write the page of one run."""
    sections = [
        _answer(report),
        _example(report),
        _per_class(report),
        features_section(report.features, report.labels, report.novel_names, report.seed),
        curves_section(report.history),
        page.problems(report.unreadable, report.notes),
        page.recipe(report.recipe),
    ]
    page.write(path, report.title, "Few-shot classification", sections)


def _answer(report: FewshotReport) -> Section:
    text = (
        f"Novel classes, none of which was learned from, told by a few labelled images each: {report.episodes} "
        f"episodes of {report.ways} classes, the same for every model. The headline is that of '{report.classifier}'; "
        "intervals are 1.96 standard errors over episodes."
    )
    cards = [(tables.number(n, v), tables.readable(n)) for n, v in report.metrics.items()]
    rows = [
        {"classifier": name}
        | {
            f"{report.ways}-way {shots}-shot": f"{100 * found[name]['accuracy']:.2f} %"
            + ("" if found[name]["ci95"] is None else f" ± {100 * found[name]['ci95']:.2f}")
            for shots, found in report.by_classifier.items()
        }
        for name in next(iter(report.by_classifier.values()))
    ]
    table = tables.metrics_table(report.metrics, ci95=report.ci95)
    return Section("Answer", text, tables=[table, pd.DataFrame(rows)], lead=page.cards(cards))


def _example(report: FewshotReport) -> Section:
    support = [f"{name}\nsupport" for name in report.example_ways for _ in range(report.example_shots)]
    queries = [f"{name}\nquery" for name in report.example_ways for _ in range(report.example_queries)]
    captions = [*support, *queries]
    colors = [BLUE if caption.endswith("support") else GRAY for caption in captions]
    drawn = plots.gallery(report.example, captions, colors, columns=report.ways * max(1, 10 // report.ways))
    return Section(
        "An episode", "", [Figure(drawn, "The first episode: its support images, and some queries", "Episode")]
    )


def _per_class(report: FewshotReport) -> Section:
    shots = list(report.per_class)
    names = sorted(report.per_class[shots[-1]], key=lambda name: -report.per_class[shots[-1]][name])
    rows = [
        {"class": name}
        | {
            f"{one}-shot": f"{100 * report.per_class[one][name]:.1f} %"
            for one in shots
            if name in report.per_class[one]
        }
        for name in names
    ]
    return Section(
        "Classes", "Mean accuracy of each novel class over the episodes it was in.", tables=[pd.DataFrame(rows)]
    )
