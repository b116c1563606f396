"""What base-class training is: which images a step draws, and a loss on their features."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from uda.datasets.sampling import Shuffled
from uda.tasks.supervised import Method as SupervisedMethod

Sampler = Callable[[int], np.ndarray]


class Method(SupervisedMethod):
    """Cross-entropy of a classifier of the base classes; subclasses say which, and what a batch is."""

    name: ClassVar[str]
    tells_by: ClassVar[str] = "cosine"
    """Of `uda.probes.episodes.CLASSIFIERS` the one that tells novel classes as this method has learned to."""

    def sampler(self, labels: np.ndarray, batch_size: int, seed: int) -> Sampler:
        """Return which rows a step draws, a pure function of it; labels: (N,), −1 where an image is not learned."""
        rows = np.flatnonzero(labels >= 0)
        drawn = Shuffled(len(rows), batch_size, seed, "base")
        return lambda step: rows[drawn(step)]
