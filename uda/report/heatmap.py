"""Corruption × severity as a picture."""

from collections.abc import Sequence

import numpy as np

from uda.report.canvas import new_figure, plain, png_bytes


def heat_map(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], label: str, ends: tuple[float, float]
) -> bytes:
    """Return a grid of figures in per cent, (R, C) shares, NaN where there is none; ends: of the color's range.

    Every cell is written out, so that the color only helps to find one; dark is low.
    """
    figure = new_figure(1.0 * len(columns) + 2.6, 0.3 * len(rows) + 1.0)
    ax = figure.subplots()
    ax.set_facecolor("#ECEEF0")
    low, high = ends
    image = ax.imshow(
        100 * values, cmap="viridis", vmin=100 * low, vmax=100 * high, aspect="auto", interpolation="nearest"
    )
    ax.set_xticks(range(len(columns)), [plain(name) for name in columns], fontsize=9)
    ax.set_yticks(range(len(rows)), [plain(name.replace("_", " "), 30) for name in rows], fontsize=9)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = "white" if value < low + 0.55 * (high - low) else "black"
            ax.text(j, i, f"{100 * value:.1f}", ha="center", va="center", fontsize=8.5, color=ink)
    bar = figure.colorbar(image, ax=ax, shrink=0.7, fraction=0.05, pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return png_bytes(figure)
