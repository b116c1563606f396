"""Printed digits as a camera would see them: glyphs of matplotlib's fonts over crops of real photographs.

Bytes should not depend on the machine, so the fonts give outlines only (no rasterizer whose pixels change with its
version), every draw is a hash, coordinates are fixed-point and colors are composited in integers.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from uda.random import uniform

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

PER_CLASS = 180
SIDE = 32  # of an image, in pixels
SEED = 20250131  # part of the data: another seed is another data set

# Files with the digits at their code points (cmex10 and cmsy10 have other signs there, cmmi10 old-style numerals) that
# every supported matplotlib ships (3.8 has no cmti10).
REGULAR = (
    *("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralItalic"),
    *("cmr10", "cmss10", "cmtt10"),
)
BOLD = (
    *("DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "STIXGeneralBol", "STIXGeneralBolIta", "cmb10"),
)
FONTS = REGULAR + BOLD

_BOX = 128  # side of a glyph's mask; the glyph stands in its middle
_HEIGHT = 96  # of every digit in its mask
_WEIGHTS_REGULAR = (1, 2, 3, 4)  # pixels of the mask by which strokes grow on each side
_WEIGHTS_BOLD = (-1, 0, 1, 2)  # less: the counters of a bold 8 are small
_SUB = 4  # samples per pixel and axis
_ONE = 1 << 16  # fixed-point unit of the warp
_LUMA = np.array([77, 150, 29], dtype=np.int32)  # of 256, ITU-R BT.601
_PERMUTATIONS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


def glyph_mask(font: Path, character: str) -> np.ndarray:
    """Return the filled outline of a character, 96 px tall in the middle of its box, (128, 128) bool.

    Filled by the non-zero winding rule, as TrueType defines it, sampled at pixel centers.
    """
    from matplotlib.font_manager import (
        FontProperties,
        get_font,
    )  # here: half a second that other data need not wait for
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextToPath

    to_path = TextToPath()
    to_path.FONT_SCALE = get_font(str(font)).units_per_EM  # the font's own grid: versions of FreeType round elsewhere
    vertices, codes = to_path.get_text_path(FontProperties(fname=str(font)), character)
    edges = _edges(Outline(vertices, codes))
    (left, bottom), (right, top) = edges.min(axis=(0, 1)), edges.max(axis=(0, 1))
    unit = (top - bottom) / _HEIGHT
    rows = (top + bottom) / 2 - (np.arange(_BOX) + 0.5 - _BOX / 2) * unit
    (x0, y0), (x1, y1) = (edges[edges[:, 0, 1] != edges[:, 1, 1]][:, end].T for end in (0, 1))
    edge, row = np.nonzero((rows >= np.minimum(y0, y1)[:, None]) & (rows < np.maximum(y0, y1)[:, None]))
    x = x0[edge] + (rows[row] - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil((x - (left + right) / 2) / unit + _BOX / 2 - 0.5).astype(np.int64), 0, _BOX)
    winding = np.zeros((_BOX, _BOX + 1), dtype=np.int64)
    np.add.at(winding, (row, column), np.sign(y1 - y0)[edge].astype(np.int64))
    return np.cumsum(winding, axis=1)[:, :_BOX] != 0


def _edges(path: "Outline") -> np.ndarray:
    """Return a path's closed contours as straight edges, (E, 2 ends, 2) in 1/64 units; eight to a curve."""
    edges: list[tuple[np.ndarray, np.ndarray]] = []
    start = last = np.zeros(2)
    for points, code in path.iter_segments(simplify=False):
        if code in (path.MOVETO, path.CLOSEPOLY):
            edges.append((last, start))
            last = start
        if code == path.CLOSEPOLY:
            continue
        control = np.rint(np.asarray(points, dtype=np.float64).reshape(-1, 2) * 64)
        if code == path.MOVETO:
            start = last = control[0]
            continue
        control = np.concatenate([last[None], control])
        steps = 8 if len(control) > 2 else 1
        for k in range(1, steps + 1):
            hull = control
            while len(hull) > 1:  # de Casteljau; exact, as t is a multiple of 1/8
                hull = hull[:-1] + (hull[1:] - hull[:-1]) * (k / steps)
            edges.append((last, hull[0]))
            last = hull[0]
    edges.append((last, start))
    found = np.array(edges)
    return found[(found[:, 0] != found[:, 1]).any(axis=1)]


