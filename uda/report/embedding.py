"""Features as points of a plane: a stratified sample, t-SNE, and the figure of both domains."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from uda.random import derived_seed, uniform
from uda.report.canvas import BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW, new_figure, plain, png_bytes

_CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW)


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
        text = plain(names[i], 18)
        half = min(width * (len(text) + 1) / 2, (right - left) / 2)
        x = float(np.clip(np.median(own[:, 0]), left + half, right - half))
        shifts = [high + 0.8 * height, low - 0.8 * height, middle, high + 1.8 * height, low - 1.8 * height]
        free = (y for y in shifts if all(abs(y - b) >= height or abs(x - a) >= half + c for a, b, c in placed))
        y = next(free, middle)
        placed.append((x, y, half))
        halo = [withStroke(linewidth=2.5, foreground="white")]
        ax.text(x, y, text, fontsize=9, ha="center", va="center", path_effects=halo, zorder=5)


def embedding(points: np.ndarray, is_target: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> bytes:
    """Return both domains' images as points: source as circles, target as triangles; of one domain all are circles.

    points: (M, 2); is_target: (M,) bool; labels: (M,) indices into `names` (drawn in the class's color, named in place
    up to 40 classes), len(names) = unknown (black), −1 = no label (gray).
    """
    figure = new_figure(9.2, 6.4)
    ax = figure.subplots()
    k = len(names)
    colors = np.array([_class_color(i) for i in range(k)] + [to_rgb("black"), to_rgb(GRAY)])  # −1 is the last
    handles = []
    circles = "source" if is_target.any() else "images"
    for mask, marker, size, text in ((~is_target, "o", 14, circles), (is_target, "^", 24, "target")):
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
    return png_bytes(figure)
