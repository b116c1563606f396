"""SeLa: classify images by labels that the classifier itself gives, all used equally often."""

import math
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import permutation
from uda.ranges import Count, Positive
from uda.ssl.functional.clustering import self_label
from uda.ssl.kmeans import all_features
from uda.ssl.objective import AllViews, Info, Loss, Need, Objective, Views


class SelfLabel(Objective):
    """Learn labels that are made by optimal transport (Asano, Rupprecht and Vedaldi, ICLR 2020, section 3).

    Labels start at random and balanced. Up to `assignments` times in a run, more often at first (the j-th of n at
    (j/n)² of the steps, as in the published code, though not more often than once an epoch, beyond four times), every
    image gets the likeliest labels under the constraint of equal use. Values are those for CIFAR: lambd 10 (25 on
    ImageNet), 128 clusters and 10 heads, each with labels of its own.
    """

    name: ClassVar[str] = "self_label"
    needs: ClassVar[Need] = Need.PIXELS | Need.INDEX
    labels: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        clusters: Annotated[int, Field(ge=2)] = 128,
        heads: Count = 10,
        lambd: Positive = 10.0,
        assignments: Count = 100,
    ):
        super().__init__(encoder, info)
        self.clusters, self.heads, self.lambd, self.assignments = clusters, heads, lambd, assignments
        self.head = nn.Linear(encoder.dim, heads * clusters)
        self.register_buffer("labels", torch.zeros(info.n_images, heads, dtype=torch.int64))

    def views(self, batch: Batch, clock: Clock) -> Views:
        """One strong view; targets: (B, heads), the labels of its images."""
        return Views(self.info.random_view(batch, clock, "a"), targets=self.labels[batch.index])

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the labels, mean over heads."""
        assert views.targets is not None  # this class made them
        logits = self.head(features).unflatten(1, (self.heads, self.clusters))
        accuracy = (logits.argmax(2) == views.targets).float().mean().detach()
        value = F.cross_entropy(logits.flatten(0, 1), views.targets.flatten())
        return Loss(value, accuracy=accuracy, chance=math.log(self.clusters))

    def assign_due(self, clock: Clock) -> bool:
        """Return whether one of the times j²/n² of the run has come."""
        return clock.step == 0 or self._turn(clock) > self._turn(replace(clock, step=clock.step - 1))

    def assign(self, encoder: Encoder, views: AllViews, clock: Clock) -> list[nn.Parameter]:
        """Give every image its labels: balanced random ones at step 0, else by optimal transport; nothing restarts."""
        if clock.step == 0:
            for head in range(self.heads):
                order = permutation(len(self.labels), clock.seed, clock.step, f"self_label/{head}")
                self.labels[:, head] = torch.from_numpy(order % self.clusters)
            return []
        logits = all_features(lambda images: self.head(encoder(images)), views)
        for head, own in enumerate(logits.split(self.clusters, dim=1)):
            self.labels[:, head] = self_label(own.log_softmax(1), self.lambd)
        return []

    def _turn(self, clock: Clock) -> int:
        """Return how many of the times have passed."""
        epochs = int(clock.total * clock.images_per_step / clock.n_images)
        times = min(self.assignments, max(4, epochs))
        return int(times * math.sqrt(clock.progress))
