"""N-pair loss on two views."""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ssl.functional.contrastive import n_pair
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class NPair(Objective):
    """An image's other view shall be more like it than any other image of the batch (Sohn, NIPS 2016, section 3).

    Compared are raw products after a linear map to `projection` numbers, whose squared norms are held down by
    `norm_penalty` instead of normalizing (section 3.2.2). Nothing bounds the gradient of such products: it wants a
    lower learning rate than objectives that normalize.
    """

    name: ClassVar[str] = "npair"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        norm_penalty: Annotated[float, Field(ge=0)] = 0.002,
        projection: Annotated[int, Field(gt=0)] = 128,
    ):
        super().__init__(encoder, info)
        self.norm_penalty = norm_penalty
        self.projector = nn.Linear(encoder.dim, projection)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two independent strong views, [a; b]."""
        images = torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")])
        return Views(images, ids=batch.index)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """N-pair loss of the B first views, and the mean squared norm of all."""
        projected = self.projector(features).float()
        a, b = projected.chunk(2)
        norms = projected.square().sum(1).mean()
        return Loss(n_pair(a, b, images=views.ids) + self.norm_penalty * norms, chance=math.log(len(a)))
