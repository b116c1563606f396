"""Learning from a long tail: one stage or two within one run, and figures in which every class counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import ClassBalanced, Shuffled
from uda.datasets.streams import Images, Stream
from uda.metrics import SIGMA, balanced_parts, balancedness, class_accuracies, class_mean, frequency_groups
from uda.nn.encoder import Encoder
from uda.probes.crossfit import cross_fitted, even_rows
from uda.random import derived_seed
from uda.ssl.objective import Objective
from uda.ssl.views import NoAugmentation
from uda.tasks.imbalance.method import Method
from uda.tasks.supervised import Sample, Supervised


@dataclass(frozen=True)
class TailedData:
    """The images to learn from, as often as they come, and those to be tested on.

    labels: (N,), −1 where an image has none: it is not drawn; test_labels: (M,), read by `evaluate` alone. counts:
    (C,) training images of each class. test_groups: (M,), None where nothing says what belongs together.
    """

    images: Images
    labels: np.ndarray
    counts: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    test_groups: np.ndarray | None = None


class Imbalanced(Supervised):
    """A supervised method and any objectives; of a method of two stages the second trains its classifier alone.

    In the second stage the backbone neither moves nor changes its batch-norm statistics, objectives rest, classes are
    drawn equally often, and the learning rate starts anew. steps: of the whole run.
    """

    method: Method
    metric_names: tuple[str, ...] = (
        *("accuracy", "many_accuracy", "medium_accuracy", "few_accuracy", "balanced_error"),
        "classifier_balancedness",
    )

    def __init__(
        self,
        encoder: Encoder,
        method: Method,
        objectives: Sequence[tuple[Objective, float]],
        data: TailedData,
        augment: NoAugmentation,
        batch_size: int,
        seed: int,
        steps: int,
        backbone_lr_scale: float = 1.0,
    ):
        super().__init__(encoder, method, objectives, augment, backbone_lr_scale)
        self.data, self.batch_size, self.seed = data, batch_size, seed
        share = method.second_stage
        self.first_steps = max(0, min(steps - 1, round((1 - share) * steps))) if share else steps
        self.class_accuracies = np.full(len(data.class_names), np.nan)  # (C,) of the last evaluation
        self.probe_accuracies = np.full(len(data.class_names), np.nan)  # (C,) of the last look at the features

    def streams(self) -> dict[str, Stream]:
        """All labelled images, each once an epoch; in a second stage every class equally often."""
        rows = np.flatnonzero(self.data.labels >= 0)
        by_image = Shuffled(len(rows), self.batch_size, self.seed, "images")
        by_class = ClassBalanced(self.data.labels, self.batch_size, self.seed, "classes")

        def drawn(step: int) -> np.ndarray:
            return rows[by_image(step)] if step < self.first_steps else by_class(step)

        return {"images": Stream("images", self.data.images, drawn, self.data.labels)}

    def learned(self) -> Images:
        """All images of the table."""
        return self.data.images

    def scheduled(self, clock: Clock) -> Clock:
        """Return the place within the stage, by which the learning rate goes."""
        if clock.step < self.first_steps:
            return replace(clock, total=self.first_steps)
        return replace(clock, step=clock.step - self.first_steps, total=clock.total - self.first_steps)

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        """Let objectives make their pseudo-labels where that is due; begin the second stage at its first step."""
        if clock.step < self.first_steps:
            return super().prepare(clock)
        if clock.step > self.first_steps:
            return None
        torch.manual_seed(derived_seed(self.seed, 0, "second classifier"))
        return self.method.begin_second()

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of the method and of each objective; in the second stage the classifier's alone."""
        batch = batches["images"]
        assert batch.labels is not None
        sample = Sample(batch.labels, torch.zeros_like(batch.labels), batch.index)
        if clock.step >= self.first_steps:
            return {"classification": self.method.second(self._resting(batch, clock), sample)}
        auxiliary, shared = self.auxiliary(batch, clock)
        if not self.method.classifies_first:
            return {"classification": torch.zeros_like(next(iter(auxiliary.values())).detach())} | auxiliary
        return self.supervised(shared, batch, sample, clock) | auxiliary

    @torch.no_grad()
    def _resting(self, batch: Batch, clock: Clock) -> Tensor:
        """Return features (B, D) of a backbone that neither learns nor counts statistics."""
        training = self.encoder.training
        self.encoder.eval()
        features = self.encoder(self.augment(batch, clock))
        self.encoder.train(training)
        return features

    def evaluate(self) -> dict[str, float | None]:
        """Return the accuracy on test images, over all and over the classes of each group, and how even it is."""
        answer, labels = self.answer(self.data.test_images), self.data.test_labels
        self.last_answer = answer
        self.last_right = right_parts(answer.closed == labels, labels, self.data.counts)
        if self.data.test_groups is not None:
            self.last_groups = parts_of(self.data.test_groups, labels, self.data.counts)
        self.class_accuracies = class_accuracies(labels, answer.closed, len(self.data.class_names))
        self.last_metrics = {"accuracy": float((answer.closed == labels).mean())}
        self.last_metrics |= tail_metrics(self.class_accuracies, self.data.counts)
        return dict(self.last_metrics)

    def look(self) -> None:
        """Measure how evenly the features of the test images tell classes apart, whatever the classifier makes of it.

        Kang et al., ICLR 2021, section 3.1; the linear probes learn from other test images than they are asked about,
        and from as many of each class, so that neither the tail nor what was trained on is part of the figure.
        """
        assert self.last_answer is not None  # training ends with an evaluation
        n_classes, rows = len(self.data.class_names), even_rows(self.data.test_labels)
        self.last_metrics |= {"probe_accuracy": None, "balancedness": None}
        if rows is None:
            return
        labels = self.data.test_labels[rows]
        groups = None if self.data.test_groups is None else self.data.test_groups[rows]
        named = cross_fitted(torch.from_numpy(self.last_answer.features[rows]), labels, n_classes, groups=groups)
        if named is None:
            return
        self.probe_accuracies = class_accuracies(labels, named, n_classes)
        self.last_right |= {"probe_accuracy": named == labels}
        if groups is not None:
            self.last_groups |= {"probe_accuracy": groups}
        evenness = evenness_of(self.probe_accuracies)
        self.last_metrics |= {"probe_accuracy": float((named == labels).mean()), "balancedness": evenness}


