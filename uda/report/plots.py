"""Figures of the report: pure functions of arrays that return PNG bytes."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from uda.report.canvas import BLUE, GRAY, GREEN, ORANGE, SKY, VERMILION, bare, new_figure, plain, png_bytes
from uda.report.tables import METRICS, readable

RIGHT, WRONG = GREEN, VERMILION


def marked(given: str, truth: str | None, figures: str) -> tuple[str, str]:
    """Return an answer's caption and the color of its frame: right, wrong, or gray where the truth is not known."""
    if truth is None:
        return f"{given}\n{figures}", GRAY
    return (f"✓ {given}\n{figures}", RIGHT) if truth == given else (f"✗ {given}\nis {truth}\n{figures}", WRONG)


_SKIPPED = {"step", "epoch", "images", "time", "seconds", "total", "total_steps", "wall", "turn"}
_MOST_PANELS = 30
_MOST_NAMES = 66  # on an axis: the 65 classes of Office-Home, and "unknown"


def score_histogram(
    scores: np.ndarray, is_unknown: np.ndarray | None, threshold: float, fixed_threshold: float | None = None
) -> bytes:
    """Return the distribution of unknown-scores with the threshold(s) above which an image is rejected.

    scores: (N,); is_unknown: (N,) bool, or None where the target has no labels. With labels each group is drawn as a
    share of itself, so that a small one can be seen. Values and thresholds that are not finite are not drawn.
    """
    figure = new_figure(8, 3.6)
    ax = figure.subplots()
    finite = np.isfinite(scores)
    lines = [
        (value, style, text)
        for value, style, text in ((threshold, "-", "threshold"), (fixed_threshold, ":", "fixed threshold"))
        if value is not None and math.isfinite(value)
    ]
    ends = np.concatenate([scores[finite], [value for value, _, _ in lines]]).astype(np.float64)
    low, high = (ends.min(), ends.max()) if len(ends) else (0.0, 1.0)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, int(np.clip(np.sqrt(finite.sum()) * 2, 10, 60)) + 1)
    if is_unknown is None:
        groups = [(finite, BLUE, "all images")]
    else:
        groups = [(finite & ~is_unknown, BLUE, "known classes"), (finite & is_unknown, ORANGE, "unknown classes")]
    for mask, color, label in groups:
        n = int(mask.sum())
        if n == 0:
            continue
        heights = np.histogram(scores[mask], edges)[0] * (1.0 if is_unknown is None else 100 / n)
        ax.stairs(heights, edges, fill=True, alpha=0.35, color=color)
        ax.stairs(heights, edges, linewidth=1.6, color=color, label=f"{label} ({n})")
    for value, style, text in lines:
        ax.axvline(value, color="black", linestyle=style, linewidth=1.6, label=f"{text} {value:.4g}")
    ax.set_xlabel("unknown-score (higher means more unknown)")
    ax.set_ylabel("images" if is_unknown is None else "share of the group (%)")
    ax.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    bare(ax)
    if ax.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return png_bytes(figure)


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, names: Sequence[str]) -> bytes:
    """Return the confusion matrix; color is the share of the true class, numbers are counts (up to 15 classes).

    y_true, y_pred: (N,) indices into `names`. Above 66 names those that neither occur nor are predicted are left
    out, and if still more remain only every n-th name is written.
    """
    shown = np.arange(len(names))
    if len(names) > _MOST_NAMES:
        shown = np.union1d(y_true, y_pred).astype(np.int64)
    n = len(shown)
    counts = np.zeros((n, n), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(shown, y_true), np.searchsorted(shown, y_pred)), 1)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
    cell = float(np.clip(7.0 / max(n, 1), 0.142, 0.52))
    side = min(n, _MOST_NAMES) * cell
    figure = new_figure(max(side, 1.8) + 2.6, max(side, 1.2) + 1.6)
    ax = figure.subplots()
    ax.set_facecolor("#ECEEF0")
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    every = math.ceil(n / _MOST_NAMES)
    size = 9 if n <= 20 else 8 if n <= 40 else 7
    ticks = np.arange((n - 1) % every, n, every)  # with the last, which is "unknown"
    written = [plain(names[i]) for i in shown[ticks]]
    ax.set_xticks(ticks, written, rotation=90, fontsize=size)
    ax.set_yticks(ticks, written, fontsize=size)
    ax.tick_params(length=0)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    if n <= _MOST_NAMES:
        ax.grid(which="minor", color="white", linewidth=0.6)
    ax.tick_params(which="minor", length=0)
    if n <= 15:
        for i, j in zip(*np.nonzero(counts), strict=True):
            ink = "white" if share[i, j] > 0.55 else "black"
            ax.text(j, i, str(counts[i, j]), ha="center", va="center", color=ink, fontsize=9)
    bar = figure.colorbar(image, ax=ax, shrink=0.6, fraction=0.04, pad=0.02)
    bar.set_label("share of the true class", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return png_bytes(figure)


def gallery(images: np.ndarray, captions: Sequence[str], colors: Sequence[str], columns: int = 6) -> bytes:
    """Return images (n, 3, H, W) uint8 in a grid, each with a colored frame and a caption of a few lines below it."""
    n = len(images)
    if not n == len(captions) == len(colors):
        raise ValueError(f"{n} images, {len(captions)} captions and {len(colors)} colors")
    columns = max(1, min(columns, n))
    rows = max(1, math.ceil(n / columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    side, cell, height = 1.46, 1.62, 1.46 + 0.17 * lines + 0.26  # inches; the image, its column, its row
    figure = new_figure(cell * columns, height * rows)
    figure.set_layout_engine("none")
    for i, (image, caption, color) in enumerate(zip(images, captions, colors, strict=True)):
        left, top = (
            (cell * (i % columns) + 0.08) / (cell * columns),
            1 - (height * (i // columns) + 0.08) / (height * rows),
        )
        high = side / (height * rows)
        ax = figure.add_axes((left, top - high, side / (cell * columns), high))
        ax.imshow(np.moveaxis(image, 0, -1), interpolation="antialiased")
        ax.set_anchor("S")  # an image that is not square stays next to its caption
        ax.spines[:].set(color=color, linewidth=3)
        ax.set_xticks([])
        ax.set_yticks([])
        text = "\n".join(plain(line, 21) for line in caption.split("\n"))
        ax.set_xlabel(text, fontsize=8.5, linespacing=1.25, labelpad=5)
    return png_bytes(figure, palette=True)


def curves(history: pd.DataFrame) -> bytes | None:
    """Return every numeric column of a run's history against its step, in small multiples; None if there is none.

    Columns measured at every step are drawn faint with a running mean over 1/30 of the run; sparse ones (evaluations)
    as marked points. Missing and infinite values are left out. At most 30 columns are drawn.
    """
    table = history.select_dtypes("number").replace([np.inf, -np.inf], np.nan)
    x = table["step"] if "step" in table else pd.Series(np.arange(len(table)), index=table.index, dtype=float)
    names = [c for c in table.columns if str(c) not in _SKIPPED and table[c].notna().any()][:_MOST_PANELS]
    if not names:
        return None
    span = np.array([x.min(), x.max()])  # the same for all panels, however seldom a column was measured
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(3.35 * columns if columns > 1 else 5.5, 2.15 * rows + 0.2)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, name in zip(axes, names, strict=False):
        keep = table[name].notna() & x.notna()
        values, steps = table[name][keep].astype(float), x[keep]
        if len(values) <= 40 or len(values) < 0.5 * len(table):
            ax.plot(steps, values, color=BLUE, linewidth=1.4, marker="o", markersize=3)
        else:
            ax.plot(steps, values, color=BLUE, linewidth=0.7, alpha=0.3)
            smooth = values.rolling(max(3, len(values) // 30), center=True, min_periods=1).mean()
            ax.plot(steps, smooth, color=BLUE, linewidth=1.8)
        title = readable(str(name)) if name in METRICS else str(name)
        ax.set_title(plain(title, 36), fontsize=10, loc="left")
        bare(ax)
        ax.tick_params(labelsize=8)
        ax.locator_params(nbins=5)
        if np.ptp(span) > 0:
            ax.set_xlim(span[0] - 0.02 * np.ptp(span), span[1] + 0.02 * np.ptp(span))
        ax.grid(axis="y", color="#E3E6E9", linewidth=0.7)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel("step" if "step" in table else "row of the history", fontsize=9)
    return png_bytes(figure)


def bars_with_ci(
    labels: Sequence[str],
    means: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
    xlabel: str,
    points: Sequence[Sequence[float | None]] | None = None,
    scale: float = 1.0,
) -> bytes:
    """Return one horizontal bar an arm with its 95 % interval, and the single seeds as dots.

    A mean of None draws no bar. points: for each arm its values of single seeds; scale: what all values are times.
    """
    figure = new_figure(8, 0.5 * max(1, len(labels)) + 0.9)
    ax = figure.subplots()
    for i, (mean, interval) in enumerate(zip(means, intervals, strict=True)):
        if mean is None or not math.isfinite(mean):
            ax.text(0, i, " no value", va="center", color=GRAY, fontsize=9)
        else:
            ax.barh(i, scale * mean, height=0.6, color=SKY, alpha=0.5, edgecolor="none")
            if interval is not None:
                low, high = (scale * end for end in interval)
                ax.errorbar((low + high) / 2, i, xerr=(high - low) / 2, color="black", capsize=4, linewidth=1.6)
        seeds = [scale * v for v in (points[i] if points else ()) if v is not None and math.isfinite(v)]
        ax.plot(seeds, np.full(len(seeds), i + 0.18), ".", color=BLUE, markersize=6)
    ax.set_yticks(range(len(labels)), [plain(label, 40) for label in labels], fontsize=9)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", color="#E3E6E9", linewidth=0.7)
    ax.set_axisbelow(True)
    bare(ax)
    return png_bytes(figure)
