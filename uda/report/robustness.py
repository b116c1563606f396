"""The page to look at after a robustness report: clean, corrupted, attacked and other images, and calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uda.report import page, plots, tables
from uda.report.canvas import BLUE, GREEN, ORANGE, PURPLE, VERMILION, bare, new_figure, png_bytes
from uda.report.heatmap import heat_map
from uda.report.page import Figure, Section
from uda.report.reliability import Bar, reliability_diagrams
from uda.report.run import RunReport

_LINES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE)


@dataclass(frozen=True, kw_only=True)
class RobustnessPage(RunReport):
    """Everything the page shows, as the tables of `robustness.csv`.

    corruptions: corruption, severity, accuracy, ece, ece_scaled; attacks: attack, norm, eps (gray levels), accuracy;
    others: set, distance, score and the figures of `ood_metrics`; reliability: title and bins of each diagram; text:
    what was looked at; sample: a picture of corrupted and attacked images, None without.
    """

    corruptions: pd.DataFrame
    attacks: pd.DataFrame
    others: pd.DataFrame
    reliability: Sequence[tuple[str, Sequence[Bar]]]
    temperature: float | None
    text: Mapping[str, str]
    history: pd.DataFrame | None = None
    sample: bytes | None = None


def write_robustness_report(path: Path, report: RobustnessPage) -> None:
    """Write the page of one report."""
    sections = [_answer(report)]
    if len(report.corruptions):
        sections.append(_corruptions(report))
    if len(report.attacks):
        sections.append(_attacks(report))
    if len(report.others):
        sections.append(_others(report))
    sections.append(_calibration(report))
    drawn = None if report.history is None else plots.curves(report.history)
    if drawn is not None:
        sections.append(
            Section("Training curves", "", [Figure(drawn, "Losses and figures of the test images", "Curves")])
        )
    sections += [page.problems(report.unreadable, report.notes), page.recipe(report.recipe)]
    page.write(path, report.title, "Robustness and uncertainty", sections)


def _answer(report: RobustnessPage) -> Section:
    named = ("accuracy", "corruption_accuracy", "mce", "ece", "ece_scaled")
    shown = [name for name in named if report.metrics.get(name) is not None]  # without a baseline there is no mCE
    shown += [name for name in report.metrics if name.endswith("_accuracy") and name not in shown][:1]
    cards = [(tables.number(n, report.metrics[n]), tables.readable(n)) for n in shown]
    table = tables.metrics_table(report.metrics, ci95=report.ci95)
    return Section("Answer", report.text.get("answer", ""), tables=[table], lead=page.cards(cards))


def _corruptions(report: RobustnessPage) -> Section:
    figures = []
    if report.sample is not None:
        figures.append(Figure(report.sample, "The same image under every corruption", "Corrupted images"))
    table = report.corruptions
    names, severities = list(dict.fromkeys(table["corruption"])), sorted(set(table["severity"]))
    for column, label, ends in (("accuracy", "right (%)", (0.0, 1.0)), ("ece", "calibration error (%)", None)):
        grid = table.pivot(index="corruption", columns="severity", values=column).reindex(index=names)
        grid = pd.concat([grid, grid.mean(axis=1).rename("mean")], axis=1)
        values = grid.to_numpy(dtype=np.float64)
        top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
        columns = [*(f"severity {severity}" for severity in severities), "mean"]
        caption = f"{label.removesuffix(' (%)').capitalize()} by corruption and severity, in per cent"
        drawn = heat_map(values, names, columns, label, ends or (0.0, max(top, 1e-3)))
        figures.append(Figure(drawn, caption, caption))
    return Section("Corruptions", report.text.get("corruptions", ""), figures)


def _attacks(report: RobustnessPage) -> Section:
    figure = new_figure(6.4, 3.6)
    ax = figure.subplots()
    kinds = report.attacks[report.attacks["eps"] > 0].groupby(["attack", "norm"], sort=False)
    clean = report.attacks.loc[report.attacks["eps"] == 0, "accuracy"]
    for ((name, norm), part), color in zip(kinds, _LINES * 4, strict=False):
        ordered = part.sort_values("eps")
        eps = [*([0.0] if len(clean) else []), *ordered["eps"]]
        accuracy = [*clean[:1], *ordered["accuracy"]]
        ax.plot(eps, 100 * np.asarray(accuracy), marker="o", markersize=4, color=color, label=f"{name}, {norm}")
    ax.set_xlabel("eps (gray levels of 255)")
    ax.set_ylabel("right (%)")
    ax.set_ylim(-2, 102)
    radii = sorted({0.0, *report.attacks["eps"]})
    ax.set_xscale("symlog", linthresh=radii[1])
    ax.set_xticks(radii, [f"{eps:g}" for eps in radii])
    ax.set_xticks([], minor=True)
    ax.set_xlim(-0.05 * radii[1], 1.08 * radii[-1])
    ax.grid(axis="y", color="#E3E6E9", linewidth=0.7)
    bare(ax)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    caption = "Accuracy under attack by its radius; radii in different norms do not compare"
    return Section(
        "Attacks",
        report.text.get("attacks", ""),
        [Figure(png_bytes(figure), caption, caption)],
        [_shown(report.attacks)],
    )


def _others(report: RobustnessPage) -> Section:
    return Section("Images of no known class", report.text.get("others", ""), tables=[_shown(report.others)])


def _calibration(report: RobustnessPage) -> Section:
    said = "It could not be fitted." if report.temperature is None else f"Temperature: {report.temperature:.3g}."
    caption = "Accuracy (bars) and confidence (lines) of each bin of confidence; above, the share of images in it"
    figure = Figure(reliability_diagrams(report.reliability), caption, "Reliability diagrams")
    return Section("Calibration", " ".join([report.text.get("calibration", ""), said]).strip(), [figure])


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its shares in per cent and its intervals as text."""
    found = table.copy()
    for column in found.columns:
        if found[column].dtype == np.float64 and column not in ("eps", "severity"):
            found[column] = [page.MISSING if pd.isna(v) else f"{100 * v:.1f} %" for v in found[column]]
    return found.rename(columns=lambda name: str(name).replace("_", " "))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows for JSON, with None where there is no figure."""
    rows = table.to_dict("records")
    return [{str(key): None if pd.isna(value) else value for key, value in row.items()} for row in rows]
