"""What all figures share: colors told apart by everyone, labels taken literally, PNG bytes without pyplot."""

import io
import warnings

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from uda.report.page import PIXEL_RATIO

# Okabe and Ito's palette, told apart with every common color deficiency (jfly.uni-koeln.de/color, 2008).
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GRAY = "#CC79A7", "#56B4E9", "#D9C800", "#8A8F94"


def plain(text: object, limit: int = 24) -> str:
    """Return text as a label: one line, shortened in the middle, `$` taken literally, never hidden from a legend."""
    line = " ".join(str(text).encode("utf-8", "replace").decode("utf-8").split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    if len(line) > limit:
        line = f"{line[: limit // 2]}…{line[len(line) - (limit - limit // 2 - 1) :]}"
    # matplotlib reads `$...$` as mathematics and leaves labels that start with `_` out of legends.
    return (" " if line.startswith("_") else "") + line.replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches at the page's resolution, laid out so that nothing overlaps."""
    figure = Figure(figsize=(width, height), dpi=96 * PIXEL_RATIO)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    return figure


def png_bytes(figure: Figure, palette: bool = False) -> bytes:
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


def bare(ax: Axes) -> None:
    """Leave out the frame's top and right, and write small ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
