"""Figures of the report: pure functions of arrays that return PNG bytes, without pyplot and its global state."""

import io
import math
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from uda.random import derived_seed, uniform
from uda.report.page import PIXEL_RATIO
from uda.report.tables import METRICS, readable

# Okabe and Ito's palette, told apart with every common color deficiency (jfly.uni-koeln.de/color, 2008).
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GRAY = "#CC79A7", "#56B4E9", "#D9C800", "#8A8F94"
RIGHT, WRONG = GREEN, VERMILION
_CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW)
_SKIPPED = {"step", "epoch", "images", "time", "seconds", "total", "total_steps", "wall", "turn"}
_MOST_PANELS = 30
_MOST_NAMES = 66  # on an axis: the 65 classes of Office-Home, and "unknown"


def _plain(text: object, limit: int = 24) -> str:
    """Return text as a label: one line, shortened in the middle, `$` taken literally, never hidden from a legend."""
    line = " ".join(str(text).encode("utf-8", "replace").decode("utf-8").split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    if len(line) > limit:
        line = f"{line[: limit // 2]}…{line[len(line) - (limit - limit // 2 - 1) :]}"
    # matplotlib reads `$...$` as mathematics and leaves labels that start with `_` out of legends.
    return (" " if line.startswith("_") else "") + line.replace("$", r"\$")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=96 * PIXEL_RATIO)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    return figure


def _png(figure: Figure, palette: bool = False) -> bytes:
    """Return the figure as PNG; with a palette of 256 colors photographs take half the room."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A class name in a script the font lacks shows as boxes here; the tables of the page have it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    if not palette:
        return buffer.getvalue()
    smaller = io.BytesIO()
    image = Image.open(buffer).convert("RGB")
    found = np.array(image.quantize(255).getpalette()).reshape(-1, 3)
    found[found.min(axis=1) >= 245] = 255  # the page stays white
    colors = Image.new("P", (1, 1))
    colors.putpalette([*found[:255].ravel().tolist(), 255, 255, 255])
    image.quantize(palette=colors, dither=Image.Dither.FLOYDSTEINBERG).save(smaller, format="png", optimize=True)
    return smaller.getvalue()


def _bare(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)


def score_histogram(
    scores: np.ndarray, is_unknown: np.ndarray | None, threshold: float, fixed_threshold: float | None = None
) -> bytes:
    """Return the distribution of unknown-scores with the threshold(s) above which an image is rejected.

    scores: (N,); is_unknown: (N,) bool, or None where the target has no labels. With labels each group is drawn as a
    share of itself, so that a small one can be seen. Values and thresholds that are not finite are not drawn.
    """
    figure = _figure(8, 3.6)
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
    _bare(ax)
    if ax.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return _png(figure)


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
    figure = _figure(max(side, 1.8) + 2.6, max(side, 1.2) + 1.6)
    ax = figure.subplots()
    ax.set_facecolor("#ECEEF0")
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    every = math.ceil(n / _MOST_NAMES)
    size = 9 if n <= 20 else 8 if n <= 40 else 7
    ticks = np.arange((n - 1) % every, n, every)  # with the last, which is "unknown"
    written = [_plain(names[i]) for i in shown[ticks]]
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
    return _png(figure)


def stratified_rows(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return at most `count` rows, in ascending order, that hold about the same share of every group.

    groups: (N,) ints. Which rows of a group depends on (seed, row) alone; each group keeps one if there is room.
    """
    total = len(groups)
    if total <= count:
        return np.arange(total)
    draw = uniform(seed, 0, torch.arange(total), "report", 1)[:, 0].numpy()
    order = np.lexsort((draw, groups))
    _, start, size = np.unique(groups[order], return_index=True, return_counts=True)
    rank = np.arange(total) - np.repeat(start, size)
    key = rank / np.repeat(size, size)
    return np.sort(order[np.lexsort((draw[order], key))[:count]])


