"""SimCLR."""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.ranges import Positive
from uda.ssl.functional.contrastive import nt_xent
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class SimCLR(Objective):
    """Find an image's other view among all views of the batch (Chen et al., ICML 2020, section 2.1).

    temperature: 0.5 suits small images, 0.1 was used on ImageNet; projection: width of what is compared, 0: the
    features themselves; normalize: compare directions only. The projector has one hidden layer of the encoder's width,
    with batch norm. Both views pass the encoder together.
    """

    name: ClassVar[str] = "simclr"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        temperature: Positive = 0.5,
        projection: Annotated[int, Field(ge=0)] = 128,
        normalize: bool = True,
    ):
        super().__init__(encoder, info)
        self.temperature, self.normalize = temperature, normalize
        self.projector = mlp([encoder.dim, encoder.dim, projection]) if projection else nn.Identity()

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two independent strong views, [a; b]."""
        images = torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")])
        return Views(images, ids=batch.index)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """NT-Xent, mean over the 2B views."""
        a, b = self.projector(features).chunk(2)
        value = nt_xent(a, b, self.temperature, self.normalize, views.ids)
        return Loss(value, chance=math.log(len(features) - 1))
