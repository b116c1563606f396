"""What generated images are measured by: real images' features, and a classifier fitted on these."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uda.metrics import effective_classes, frechet_distance, kid_interval, precision_recall
from uda.probes.extractor import Extractor
from uda.probes.linear import LinearProbe, fit_linear, held_out_rows

REGULARIZATION = 1e-2
"""Of the linear classifiers: the same for all, so that a curve of them is one of the features."""


@dataclass(frozen=True)
class Measured:
    """Figures of generated images and, where the real ones have classes, what each was taken for.

    metrics: figures by name, None where undefined; ci95: intervals of those that have one; labels: (M,) and
    confidences: (M,), None without classes.
    """

    metrics: dict[str, float | None]
    ci95: dict[str, list[float]]
    labels: np.ndarray | None = None
    confidences: np.ndarray | None = None


@dataclass(frozen=True)
class Yardstick:
    """Features of real images (N, D) and their labels (N,), −1 unlabelled; the same for all seeds and arms.

    classifier: a linear one on these features where there are two classes or more, and its accuracy on a fifth of the
    images, which it was not fitted on.
    """

    extractor: Extractor
    real: np.ndarray
    labels: np.ndarray
    n_classes: int
    device: torch.device
    classifier: LinearProbe | None = field(init=False, default=None)
    classifier_accuracy: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        rows = np.flatnonzero(self.labels >= 0)
        if len(np.unique(self.labels[rows])) < 2:
            return
        features, labels = torch.from_numpy(self.real[rows]), torch.from_numpy(self.labels[rows])
        classifier, accuracy = fitted_and_tested(features, labels, self.n_classes)
        object.__setattr__(self, "classifier", classifier)
        object.__setattr__(self, "classifier_accuracy", accuracy)

    def measure(self, images: Tensor, asked: np.ndarray | None = None) -> Measured:
        """Return the figures of generated images (M, 3, S, S) uint8; asked: (M,) the classes they were asked to be."""
        fake = self.extractor.features(images, self.device)
        distance = kid_interval(self.real, fake)
        precision, recall = precision_recall(self.real, fake)
        metrics: dict[str, float | None] = {
            "kid": None if distance is None else distance.mean,
            "fid": frechet_distance(self.real, fake),
            "precision": precision,
            "recall": recall,
            "confidence": None,
            "effective_classes": None,
            "asked_accuracy": None,
        }
        ci95 = {} if distance is None or distance.ci95 is None else {"kid": list(distance.ci95)}
        if self.classifier is None:
            return Measured(metrics, ci95)
        confidences, labels = (part.numpy() for part in self.classifier.probabilities(torch.from_numpy(fake)).max(1))
        metrics["confidence"] = float(confidences.mean())
        metrics["effective_classes"] = effective_classes(labels, self.n_classes)
        if asked is not None:
            metrics["asked_accuracy"] = float((labels == asked).mean())
        return Measured(metrics, ci95, labels, confidences)


def fitted_and_tested(features: Tensor, labels: Tensor, n_classes: int) -> tuple[LinearProbe, float | None]:
    """Return a linear classifier of four fifths of each class, and its accuracy on the rest, None where there is none.

    features: (N, D), labels: (N,).
    """
    held = held_out_rows(labels, 0)
    kept = torch.ones(len(labels), dtype=torch.bool).index_fill_(0, held, False)
    probe = fit_linear(features[kept], labels[kept], n_classes, REGULARIZATION)
    return probe, probe_accuracy(probe, features[held], labels[held]) if len(held) else None


def probe_accuracy(probe: LinearProbe, features: Tensor, labels: Tensor) -> float:
    """Return the share of features (N, D) whose label (N,) the probe names."""
    return float((probe.predict(features).cpu() == labels).float().mean())
