"""What is asked of features that were computed once: each probe turns them into figures with their intervals."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uda.metrics import (
    BootstrapInterval,
    accuracy_interval,
    alignment,
    bootstrap_ci,
    expected_calibration_error,
    macro_auroc,
    uniformity,
)
from uda.probes.collapse import collapse_figures
from uda.probes.episodes import evaluate_episodes, sample_episodes
from uda.probes.knn import knn
from uda.probes.linear import fit_linear
from uda.probes.low_label import labelled_rows, parse_labels
from uda.probes.svm import fit_svm
from uda.tasks.pretrain.task import RESAMPLES

SHARES = ("1%", "10%")
"""Of the labels, where few are learned from."""
_PAIRS = 1000
"""Images whose pairwise distances are averaged."""


@dataclass(frozen=True)
class Split:
    """Features (N, D) float32 on the CPU with labels (N,) int64, all labelled; twin: a second view of the same.

    groups: (N,) int64, of images that belong together; None: each stands for itself.
    """

    features: Tensor
    labels: np.ndarray
    twin: Tensor
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class Probed:
    """What probes work on: features to learn from and to test on, the number of classes, and their constants.

    k, temperature: of the nearest neighbors; episodes: their number; seed: of folds, subsets and episodes; auroc: the
    macro AUROC and the calibration error of the answers' probabilities are asked for as well.
    """

    train: Split
    test: Split
    n_classes: int
    k: int
    temperature: float
    episodes: int
    seed: int
    auroc: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval (low, high); None where undefined.

    right: of an accuracy which test images were answered right, (N,) bool, to be paired with another model's.
    """

    value: float | None
    ci95: list[float] | None = None
    right: np.ndarray | None = field(default=None, compare=False)


Figures = dict[str, Figure]


def nearest_neighbors(probed: Probed) -> Figures:
    """Weighted nearest neighbors (Wu et al., CVPR 2018)."""
    train, test = probed.train, probed.test
    voted = knn(test.features, train.features, train.labels, probed.n_classes, probed.k, probed.temperature)
    return _answered("knn_accuracy", voted.predictions, voted.probabilities, probed)


def linear(probed: Probed) -> Figures:
    """Logistic regression on all labels."""
    train, tested = probed.train, probed.test.features
    probe = fit_linear(train.features, train.labels, probed.n_classes, seed=probed.seed, groups=train.groups)
    return _answered("linear_accuracy", probe.predict(tested), probe.probabilities(tested), probed)


def svm(probed: Probed) -> Figures:
    """A linear support vector machine on all labels."""
    train = probed.train
    machine = fit_svm(train.features, train.labels, probed.n_classes, seed=probed.seed, groups=train.groups)
    answers = machine.predict(probed.test.features)
    return {"svm_accuracy": accuracy_figure(answers, probed.test.labels, probed.test.groups)}


def few_labels(probed: Probed) -> Figures:
    """Logistic regression on class-balanced 1 % and 10 % of the labels."""
    found: Figures = {}
    train, tested = probed.train, probed.test.features
    for share in SHARES:
        rows = labelled_rows(train.labels, parse_labels(share), probed.seed, train.groups)
        features, labels = train.features[torch.from_numpy(rows)], train.labels[rows]
        groups = None if train.groups is None else train.groups[rows]
        probe = fit_linear(features, labels, probed.n_classes, seed=probed.seed, groups=groups)
        name = f"linear_accuracy_{share[:-1]}"
        found |= _answered(name, probe.predict(tested), probe.probabilities(tested), probed)
    return found


def few_shot(probed: Probed) -> Figures:
    """5-way episodes of the test images by cosine prototypes; undefined where classes or images are too few.

    Features are centered on the mean of the training images, which few-shot classification by cosine wants (Wang et
    al., "SimpleShot", 2019, section 3.1). One image of each group takes part: a copy of a query among the shots would
    give it away.
    """
    test = probed.test
    rows = np.arange(len(test.labels)) if test.groups is None else np.unique(test.groups, return_index=True)[1]
    labels = test.labels[rows]
    centered = test.features[torch.from_numpy(rows)] - probed.train.features.mean(dim=0)
    found = {}
    counts = np.bincount(labels)
    for shots in (1, 5):
        name = f"fewshot_accuracy_{shots}"
        if (counts >= shots + 15).sum() < 5:
            found[name] = Figure(None)
            continue
        episodes = sample_episodes(labels, probed.episodes, shots=shots, seed=probed.seed)
        accuracy = evaluate_episodes(centered, episodes)
        half = accuracy.ci95
        found[name] = Figure(accuracy.mean, None if half is None else [accuracy.mean - half, accuracy.mean + half])
    return found


def geometry(probed: Probed) -> Figures:
    """Alignment and uniformity (Wang and Isola, ICML 2020), effective rank and spread of the test features."""
    features = probed.test.features.numpy()
    collapse = collapse_figures(features)
    return {
        "alignment": Figure(alignment(features, probed.test.twin.numpy())),
        "uniformity": Figure(uniformity(features[:: max(1, len(features) // _PAIRS)])),
        "effective_rank": Figure(collapse.effective_rank),
        "feature_std": Figure(collapse.feature_std),
    }


PROBES: dict[str, Callable[[Probed], Figures]] = {
    "knn": nearest_neighbors,
    "linear": linear,
    "svm": svm,
    "few_labels": few_labels,
    "few_shot": few_shot,
    "geometry": geometry,
}


def accuracy_figure(predictions: Tensor, labels: np.ndarray, groups: np.ndarray | None = None) -> Figure:
    """Return the share of predictions (N,) that are right, with its interval over images, or over groups (N,)."""
    resamples = 10_000 if groups is None else RESAMPLES
    found = _with_interval(accuracy_interval(predictions, labels, groups, n_resamples=resamples))
    return Figure(found.value, found.ci95, predictions.numpy() == labels)


def _answered(name: str, predictions: Tensor, probabilities: Tensor, probed: Probed) -> Figures:
    """Return an accuracy by its name and, where asked for, the macro AUROC and calibration error beside it."""
    labels, groups = probed.test.labels, probed.test.groups
    found = {name: accuracy_figure(predictions, labels, groups)}
    if probed.auroc:
        shares = probabilities.double().cpu().numpy()
        for other, figure in (("auroc", macro_auroc), ("ece", expected_calibration_error)):

            def of(rows: np.ndarray, figure: Callable[..., float | None] = figure) -> float | None:
                return figure(shares[rows], labels[rows])

            interval = bootstrap_ci(of, len(labels), RESAMPLES, groups=groups)
            found[name.replace("accuracy", other)] = _with_interval(interval)
    return found


def _with_interval(interval: BootstrapInterval) -> Figure:
    low, high = interval.low, interval.high
    return Figure(interval.estimate, None if low is None or high is None else [low, high])
