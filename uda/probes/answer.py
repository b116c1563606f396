"""What a model says of images: the one thing that rejection rules, validators and metrics look at."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Answer:
    """What the model says of N images: class 0 … K−1 or K for unknown, with the numbers behind it.

    features: (N, D); probabilities: (N, K); scores: (N,), higher means more unknown; above `threshold` is unknown.
    """

    features: np.ndarray
    probabilities: np.ndarray
    scores: np.ndarray
    threshold: float

    @property
    def closed(self) -> np.ndarray:
        """The best known class of every image, (N,)."""
        return self.probabilities.argmax(1)

    @property
    def predictions(self) -> np.ndarray:
        """The best known class, or K where the score exceeds the threshold, (N,)."""
        return np.where(self.scores > self.threshold, self.probabilities.shape[1], self.closed)

    @property
    def confidences(self) -> np.ndarray:
        """The probability of the best known class, (N,)."""
        return self.probabilities.max(1)

    def at(self, rows: np.ndarray) -> "Answer":
        """Return the answer about some of the images."""
        return Answer(self.features[rows], self.probabilities[rows], self.scores[rows], self.threshold)
