"""Supervised contrastive learning, with all positives or k of them."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.ssl.functional.contrastive import supervised_contrastive
from uda.ssl.objective import Info, Loss, Need, Objective, Views
from uda.ssl.seeded import SeededViews, seed_of


class KCL(Objective):
    """Draw an image to its other view and to k images of its class (Kang et al., ICLR 2021, section 3.2).

    positives: k, the same for frequent and rare classes, which balances the feature space; None: all of the class
    (Khosla et al., "Supervised contrastive learning", NeurIPS 2020). The positives come from the batch, where the paper
    has a queue; the unused ones stand in no denominator.
    """

    name: ClassVar[str] = "kcl"
    needs: ClassVar[Need] = Need.PIXELS | Need.LABELS

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        positives: Annotated[int, Field(gt=0)] | None = 6,
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        projection: Annotated[int, Field(gt=0)] = 128,
    ):
        super().__init__(encoder, info)
        self.positives, self.temperature = positives, temperature
        self.projector = mlp([encoder.dim, encoder.dim, projection], norm=False)

    def views(self, batch: Batch, clock: Clock) -> SeededViews:
        """Two independent strong views, [a; b], and the classes."""
        images = torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")])
        assert batch.labels is not None  # a task without labels is refused before anything trains
        # An image without a label is a class of its own, not of one class with all the others.
        classes = torch.where(batch.labels < 0, -1 - batch.index, batch.labels)
        return SeededViews(images, targets=classes, ids=batch.index, seed=seed_of(clock, "kcl"))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Supervised contrastive loss, mean over the 2B views."""
        assert isinstance(views, SeededViews)  # this class made them
        assert views.targets is not None  # as above
        assert views.ids is not None
        labels, images = views.targets.repeat(2), views.ids.repeat(2)
        z = self.projector(features)
        drawn = supervised_contrastive(z, labels, self.temperature, self.positives, views.generator(), images)
        return Loss(drawn)
