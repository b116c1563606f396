"""An encoder, a supervised method and any objectives on the same images, in as few forward passes as will do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.streams import Images
from uda.nn.encoder import Encoder
from uda.probes.answer import Answer
from uda.ssl.functional import entropy
from uda.ssl.objective import Objective, Views, assign_where_due
from uda.ssl.views import NoAugmentation
from uda.tasks.supervised.method import Method, Sample
from uda.tasks.task import Task, finite_answers, two_rates


@dataclass(frozen=True)
class Shared:
    """Features (n, D) of the task's own views that an objective has computed; counts: (n,) bool, which of them are of
    images as the class loss may see them, None: all.
    """

    features: Tensor
    counts: Tensor | None = None

    def among(self, images: slice) -> tuple[Tensor, Tensor | None]:
        """Return the features that count of some images, (m, D), and their places among these, None: all of them."""
        features = self.features[images]
        if self.counts is None:
            return features, None
        places = self.counts[images].nonzero()[:, 0]  # how many there are is the host's to know: it waits, once
        return features[places], places


class Supervised(Task):
    """An encoder, a method on labelled images, and any objectives on the same images.

    Where an objective's views hold the plain images (`views.plain`), or some of them do (`views.ordered` of a puzzle),
    the class loss shares its forward pass. on_all: the class loss is then on all images, in order or not, as JiGen's
    released command has it; else on ordered ones alone, as in the paper.
    """

    threshold: Tensor
    data: Any  # what the subclass holds: its images are shared by copies of the task

    def __init__(
        self,
        encoder: Encoder,
        method: Method,
        objectives: Sequence[tuple[Objective, float]],
        augment: NoAugmentation,
        backbone_lr_scale: float = 1.0,
        on_all: bool = False,
    ):
        super().__init__()
        self.encoder, self.method = encoder, method
        self.objectives = nn.ModuleList([objective for objective, _ in objectives])
        self.weights = [weight for _, weight in objectives]
        self.augment, self.backbone_lr_scale, self.on_all = augment, backbone_lr_scale, on_all
        self.register_buffer("threshold", torch.tensor(torch.inf), persistent=False)  # nothing is rejected
        self._carries: list[tuple[Objective, object]] = []
        self.last_answer: Answer | None = None
        self.last_metrics: dict[str, float | None] = {}
        self.last_right: dict[str, np.ndarray] = {}
        self.last_groups: dict[str, np.ndarray] = {}  # of the images that these are about, where that is known

    def learned(self) -> Images:
        """Return all images that objectives learn from, in the order in which they count them."""
        raise TypeError(f"{type(self).__name__} does not say what it learns from")

    def players(self) -> dict[str, list[dict[str, Any]]]:
        """One player; the backbone's rate is a fraction of the heads'."""
        return {"all": two_rates(self, self.encoder.backbone_parameters(), self.backbone_lr_scale)}

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        """Let the objectives make their pseudo-labels anew, where that is due."""
        return assign_where_due(self.objectives, self.encoder, lambda: self.plain_views(self.learned()), clock)

    def auxiliary(self, seen: Batch, clock: Clock) -> tuple[dict[str, Tensor], Shared | None]:
        """Return the weighted loss of each objective on a batch, and what the class loss can share of their passes."""
        losses: dict[str, Tensor] = {}
        shared: Shared | None = None
        for objective, weight in zip(self.objectives, self.weights, strict=True):
            assert isinstance(objective, Objective)
            objective.before_step(self.encoder, clock)
            views, features, loss = objective.passed(self.encoder, seen, clock)
            losses[str(objective.name)] = weight * loss.value
            self._carries.append((objective, loss.carry))
            some = views.ordered is not None and self.method.whole_batch
            if shared is None and self.method.shares_pass and not some:
                shared = self._plain(objective.pooled(self.encoder, features), views)
        return losses, shared

    def _plain(self, features: Tensor, views: Views) -> Shared | None:
        """Return the features of the images as the task may see them, where the views hold them."""
        if views.ordered is not None:
            return Shared(features, None if self.on_all else views.ordered)
        return None if views.plain is None else Shared(features[views.plain])

    def supervised(self, shared: Shared | None, own: Batch, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the method's losses, on features that an objective has computed or on those of a pass of its own.

        own: the labelled images, the first ones of the batch that the objectives have seen.
        """
        if shared is None:
            return self.method(self.method.encode(self.encoder, self.augment(own, clock), sample, clock), sample, clock)
        features, places = shared.among(slice(len(own)))
        if places is None:
            return self.method(features, sample, clock)
        if not len(places):  # no puzzle of this batch is in order: nothing to name, and every column has its zero
            first = torch.zeros(1, dtype=torch.int64, device=features.device)
            losses = self.method(shared.features[first], sample.at(first), clock)
            return {name: 0 * loss for name, loss in losses.items()}
        return self.method(features, sample.at(places), clock)

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
        for views in self.plain_views(images, batch_size):
            encoded = self.encoder(views)
            features.append(encoded.float().cpu())
            logits.append(self.method.classifier(encoded).float().cpu())
        self.train(training)
        if not features:
            n_classes = len(self.method.classifier.weight)
            nothing = np.empty((0, self.encoder.dim), np.float32)
            return Answer(nothing, np.empty((0, n_classes), np.float32), np.empty(0), np.inf)
        all_logits = finite_answers(torch.cat(logits))
        scores = entropy(all_logits).numpy().astype(np.float64)
        return Answer(torch.cat(features).numpy(), all_logits.softmax(1).numpy(), scores, np.inf)

    def plain_views(self, images: Images, batch_size: int = 128) -> Iterator[Tensor]:
        """Yield the evaluation views of images, in order."""
        for first in range(0, len(images), batch_size):
            rows = np.arange(first, min(first + batch_size, len(images)))
            yield self.augment.plain(images.batch(rows).to(self.threshold.device))


def joined(own: Batch, further: Batch, rows: int) -> Batch:
    """Return one batch for the objectives; rows of the further images are counted on after the `rows` of ours."""
    index = torch.cat([own.index, further.index + rows])
    return Batch(torch.cat([own.images, further.images]), index, None, own.domain)
