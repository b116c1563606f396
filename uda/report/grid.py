"""Many small images as one, pixel for pixel."""

import io

import numpy as np
from PIL import Image

_GAP = 2


def grid(images: np.ndarray, columns: int, enlarge: int = 1) -> bytes:
    """Return images (N, 3, H, W) uint8 side by side in rows as PNG, each pixel `enlarge` wide, white between them."""
    n, _, height, width = images.shape
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + _GAP), i % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    made = Image.fromarray(sheet)
    made = made.resize((made.width * enlarge, made.height * enlarge), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    made.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