def _grown(masks: np.ndarray, weight: int) -> np.ndarray:
    """Return the masks with strokes `weight` pixels wider on each side (narrower if negative), (..., H, W)."""
    grown = masks.copy() if weight >= 0 else ~masks
    for step in range(abs(weight)):
        wide = grown.copy()
        wide[..., 1:, :] |= grown[..., :-1, :]
        wide[..., :-1, :] |= grown[..., 1:, :]
        across = wide if step % 2 else grown  # a square and a cross in turn: nearly a disc
        wide[..., :, 1:] |= across[..., :, :-1].copy()
        wide[..., :, :-1] |= across[..., :, 1:].copy()
        grown = wide
    return grown if weight >= 0 else ~grown


def _all_masks(folder: Path) -> np.ndarray:
    """Return the masks of every font, digit and stroke weight, (F, 10, 4, 128, 128) bool."""
    plain = np.stack([[glyph_mask(folder / f"{font}.ttf", digit) for digit in "0123456789"] for font in FONTS])
    regular, bold = plain[: len(REGULAR)], plain[len(REGULAR) :]
    return np.concatenate(
        [
            np.stack([_grown(regular, weight) for weight in _WEIGHTS_REGULAR], axis=2),
            np.stack([_grown(bold, weight) for weight in _WEIGHTS_BOLD], axis=2),
        ]
    )


