"""Domain generalization: learn from some domains, be tested on one that was never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import ClassBalanced, Shuffled
from uda.datasets.streams import Concatenated, Images, Stream, Subset
from uda.metrics import expected_calibration_error, per_class_accuracy
from uda.nn.encoder import Encoder
from uda.ssl.functional import entropy
from uda.ssl.objective import Objective
from uda.ssl.views import NoAugmentation
from uda.tasks.dg.method import Method
from uda.tasks.supervised import Sample, Shared, Supervised, joined

ESTIMATE = "leave_one_out_accuracy"
"""The column of the history that leave-one-domain-out selection chooses by."""


@dataclass(frozen=True)
class SourceDomains:
    """The images to learn from, and those of the unseen domain.

    labels: (N,) in 0 … K−1, and domains: (N,) in 0 … D−1 of the source's images; held_out: rows of those that are not
    trained on (validation); target_labels: (M,), −1 unlabelled, read by `evaluate` alone; groups: (N,) and
    target_groups: (M,) int64, of images that belong together; None: each stands for itself.
    """

    source: Images
    labels: np.ndarray
    domains: np.ndarray
    held_out: np.ndarray
    target: Images
    target_labels: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None
    target_groups: np.ndarray | None = None

    @property
    def n_domains(self) -> int:
        """How many domains there are to learn from."""
        return len(np.unique(self.domains))


class DomainGeneralization(Supervised):
    """A supervised method on all source domains, and any objectives on the same images.

    adapt: the objectives see the target's images too, and the entropy of their classes is minimized with the weight
    `entropy_weight`; target labels are not looked at.
    """

    method: Method
    metric_names: tuple[str, ...] = ("accuracy", "per_class_accuracy", "source_accuracy", "ece")
    domain_of: Tensor

    def __init__(
        self,
        encoder: Encoder,
        method: Method,
        objectives: Sequence[tuple[Objective, float]],
        data: SourceDomains,
        augment: NoAugmentation,
        batch_size: int,
        seed: int,
        draw: str = "shuffled",
        on_all: bool = False,
        adapt: bool = False,
        entropy_weight: float = 0.1,
        backbone_lr_scale: float = 1.0,
    ):
        super().__init__(encoder, method, objectives, augment, backbone_lr_scale, on_all)
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.draw, self.adapt, self.entropy_weight = draw, adapt, entropy_weight
        self.register_buffer("domain_of", torch.from_numpy(data.domains.astype(np.int64)), persistent=False)
        self.estimates: dict[int, float] | None = None  # step → accuracy on source domains left out in other runs
        self.done = 0

    def streams(self) -> dict[str, Stream]:
        """All source domains with labels, without the held-out images; with `adapt` the target's images without."""
        labels = self.data.labels.copy()
        labels[self.data.held_out] = -1  # never drawn
        rows = np.flatnonzero(labels >= 0)
        sampler: Shuffled | ClassBalanced
        if self.draw == "balanced":
            sampler = ClassBalanced(self.data.domains[rows], self.batch_size, self.seed, "source")
        else:
            sampler = Shuffled(len(rows), self.batch_size, self.seed, "source")
        found = {"source": Stream("source", self.data.source, lambda step: rows[sampler(step)], labels)}
        if self.adapt:
            drawn = Shuffled(len(self.data.target), self.batch_size, self.seed, "target")
            found["target"] = Stream("target", self.data.target, drawn)
        return found

    def learned(self) -> Images:
        """The source's images, with `adapt` the target's after them."""
        return Concatenated((self.data.source, self.data.target)) if self.adapt else self.data.source

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of the method on labelled images, of each objective, and with `adapt` the entropy."""
        self.done = clock.step + 1
        source, target = batches["source"], batches.get("target")
        assert source.labels is not None
        sample = Sample(source.labels, self.domain_of[source.index], source.index)
        seen = source if target is None else joined(source, target, len(self.data.source))
        auxiliary, shared = self.auxiliary(seen, clock)
        losses = self.supervised(shared, source, sample, clock)
        if target is not None:
            losses["target_entropy"] = self.entropy_weight * self._target_entropy(shared, len(source), target, clock)
        return losses | auxiliary

    def _target_entropy(self, shared: Shared | None, n_source: int, target: Batch, clock: Clock) -> Tensor:
        """Return the mean entropy of the classes of target images, of a puzzle's those in order."""
        if shared is None:
            features = self.encoder(self.augment(target, clock))
        else:
            features, _ = shared.among(slice(n_source, None))
        uncertain = entropy(self.method.classifier(features).float())
        return uncertain.sum() / max(1, len(uncertain))

    def evaluate(self) -> dict[str, float | None]:
        """Return the figures of the unseen domain, and the accuracy on source images that were not trained on."""
        answer, labels = self.answer(self.data.target), self.data.target_labels
        known = np.flatnonzero(labels >= 0)
        kept = self.answer(Subset(self.data.source, self.data.held_out))
        right = answer.closed[known] == labels[known]
        kept_right = kept.closed == self.data.labels[self.data.held_out]
        self.last_answer, self.last_right = answer, {"accuracy": right, "source_accuracy": kept_right}
        groups = {
            "accuracy": (self.data.target_groups, known),
            "source_accuracy": (self.data.groups, self.data.held_out),
        }
        self.last_groups = {name: of[rows] for name, (of, rows) in groups.items() if of is not None}
        found: dict[str, float | None] = {
            "accuracy": float(right.mean()) if len(right) else None,
            "per_class_accuracy": per_class_accuracy(labels, answer.closed, len(self.data.class_names)),
            "source_accuracy": float(kept_right.mean()) if len(kept_right) else None,
            "ece": expected_calibration_error(answer.probabilities, labels),
        }
        if self.estimates is not None:
            found[ESTIMATE] = self.estimates.get(self.done)
        self.last_metrics = found
        return found

    def start_estimates(self, estimates: Mapping[int, float], steps: int) -> None:
        """Have `evaluate` give the estimates of other runs beside its figures; steps: of the whole run."""
        self.estimates, self.done = dict(estimates), steps
        self.metric_names = (*type(self).metric_names, ESTIMATE)


def fold(data: SourceDomains, domain: int) -> SourceDomains:
    """Return the data with one source domain in the place of the target's: what a leave-one-domain-out run sees."""
    kept, tested = np.flatnonzero(data.domains != domain), np.flatnonzero(data.domains == domain)
    held_out = np.flatnonzero(np.isin(kept, data.held_out))
    return replace(
        data,
        source=Subset(data.source, kept),
        labels=data.labels[kept],
        domains=data.domains[kept],
        held_out=held_out,
        target=Subset(data.source, tested),
        target_labels=data.labels[tested],
        groups=None if data.groups is None else data.groups[kept],
        target_groups=None if data.groups is None else data.groups[tested],
    )
