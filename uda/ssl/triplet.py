"""Triplet loss on two views."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ssl.functional.contrastive import other_images, triplet, unit
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class Triplet(Objective):
    """An image's other view shall be closer than another image, by a margin (Schroff et al., CVPR 2015, section 3.1).

    As there, what is compared lies on the unit sphere, after a linear map to `projection` numbers; positives are views
    instead of faces of one person, and the negative is a neighbor in the batch.
    """

    name: ClassVar[str] = "triplet"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        margin: Annotated[float, Field(gt=0)] = 0.2,
        projection: Annotated[int, Field(gt=0)] = 128,
    ):
        super().__init__(encoder, info)
        self.margin = margin
        self.projector = nn.Linear(encoder.dim, projection)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two independent strong views, [a; b]."""
        images = torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")])
        return Views(images, ids=batch.index)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Triplet loss, mean over B triplets."""
        a, b = unit(self.projector(features)).chunk(2)
        assert views.ids is not None  # this class gave them
        return Loss(triplet(a, b, b[other_images(views.ids)], self.margin), constant=self.margin)
