"""What generated images are measured by: the same figures whatever made them."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.tasks.gan.small import colored, means
from uda.metrics import frechet_distance, kid_interval, precision_recall
from uda.probes.extractor import Extractor
from uda.probes.generation import Yardstick, fitted_and_tested

CPU = torch.device("cpu")
EXTRACTOR = Extractor("means", "means", nn.Identity(), means)
LABELS = np.arange(40) % 2


def yardstick(labels: np.ndarray, n_classes: int) -> Yardstick:
    real = EXTRACTOR.features(colored(LABELS, 0).batch(np.arange(40)), CPU)
    return Yardstick(EXTRACTOR, real, labels, n_classes, CPU)


def test_figures_are_those_of_the_features() -> None:
    measured = yardstick(LABELS, 2).measure(colored(LABELS, 1).batch(np.arange(40)))
    real, fake = (EXTRACTOR.features(colored(LABELS, seed).batch(np.arange(40)), CPU) for seed in (0, 1))
    distance = kid_interval(real, fake)
    assert distance is not None
    assert measured.metrics["kid"] == distance.mean
    assert distance.ci95 is not None
    assert measured.ci95 == {"kid": list(distance.ci95)}
    assert measured.metrics["fid"] == frechet_distance(real, fake)
    assert (measured.metrics["precision"], measured.metrics["recall"]) == precision_recall(real, fake)


def test_labels_are_those_of_a_classifier_of_real_images() -> None:
    found = yardstick(LABELS, 2)
    assert found.classifier_accuracy == 1.0
    asked = np.array([0, 0, 0, 1, 1, 0, 1, 1])
    wrong = asked.copy()
    wrong[:2] = 1
    measured = found.measure(colored(asked, 2).batch(np.arange(8)), wrong)
    assert measured.labels is not None
    assert measured.confidences is not None
    assert measured.labels.tolist() == asked.tolist()
    assert measured.metrics["asked_accuracy"] == pytest.approx(6 / 8)
    assert measured.metrics["effective_classes"] == pytest.approx(2)
    assert measured.metrics["confidence"] == pytest.approx(float(measured.confidences.mean()))
    assert measured.confidences.min() > 0.5


@pytest.mark.parametrize("labels", [np.full(40, -1), np.zeros(40, dtype=np.int64)])
def test_without_two_classes_there_is_no_classifier(labels: np.ndarray) -> None:
    found = yardstick(labels, 1)
    assert found.classifier is None
    measured = found.measure(colored(LABELS, 1).batch(np.arange(40)))
    assert measured.labels is None
    assert measured.metrics["confidence"] is None
    assert measured.metrics["kid"] is not None


def test_a_probe_is_tested_on_images_that_it_was_not_fitted_on() -> None:
    # Noise of 150 dimensions: the 160 images that it is fitted on can be told apart, the 40 others cannot
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(200, 150, generator=generator), torch.arange(200) % 2
    probe, accuracy = fitted_and_tested(features, labels, 2)
    assert accuracy is not None
    assert 0.2 < accuracy < 0.8  # chance, of 40 images
    assert (probe.predict(features) == labels).float().mean() > 0.85
    assert fitted_and_tested(features[:2], labels[:2], 2)[1] is None  # nothing to hold out
