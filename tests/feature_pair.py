"""Features of two domains that take no time to adapt, and a classifier that takes none to train."""

import dataclasses
from typing import Any

import numpy as np

from uda import UniversalClassifier

NAMES = np.array(["ant", "bee", "cow", "dog", "elk", "fox"])
WIDTH = 128


@dataclasses.dataclass(frozen=True)
class Pair:
    """Features of both domains: classes 0, 1, 2 in both, 3 in the source alone, 4 and 5 in the target alone."""

    source: np.ndarray
    source_classes: np.ndarray
    target: np.ndarray
    target_classes: np.ndarray


def make_pair() -> Pair:
    """Return orthogonal clusters, the target's a little beside the source's."""
    generator = np.random.default_rng(0)
    centers = 4 * np.linalg.qr(generator.normal(size=(WIDTH, 6)))[0].T  # orthogonal: no class is like another
    shift = 0.1 * generator.normal(size=WIDTH)
    source_classes, target_classes = np.arange(120) % 4, np.array([0, 1, 2, 4, 5])[np.arange(150) % 5]
    source = centers[source_classes] + 0.1 * generator.normal(size=(120, WIDTH))
    target = centers[target_classes] + 0.1 * generator.normal(size=(150, WIDTH)) + shift
    return Pair(source, source_classes, target, target_classes)


def quick(**parameters: Any) -> UniversalClassifier:
    """Return a classifier that trains in a moment."""
    return UniversalClassifier(
        **{"steps": 10, "batch_size": 16, "lr": 0.1, "random_state": 0, "device": "cpu"} | parameters
    )
