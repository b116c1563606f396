"""Common corruptions of images (Hendrycks and Dietterich, ICLR 2019), a batch at a time, the same on every device."""

from uda.datasets.corruptions.apply import corrupt
from uda.datasets.corruptions.presets import (
    BLUR,
    COMMON,
    DIGITAL,
    EXTRA,
    GROUPS,
    NAMES,
    NOISE,
    PRESETS,
    SEVERITIES,
    WEATHER,
)

__all__ = [
    "BLUR",
    "COMMON",
    "DIGITAL",
    "EXTRA",
    "GROUPS",
    "NAMES",
    "NOISE",
    "PRESETS",
    "SEVERITIES",
    "WEATHER",
    "corrupt",
]
