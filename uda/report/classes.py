"""Figures of accuracy class by class, the most frequent class first: as curves, and as a shape around a circle."""

from collections.abc import Sequence

import numpy as np

from uda.report.canvas import BLUE, GREEN, ORANGE, VERMILION, bare, new_figure, plain, png_bytes

Arms = Sequence[tuple[str, np.ndarray]]
"""Titles with the accuracy on each class, (C,), NaN where there is none."""

_COLORS = (BLUE, ORANGE, GREEN, VERMILION)
_MOST_NAMED = 30  # classes whose names are written


def by_frequency(counts: np.ndarray) -> np.ndarray:
    """Return the classes (C,) by their number of training images (C,), the most frequent first."""
    return np.argsort(-counts, kind="stable")


def class_curves(names: Sequence[str], counts: np.ndarray, arms: Arms) -> bytes:
    """Return the accuracy on each class as a curve an arm, above the class's training images as bars (logarithmic)."""
    order, place = by_frequency(counts), np.arange(len(counts))
    figure = new_figure(8, 4.4)
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
    for (title, accuracies), color in zip(arms, _COLORS, strict=False):
        marker = "o" if len(counts) <= _MOST_NAMED else ""
        ax.plot(place, 100 * accuracies[order], color=color, marker=marker, markersize=4, label=plain(title, 40))
    ax.set_ylim(-2, 102)
    ax.set_ylabel("right (%)")
    ax.grid(axis="y", color="#E3E6E9", linewidth=0.7)
    below.bar(place, counts[order], width=0.8, color="#B9C0C7")
    below.set_yscale("log")
    below.set_ylim(bottom=0.8)
    below.set_ylabel("images")
    if len(counts) <= _MOST_NAMED:
        below.set_xticks(place, [plain(names[i], 16) for i in order], rotation=45, ha="right", fontsize=8)
    else:
        below.set_xlabel("classes, the most frequent first")
    bare(ax)
    bare(below)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return png_bytes(figure)


def class_shapes(names: Sequence[str], counts: np.ndarray, arms: Arms) -> bytes:
    """Return a disk an arm: a class is a direction, its accuracy the way from the center, its mean a dashed circle.

    Clockwise from above, the most frequent class first; each arm has a class with an accuracy. A space that is balanced
    fills its circle; one that is not has a dent where classes are rare. Classes that were not tested are hatched.
    """
    order, n = by_frequency(counts), len(counts)
    angles = 2 * np.pi * np.arange(n) / n
    figure = new_figure(4.4 * len(arms), 5)
    # The layout does not see how far a disk's names reach.
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08, rect=(0, 0.04, 1, 0.92))
    axes = figure.subplots(1, len(arms), squeeze=False, subplot_kw={"projection": "polar"})[0]
    for ax, (title, accuracies), color in zip(axes, arms, _COLORS, strict=False):
        values = np.nan_to_num(100 * accuracies[order])
        ax.set_theta_zero_location("N")
        ax.set_theta_direction(-1)
        ax.bar(angles, values, width=2 * np.pi / n, color=color, alpha=0.45, edgecolor="white", linewidth=0.6)
        untested = np.isnan(accuracies[order])
        ax.bar(angles[untested], 100, width=2 * np.pi / n, color="none", edgecolor="#B9C0C7", hatch="////", linewidth=0)
        around = np.linspace(0, 2 * np.pi, 200)
        ax.plot(around, np.full(200, 100 * np.nanmean(accuracies)), color="black", linestyle="--")
        ax.set_ylim(0, 100)
        ax.set_yticks([50], ["50 %"], fontsize=8)
        shown = order if n <= _MOST_NAMED else order[:0]
        ax.set_xticks(angles[: len(shown)], [f"{plain(names[i], 12)}\n{counts[i]}" for i in shown], fontsize=8)
        ax.set_title(plain(title, 40), fontsize=10, y=1.14)
    return png_bytes(figure)
