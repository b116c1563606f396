"""The section "Before training": what could be known of the data before the first step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from uda.report import canvas, page, plots
from uda.report.page import Figure, Section

KINDS = {"across": "across the domains", "source": "within the source", "target": "within the target"}
"""Where near-duplicates are looked for, by their names in `metrics.json`."""


def preflight_section(found: Mapping[str, Any], lines: tuple[str, ...], shown: Mapping[str, Tensor]) -> Section:
    """Return the section.

    found: `preflight` of `metrics.json`; lines: the same in words; shown: for each of `KINDS` the thumbnails of its
    first pairs, (2P, 3, h, w) uint8, the two images of a pair one after the other.
    """
    figures, listed = [], []
    for kind, where in KINDS.items():
        pairs = found["near_duplicates"][kind]["nearest"]
        listed += [(*pair["paths"], pair["similarity"], where) for pair in pairs]
        images = shown[kind].cpu().numpy()
        if len(images):
            figures.append(_pairs(images, pairs, where))
    counts = pd.DataFrame(list(found["source_images"].items()), columns=["class", "source images"])
    folded = page.details("Source images of each class", counts)
    if listed:
        table = pd.DataFrame(listed, columns=["file", "and file", "similarity", "where"])
        folded += page.details("Files of the nearest pairs", table)
    return Section("Before training", "\n\n".join(lines), figures, html=folded)


def _pairs(images: np.ndarray, pairs: list[dict[str, Any]], where: str) -> Figure:
    captions, colors = [], []
    for number in range(len(images) // 2):
        names = [path.replace("\\", "/").rsplit("/", 1)[-1] for path in pairs[number]["paths"]]
        captions += [f"{name}\n{pairs[number]['similarity']:.2f}" for name in names]
        colors += 2 * [canvas.BLUE if number % 2 else canvas.ORANGE]
    title = f"The nearest near-duplicates {where}, pair by pair"
    return Figure(plots.gallery(images, captions, colors), title, title)