def _photographs(data: Path) -> list[np.ndarray]:
    """Return the photographs reduced by 2 and by 4 with integer block means, each (H, W, 3) int64."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    with Image.open(data / "sample_data" / "grace_hopper.jpg") as portrait:
        photos = [load_sample_image("china.jpg"), load_sample_image("flower.jpg"), np.asarray(portrait.convert("RGB"))]
    reduced = []
    for photo in photos:
        for by in (2, 4):
            h, w = photo.shape[0] // by, photo.shape[1] // by
            blocks = photo[: h * by, : w * by].astype(np.int64).reshape(h, by, w, by, 3)
            reduced.append(blocks.sum(axis=(1, 3)) // (by * by))
    return reduced


def _draws(n: int, purpose: str, draws: int) -> np.ndarray:
    """Return uniform draws in [0, 1), exact multiples of 2⁻²⁴, (draws, n) float64."""
    return uniform(SEED, 0, torch.arange(n), purpose, draws).numpy().astype(np.float64).T


def _between(draw: np.ndarray, low: int, high: int) -> np.ndarray:
    """Turn draws into integers low … high, both included, int32."""
    return low + np.floor(draw * (high - low + 1)).astype(np.int32)


def _coverage(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each pixel is ink and how much lies in the glyph's box, in sixteenths, two (N, 32, 32)."""
    n = 10 * PER_CLASS
    font, weight = (_between(d, 0, len(m) - 1) for d, m in zip(_draws(n, "glyph", 2), (FONTS, range(4)), strict=True))
    angle, shear, aspect, height, shift_x, shift_y = _draws(n, "geometry", 6)
    angle = np.deg2rad(40 * angle - 20)
    shear = 0.5 * shear - 0.25
    height = 17 + 8 * height  # of the digit, in pixels
    room = (29 - height) / 2  # up to which it may stand off the middle
    # Pixel → mask: undo the rotation, then the shear and the scales.
    scale_y = _HEIGHT / height
    scale_x = scale_y / (0.8 + 0.4 * aspect)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array(
        [[scale_x * (cos + shear * sin), scale_x * (shear * cos - sin)], [scale_y * sin, scale_y * cos]],
    )
    shift = np.stack([(2 * shift_x - 1) * room, (2 * shift_y - 1) * room])
    fixed = np.rint(matrix * (_ONE / (2 * _SUB))).astype(np.int32)
    origin = np.rint((_BOX / 2 - (matrix * shift[None]).sum(axis=1)) * _ONE).astype(np.int32)
    at = 2 * np.arange(SIDE * _SUB, dtype=np.int32) + 1 - SIDE * _SUB  # sample centers, in eighths from the middle

    ink = np.empty((n, SIDE, SIDE), dtype=np.int32)
    box = np.empty_like(ink)
    for i in range(n):
        u, v = ((fixed[k, 0, i] * at)[None, :] + (fixed[k, 1, i] * at + origin[k, i])[:, None] >> 16 for k in (0, 1))
        inside = ((u | v) & -_BOX) == 0  # both in 0 … 127, a power of two less one
        mask = masks[font[i], i // PER_CLASS, weight[i]]
        hit = mask.ravel()[(v * _BOX + u) & (_BOX * _BOX - 1)] & inside
        for out, samples in ((ink, hit), (box, inside)):
            out[i] = samples.reshape(SIDE, _SUB, SIDE, _SUB).sum(axis=(1, 3), dtype=np.int32)
    return ink, box


def _crops(photos: list[np.ndarray], n: int) -> np.ndarray:
    """Return a crop of some photograph for each image, channels in some order, (N, 3, 32, 32) int32."""
    which, down, right, order = _draws(n, "crop", 4)
    crops = np.empty((n, 3, SIDE, SIDE), dtype=np.int32)
    for i in range(n):
        photo = photos[int(which[i] * len(photos))]
        y, x = int(down[i] * (photo.shape[0] - SIDE + 1)), int(right[i] * (photo.shape[1] - SIDE + 1))
        crop = photo[y : y + SIDE, x : x + SIDE, _PERMUTATIONS[int(order[i] * 6)]]
        crops[i] = crop.transpose(2, 0, 1)
    return crops


def _tints(n: int, purpose: str, reach: int) -> np.ndarray:
    """Return color offsets of no luminance, (N, 3) int32."""
    tint = _between(_draws(n, purpose, 3).T, -reach, reach)
    return tint - (tint @ _LUMA)[:, None] // 256


def printed_digits(data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the printed domain: pixels (1800, 3, 32, 32) uint8, labels (1800,), ink (1800, 32, 32) in sixteenths.

    data: matplotlib's data folder, with its fonts and its sample photograph. Images stand in the order of classes.
    """
    n = 10 * PER_CLASS
    ink, box = _coverage(_all_masks(data / "fonts" / "ttf"))
    light, plate, spread, ground, gap, blur, noise = _draws(n, "color", 7)
    sign = np.where(light < 0.5, 1, -1).astype(np.int32)  # of ink minus ground

    # What the digit stands on is dark under light ink and light under dark ink; the photograph's own contrast is
    # limited to ±50 around it, below the least gap to the ink (85), so that no crop hides its digit.
    level = np.where(sign > 0, _between(ground, 30, 100), _between(ground, 150, 225))
    crops = _crops(_photographs(data), n)
    mean = crops.sum(axis=(2, 3), dtype=np.int32) // (SIDE * SIDE)
    detail = np.clip((crops - mean[:, :, None, None]) * _between(spread, 96, 256)[:, None, None, None] // 256, -50, 50)
    luma = mean @ _LUMA // 256
    scene = mean + (level - luma)[:, None]
    canvas = scene[:, :, None, None] + detail
    # One in three is a label: a flat plate behind the digit, the photograph as it is around it.
    label = (plate < 1 / 3)[:, None, None, None]
    color = (level[:, None] + _tints(n, "plate", 40))[:, :, None, None]
    canvas = np.where(label, (crops * (16 - box[:, None]) + color * box[:, None]) // 16, canvas)

    stroke = (level + sign * _between(gap, 85, 145))[:, None] + _tints(n, "ink", 40)
    canvas = (canvas * (16 - ink[:, None]) + stroke[:, :, None, None] * ink[:, None]) // 16
    canvas = _blurred(np.clip(canvas, 0, 255), _between(blur, 0, 64))
    reach = _between(noise, 0, 10)[:, None]
    grain = _draws(n, "grain", 3 * SIDE * SIDE).T * (2 * reach + 1)
    canvas += np.floor(grain).astype(np.int32).reshape(canvas.shape) - reach[:, :, None, None]
    labels = np.repeat(np.arange(10, dtype=np.int64), PER_CLASS)
    return np.clip(canvas, 0, 255).astype(np.uint8), labels, ink


def _blurred(images: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Blur each image along both axes with the weights (side, 256 − 2·side, side) / 256, borders repeated."""
    side = side[:, None, None, None]
    for axis in (2, 3):
        size = images.shape[axis]
        before = images.take(np.maximum(np.arange(size) - 1, 0), axis=axis)
        after = images.take(np.minimum(np.arange(size) + 1, size - 1), axis=axis)
        images = (side * (before + after) + (256 - 2 * side) * images + 128) // 256
    return images