def evenness_of(accuracies: np.ndarray) -> float | None:
    """Return the balancedness of accuracies (C,), without the classes that have none (NaN)."""
    return balancedness(accuracies[~np.isnan(accuracies)], SIGMA)


def tail_metrics(accuracies: np.ndarray, counts: np.ndarray) -> dict[str, float | None]:
    """Return the class-mean figures of per-class accuracies (C,); a group without a tested class has None."""
    groups = frequency_groups(counts)
    found = {f"{name}_accuracy": class_mean(accuracies[members]) for name, members in groups.items()}
    mean = class_mean(accuracies)
    return found | {
        "balanced_error": None if mean is None else 1 - mean,
        "classifier_balancedness": evenness_of(accuracies),
    }


def right_parts(right: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return for each figure what every image adds to it, so that it is their mean: for intervals over images.

    right: (M,) bool, labels: (M,) of test images, counts: (C,) of training images.
    """
    found = {"accuracy": right.astype(np.float64), "balanced_error": 1 - balanced_parts(right, labels)}
    for name, members in frequency_groups(counts).items():
        of_group = members[labels]
        if of_group.any():
            found[f"{name}_accuracy"] = balanced_parts(right[of_group], labels[of_group])
    return found


def parts_of(groups: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return the groups of the images of each figure of `right_parts`; groups, labels: (M,), counts: (C,)."""
    found = {"accuracy": groups, "balanced_error": groups}
    return found | {f"{name}_accuracy": groups[members[labels]] for name, members in frequency_groups(counts).items()}
