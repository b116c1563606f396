"""Domain generalization: learn from some domains, be tested on one that was never seen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import ClassBalanced, Shuffled
from uda.datasets.streams import Concatenated, Images, Stream, Subset
from uda.metrics import expected_calibration_error, per_class_accuracy
from uda.nn.encoder import Encoder
from uda.probes.answer import Answer
from uda.ssl.functional import entropy
from uda.ssl.objective import Objective, Views, assign_where_due
from uda.ssl.views import NoAugmentation
from uda.tasks.dg.method import Method, Sample
from uda.tasks.task import Task, two_rates

ESTIMATE = "leave_one_out_accuracy"
"""The column of the history that leave-one-domain-out selection chooses by."""


@dataclass(frozen=True)
class SourceDomains:
    """The images to learn from, and those of the unseen domain.

    labels: (N,) in 0 … K−1, and domains: (N,) in 0 … D−1 of the source's images; held_out: rows of those that are not
    trained on (validation); target_labels: (M,), −1 unlabelled, read by `evaluate` alone.
    """

    source: Images
    labels: np.ndarray
    domains: np.ndarray
    held_out: np.ndarray
    target: Images
    target_labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def n_domains(self) -> int:
        """How many domains there are to learn from."""
        return len(np.unique(self.domains))


class DomainGeneralization(Task):
    """An encoder, a method on all source domains, and any objectives on the same images.

    Where an objective's views hold the plain images (`views.plain`), or some of them do (`views.ordered` of a puzzle),
    the class loss shares its forward pass. on_all: the class loss is on all images of a puzzle, in order or not, as
    JiGen's released command has it; else on ordered ones alone, as in the paper.
    adapt: the objectives see the target's images too, and the entropy of their classes is minimized with the weight
    `entropy_weight`; target labels are not looked at.
    """

    metric_names: tuple[str, ...] = ("accuracy", "per_class_accuracy", "source_accuracy", "ece")
    threshold: Tensor
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
        super().__init__()
        self.encoder, self.method = encoder, method
        self.objectives = nn.ModuleList([objective for objective, _ in objectives])
        self.weights = [weight for _, weight in objectives]
        self.data, self.augment, self.batch_size, self.seed = data, augment, batch_size, seed
        self.draw, self.on_all, self.adapt, self.entropy_weight = draw, on_all, adapt, entropy_weight
        self.backbone_lr_scale = backbone_lr_scale
        self.register_buffer("threshold", torch.tensor(torch.inf), persistent=False)  # nothing is rejected
        self.register_buffer("domain_of", torch.from_numpy(data.domains.astype(np.int64)), persistent=False)
        self._carries: list[tuple[Objective, object]] = []
        self.estimates: dict[int, float] | None = None  # step → accuracy on source domains left out in other runs
        self.done = 0
        self.last_answer: Answer | None = None
        self.last_metrics: dict[str, float | None] = {}
        self.last_right: dict[str, np.ndarray] = {}

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

    def players(self) -> dict[str, list[dict[str, Any]]]:
        """One player; the backbone's rate is a fraction of the heads'."""
        return {"all": two_rates(self, self.encoder.backbone_parameters(), self.backbone_lr_scale)}

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        """Let the objectives make their pseudo-labels anew, where that is due."""
        everything = Concatenated((self.data.source, self.data.target)) if self.adapt else self.data.source
        return assign_where_due(self.objectives, self.encoder, lambda: self._views(everything), clock)

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of the method on labelled images, of each objective, and with `adapt` the entropy."""
        self.done = clock.step + 1
        source, target = batches["source"], batches.get("target")
        seen = source if target is None else self._joint(source, target)
        assert source.labels is not None
        sample = Sample(source.labels, self.domain_of[source.index], source.index)
        auxiliary: dict[str, Tensor] = {}
        shared: tuple[Tensor, Tensor] | None = None
        for objective, weight in zip(self.objectives, self.weights, strict=True):
            assert isinstance(objective, Objective)
            objective.before_step(self.encoder, clock)
            views, features, loss = objective.passed(self.encoder, seen, clock)
            auxiliary[str(objective.name)] = weight * loss.value
            self._carries.append((objective, loss.carry))
            if shared is None and self.method.shares_pass:
                shared = self._plain(features, views, len(seen))
        losses = self._supervised(shared, source, sample, clock)
        if target is not None:
            losses["target_entropy"] = self.entropy_weight * self._target_entropy(shared, len(source), target, clock)
        return losses | auxiliary

    def _joint(self, source: Batch, target: Batch) -> Batch:
        """Return one batch for the objectives; the target's rows are counted on after the source's."""
        index = torch.cat([source.index, target.index + len(self.data.source)])
        return Batch(torch.cat([source.images, target.images]), index, None, source.domain)

    def _plain(self, features: Tensor, views: Views, n: int) -> tuple[Tensor, Tensor] | None:
        """Return the features (n, D) of the n images as the task may see them, and which of those count, (n,) bool."""
        ordered = getattr(views, "ordered", None)
        if ordered is not None:
            return features, torch.ones_like(ordered) if self.on_all else ordered
        if views.plain is not None:
            return features[views.plain], torch.ones(n, dtype=torch.bool, device=features.device)
        return None

    def _supervised(
        self, shared: tuple[Tensor, Tensor] | None, source: Batch, sample: Sample, clock: Clock
    ) -> dict[str, Tensor]:
        """Return the method's losses, on features that an objective has computed or on those of a pass of its own."""
        if shared is None:
            return self.method(
                self.method.encode(self.encoder, self.augment(source, clock), sample, clock), sample, clock
            )
        features, counts = shared[0][: len(source)], shared[1][: len(source)]
        if not counts.any():  # no puzzle of this batch is in order: nothing to name, and every column has its zero
            first = self.method(features[:1], sample.at(torch.arange(1, device=features.device)), clock)
            return {name: 0 * loss for name, loss in first.items()}
        return self.method(features[counts], sample.at(counts), clock)

    def _target_entropy(
        self, shared: tuple[Tensor, Tensor] | None, n_source: int, target: Batch, clock: Clock
    ) -> Tensor:
        """Return the mean entropy of the classes of target images, of a puzzle's those in order."""
        if shared is None:
            features = self.encoder(self.augment(target, clock))
        else:
            features = shared[0][n_source:][shared[1][n_source:]]
        uncertain = entropy(self.method.classifier(features).float())
        return uncertain.sum() / max(1, len(uncertain))

    def after_step(self) -> None:
        """Let the objectives update their state."""
        for objective, carry in self._carries:
            objective.after_step(carry)
        self._carries.clear()

    @torch.no_grad()
    def answer(self, images: Images, threshold: float | None = None, batch_size: int = 128) -> Answer:
        """Classify images by their evaluation views; the unknown-score is the entropy in nats, and none is rejected."""
        training = self.training
        self.eval()
        features, logits = [], []
        for views in self._views(images, batch_size):
            encoded = self.encoder(views)
            features.append(encoded.float().cpu())
            logits.append(self.method.classifier(encoded).float().cpu())
        self.train(training)
        if not features:
            nothing = np.empty((0, self.encoder.dim), np.float32)
            return Answer(nothing, np.empty((0, len(self.data.class_names)), np.float32), np.empty(0), np.inf)
        all_logits = torch.cat(logits)
        scores = entropy(all_logits).numpy().astype(np.float64)
        return Answer(torch.cat(features).numpy(), all_logits.softmax(1).numpy(), scores, np.inf)

    def _views(self, images: Images, batch_size: int = 128) -> Iterator[Tensor]:
        """Yield the evaluation views of images, in order."""
        for first in range(0, len(images), batch_size):
            rows = np.arange(first, min(first + batch_size, len(images)))
            yield self.augment.plain(images.batch(rows).to(self.threshold.device))

    def evaluate(self) -> dict[str, float | None]:
        """Return the figures of the unseen domain, and the accuracy on source images that were not trained on."""
        answer, labels = self.answer(self.data.target), self.data.target_labels
        known = np.flatnonzero(labels >= 0)
        kept = self.answer(Subset(self.data.source, self.data.held_out))
        right = answer.closed[known] == labels[known]
        kept_right = kept.closed == self.data.labels[self.data.held_out]
        self.last_answer, self.last_right = answer, {"accuracy": right, "source_accuracy": kept_right}
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
    )
