"""A picture of what the report's images have been through."""

import numpy as np

from uda.probes.robustness import Examined
from uda.report.canvas import GRAY
from uda.report.plots import gallery

_SEVERITY = 3


def corrupted_figure(data: Examined | None) -> bytes | None:
    """Return a test image as it is and under every corruption; None where there is none, or not of the same images."""
    if data is None or data.corrupted is None or not data.corrupted.paired:
        return None
    severities = list(data.corrupted.severities)
    severity = _SEVERITY if _SEVERITY in severities else severities[0]
    row = np.array([len(data.images) // 2])
    shown, captions = [data.images.batch(row)], ["as it is"]
    for name in data.corrupted.names:
        images, _ = data.corrupted.at(name, severity)
        shown.append(images.batch(row))
        captions.append(f"{name.replace('_', ' ')}\nseverity {severity}")
    pixels = np.concatenate([image.cpu().numpy() for image in shown])
    return gallery(pixels, captions, [GRAY] * len(captions), columns=7)
