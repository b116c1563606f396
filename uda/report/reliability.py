"""Reliability diagrams: how often a classifier is right when it says that it is sure."""

from collections.abc import Sequence
from typing import Protocol

from uda.report.canvas import BLUE, VERMILION, bare, new_figure, png_bytes


class Bar(Protocol):
    """One bin of confidence, as `uda.metrics.ReliabilityBin`."""

    @property
    def lower(self) -> float: ...  # noqa: D102
    @property
    def upper(self) -> float: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def accuracy(self) -> float | None: ...  # noqa: D102
    @property
    def confidence(self) -> float | None: ...  # noqa: D102


def reliability_diagrams(diagrams: Sequence[tuple[str, Sequence[Bar]]]) -> bytes:
    """Return diagrams side by side: the accuracy of each bin as a bar, its confidence as a line, above how many are in.

    diagrams: title and bins of each; on a calibrated model bars end at their lines.
    """
    figure = new_figure(3.4 * len(diagrams), 3.9)
    grid = figure.subplots(2, len(diagrams), squeeze=False, sharex=True, height_ratios=[1, 3.4])
    for (title, bins), (top, ax) in zip(diagrams, grid.T, strict=True):
        total = max(1, sum(part.count for part in bins))
        for part in bins:
            center, width = (part.lower + part.upper) / 2, part.upper - part.lower
            top.bar(center, 100 * part.count / total, width=0.92 * width, color="#B9C0C7")
            if part.accuracy is None or part.confidence is None:
                continue
            ax.bar(center, 100 * part.accuracy, width=0.92 * width, color=BLUE, alpha=0.75)
            half = 0.46 * width
            ax.plot([center - half, center + half], [100 * part.confidence] * 2, color=VERMILION, linewidth=2)
        ax.plot([0, 1], [0, 100], color="#8A8F94", linewidth=1, linestyle="--", zorder=0)
        ax.set_ylim(0, 100)
        ax.set_xlim(0, 1)
        ax.set_xlabel("confidence")
        top.set_title(title, fontsize=10, loc="left")
        bare(ax)
        bare(top)
        top.tick_params(labelsize=8)
    grid[0, 0].set_ylabel("images (%)", fontsize=9)
    grid[1, 0].set_ylabel("right (%)")
    return png_bytes(figure)