def tsne(
    features: np.ndarray, seed: int, max_points: int = 1500, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return t-SNE points (M, 2) of features (N, D) and the rows (M,) they belong to, M ≤ `max_points`.

    Above `max_points` the rows are a sample stratified by `groups` (N,). Rows that are not finite are left out. Equal
    arguments give equal points on one machine: one thread, since sums over threads depend on their order.
    """
    usable = np.flatnonzero(np.isfinite(features).all(axis=1))
    strata = np.zeros(len(usable), dtype=np.int64) if groups is None else np.asarray(groups)[usable]
    rows = usable[stratified_rows(strata, max_points, seed)]
    x = np.asarray(features, dtype=np.float64)[rows]
    n = len(x)
    if n < 5 or np.ptp(x, axis=0).max(initial=0.0) < 1e-12:
        # Too few points, or all of them equal: neighbors mean nothing, and t-SNE divides by their spread.
        x = x - x.mean(axis=0) if n else x
        return np.pad(x, ((0, 0), (0, 2)))[:, :2], rows
    with threadpool_limits(limits=1):
        k = min(50, n, x.shape[1])
        x = PCA(k, svd_solver="full" if k == min(x.shape) else "randomized", random_state=0).fit_transform(x)
        x = x if x.shape[1] > 1 else np.pad(x, ((0, 0), (0, 1)))
        state = derived_seed(seed, 0, "tsne") % 2**32
        points = TSNE(init="pca", perplexity=min(30.0, (n - 1) / 3.01), random_state=state).fit_transform(x)
    return points, rows


def _class_color(i: int) -> tuple[float, float, float]:
    """Return a color for class i: seven hues, then the same darker, then lighter; from 21 on they repeat."""
    red, green, blue = to_rgb(_CYCLE[i % 7])
    level = i // 7 % 3
    if level == 1:
        return 0.55 * red, 0.55 * green, 0.55 * blue
    mix = 0.45 if level == 2 else 0.0
    return red + mix * (1 - red), green + mix * (1 - green), blue + mix * (1 - blue)


def _name_clusters(ax: Axes, points: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """Write each class's name above its points, or else where it hits no other name: below, on them, further away."""
    left, right = points[:, 0].min(), points[:, 0].max()
    height = max(np.ptp(points[:, 1]), 1e-9) / 30
    width = max(right - left, 1e-9) / 110
    placed: list[tuple[float, float, float]] = []
    for i in np.unique(labels[labels >= 0]):
        own = points[labels == i]
        low, middle, high = np.quantile(own[:, 1], [0.05, 0.5, 0.95])
        text = _plain(names[i], 18)
        half = min(width * (len(text) + 1) / 2, (right - left) / 2)
        x = float(np.clip(np.median(own[:, 0]), left + half, right - half))
        shifts = [high + 0.8 * height, low - 0.8 * height, middle, high + 1.8 * height, low - 1.8 * height]
        free = (y for y in shifts if all(abs(y - b) >= height or abs(x - a) >= half + c for a, b, c in placed))
        y = next(free, middle)
        placed.append((x, y, half))
        halo = [withStroke(linewidth=2.5, foreground="white")]
        ax.text(x, y, text, fontsize=9, ha="center", va="center", path_effects=halo, zorder=5)


def embedding(points: np.ndarray, is_target: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> bytes:
    """Return both domains' images as points: source as circles, target as triangles.

    points: (M, 2); is_target: (M,) bool; labels: (M,) indices into `names` (drawn in the class's color, named in place
    up to 40 classes), len(names) = unknown (black), −1 = no label (gray).
    """
    figure = _figure(9.2, 6.4)
    ax = figure.subplots()
    k = len(names)
    colors = np.array([_class_color(i) for i in range(k)] + [to_rgb("black"), to_rgb(GRAY)])  # −1 is the last
    handles = []
    for mask, marker, size, text in ((~is_target, "o", 14, "source"), (is_target, "^", 24, "target")):
        if not mask.any():
            continue
        face, width, alpha = colors[labels[mask]], (0.4 if marker == "^" else 0), (0.85 if marker == "^" else 0.45)
        x, y = points[mask].T
        ax.scatter(x, y, c=face, marker=marker, s=size, alpha=alpha, linewidths=width, edgecolors="white")
        handles.append(Line2D([], [], marker=marker, color=GRAY, linestyle="", label=f"{text} ({mask.sum()})"))
    for value, color, text in ((k, "black", "target, unknown"), (-1, GRAY, "no label")):
        if (labels == value).any():
            handles.append(Line2D([], [], marker="s", color=color, linestyle="", label=text))
    if 0 < k <= 40 and len(points):
        source = ~is_target & (labels >= 0) & (labels < k)
        anchor = source if source.any() else (labels >= 0) & (labels < k)
        _name_clusters(ax, points, np.where(anchor, labels, -1), names)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color("#C8CDD2")
    ax.margins(0.05)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return _png(figure)


def gallery(images: np.ndarray, captions: Sequence[str], colors: Sequence[str], columns: int = 6) -> bytes:
    """Return images (n, 3, H, W) uint8 in a grid, each with a colored frame and a caption of a few lines below it."""
    n = len(images)
    if not n == len(captions) == len(colors):
        raise ValueError(f"{n} images, {len(captions)} captions and {len(colors)} colors")
    columns = max(1, min(columns, n))
    rows = max(1, math.ceil(n / columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    side, cell, height = 1.46, 1.62, 1.46 + 0.17 * lines + 0.26  # inches; the image, its column, its row
    figure = _figure(cell * columns, height * rows)
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
        text = "\n".join(_plain(line, 21) for line in caption.split("\n"))
        ax.set_xlabel(text, fontsize=8.5, linespacing=1.25, labelpad=5)
    return _png(figure, palette=True)


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
    figure = _figure(3.35 * columns if columns > 1 else 5.5, 2.15 * rows + 0.2)
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
        ax.set_title(_plain(title, 36), fontsize=10, loc="left")
        _bare(ax)
        ax.tick_params(labelsize=8)
        ax.locator_params(nbins=5)
        if np.ptp(span) > 0:
            ax.set_xlim(span[0] - 0.02 * np.ptp(span), span[1] + 0.02 * np.ptp(span))
        ax.grid(axis="y", color="#E3E6E9", linewidth=0.7)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel("step" if "step" in table else "row of the history", fontsize=9)
    return _png(figure)


def bars_with_ci(
    labels: Sequence[str],
    means: Sequence[float | None],
    half_widths: Sequence[float | None],
    xlabel: str,
    points: Sequence[Sequence[float | None]] | None = None,
) -> bytes:
    """Return one horizontal bar an arm with its 95 % interval, and the single seeds as dots.

    A mean of None draws no bar, a half-width of None no interval. points: for each arm its values of single seeds.
    """
    figure = _figure(8, 0.5 * max(1, len(labels)) + 0.9)
    ax = figure.subplots()
    for i, (mean, half) in enumerate(zip(means, half_widths, strict=True)):
        if mean is None or not math.isfinite(mean):
            ax.text(0, i, " no value", va="center", color=GRAY, fontsize=9)
        else:
            ax.barh(i, mean, height=0.6, color=SKY, alpha=0.5, edgecolor="none")
            if half is not None and math.isfinite(half):
                ax.errorbar(mean, i, xerr=half, color="black", capsize=4, linewidth=1.6)
        seeds = [v for v in (points[i] if points else ()) if v is not None and math.isfinite(v)]
        ax.plot(seeds, np.full(len(seeds), i + 0.18), ".", color=BLUE, markersize=6)
    ax.set_yticks(range(len(labels)), [_plain(label, 40) for label in labels], fontsize=9)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", color="#E3E6E9", linewidth=0.7)
    ax.set_axisbelow(True)
    _bare(ax)
    return _png(figure)
