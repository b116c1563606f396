"""A picture of what the report's images have been through."""

import numpy as np

from uda.probes.robustness import Examined
from uda.report.canvas import GRAY
from uda.report.plots import gallery

_SEVERITY = 3


def corrupted_figure(data: Examined | None) -> bytes | None:
    """Return the first test image of the class in the middle as it is and under every corruption; None without any."""
    if data is None or data.corrupted is None:
        return None
    severities = list(data.corrupted.severities)
    severity = _SEVERITY if _SEVERITY in severities else severities[0]
    row = np.array([len(data.images) // 2])
    shown, captions = [data.images.batch(row)], ["as it is"]
    for name in data.corrupted.names:
        images, _ = data.corrupted.at(name, severity)
        shown.append(images.batch(np.minimum(row, len(images) - 1)))
        captions.append(f"{name.replace('_', ' ')}\nseverity {severity}")
    pixels = np.concatenate([image.cpu().numpy() for image in shown])
    return gallery(pixels, captions, [GRAY] * len(captions), columns=7)
